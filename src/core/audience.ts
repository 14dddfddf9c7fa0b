import { IssuerError } from './errors.ts';

export type AudienceMatch = (audience: readonly string[]) => boolean;

/** Longest `aud` that relying parties take, in characters. */
export const AUDIENCE_MAX_LENGTH = 255;
export const AUDIENCE_MAX_COUNT = 10;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;
const WILDCARDS_MAX = 4;

/**
 * The audience of a request as a list: one string, or several distinct ones.
 * Throws `invalid_request`.
 */
export function parseAudience(value: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length === 0 || list.length > AUDIENCE_MAX_COUNT)
    throw malformed(`aud has ${list.length} values: 1 to ${AUDIENCE_MAX_COUNT} are taken`);
  if (!list.every(isAudience))
    throw malformed(
      `aud must be a string of 1 to ${AUDIENCE_MAX_LENGTH} characters, with no control character among them`,
    );
  return [...new Set(list)];
}

function malformed(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

function isAudience(value: unknown): value is string {
  return (
    typeof value === 'string' &&
    value.length > 0 &&
    [...value].length <= AUDIENCE_MAX_LENGTH &&
    !CONTROL.test(value) &&
    value.isWellFormed()
  );
}

/**
 * Exact names, and globs where the rule gives some: `*` stands for a run of
 * characters other than `/`, `**` for any. A glob never reaches the issuer, in whatever
 * spelling, nor what lies below it: such a token would be a client assertion to us.
 */
export function compileAudiences(
  rule: {
    readonly audiences: readonly string[];
    readonly audiencePatterns: readonly string[];
    readonly multipleAudiences: boolean;
  },
  issuer: string,
): AudienceMatch {
  const exact = new Set(rule.audiences);
  const patterns = rule.audiencePatterns.map(compileGlob);
  const own = `${new URL(issuer).href.replace(/\/$/, '')}/`;
  const isOurs = (one: string) =>
    one === issuer || (URL.canParse(one) && `${new URL(one).href}/`.startsWith(own));
  const isAllowed = (one: string) =>
    exact.has(one) || (patterns.some((isMatch) => isMatch(one)) && !isOurs(one));
  return (audience) => (audience.length === 1 || rule.multipleAudiences) && audience.every(isAllowed);
}

/** Throws RangeError. */
function compileGlob(glob: string): (text: string) => boolean {
  const pieces = glob.split(/(\*\*?)/);
  if (pieces.length > 2 * WILDCARDS_MAX + 1)
    throw new RangeError(`"${glob}" has more than ${WILDCARDS_MAX} wildcards`);
  return (text) => {
    const start: readonly boolean[] = Array.from({ length: text.length + 1 }, (_, place) => place === 0);
    return pieces.reduce((reached, piece) => follow(reached, piece, text), start).at(-1) === true;
  };
}

/** The places where a match can stand after one more piece; a RegExp would backtrack, and a caller could make it slow. */
function follow(reached: readonly boolean[], piece: string, text: string): readonly boolean[] {
  if (!piece.startsWith('*'))
    return reached.map(
      (_, end) => reached[end - piece.length] === true && text.startsWith(piece, end - piece.length),
    );
  let isIn = false;
  return reached.map((isReached, place) => {
    isIn = isReached || (isIn && (piece === '**' || text[place - 1] !== '/'));
    return isIn;
  });
}
