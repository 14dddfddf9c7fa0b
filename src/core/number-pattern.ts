/** Bounds of a number that is part of a text, for schemas that know patterns only. */

/** The whole numbers from one to another, without leading zeros, as alternatives. */
export function numberPattern(least: number, most: number): string {
  const nines = 10 ** String(least).length - 1;
  if (nines < most) return `${numberPattern(least, nines)}|${numberPattern(nines + 1, most)}`;
  return sameLength(String(least), String(most));
}

function sameLength(least: string, most: string): string {
  const [low, high] = [Number(least[0]), Number(most[0])];
  const [lowRest, highRest] = [least.slice(1), most.slice(1)];
  const [zeros, nines] = [lowRest.replaceAll(/./g, '0'), lowRest.replaceAll(/./g, '9')];
  if (lowRest === zeros && highRest === nines)
    return `${low === high ? low : `[${low}-${high}]`}${'[0-9]'.repeat(zeros.length)}`;
  if (low === high) return `${low}(?:${sameLength(lowRest, highRest)})`;
  if (lowRest !== zeros)
    return `${low}(?:${sameLength(lowRest, nines)})|${sameLength(`${low + 1}${zeros}`, most)}`;
  return `${sameLength(least, `${high - 1}${nines}`)}|${high}(?:${sameLength(zeros, highRest)})`;
}
