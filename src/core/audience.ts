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
 * characters other than `/`, `**` for any. A glob never reaches the issuer, however it
 * is spelt, nor what lies below it: such a token would be a client assertion to us.
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
  const own = placeOf(issuer);
  const isOurs = (one: string) => one === issuer || (own !== undefined && placeOf(one)?.startsWith(own));
  const isAllowed = (one: string) =>
    exact.has(one) || (patterns.some((isMatch) => isMatch(one)) && !isOurs(one));
  return (audience) => (audience.length === 1 || rule.multipleAudiences) && audience.every(isAllowed);
}

/** Where a URL points, with a slash at its end: one text for its many spellings. Undefined: it is no URL. */
function placeOf(text: string): string | undefined {
  if (!URL.canParse(text)) return undefined;
  const { protocol, hostname, port, pathname } = new URL(text);
  const path = pathname.replace(/%([\da-f]{2})/gi, (_, hex: string) =>
    String.fromCharCode(Number(`0x${hex}`)),
  );
  return `${protocol}//${hostname.replace(/\.$/, '')}:${port}${path.replace(/\/*$/, '/')}`;
}

/** Throws RangeError. */
function compileGlob(glob: string): (text: string) => boolean {
  const pieces = glob.split(/(\*\*?)/);
  if (pieces.length > 2 * WILDCARDS_MAX + 1)
    throw new RangeError(`"${glob}" has more than ${WILDCARDS_MAX} wildcards`);
  const [first = '', last = ''] = [pieces[0], pieces.at(-1)];
  return (text) => {
    // What most texts fail by, since a policy may have thousands of globs.
    if (!text.startsWith(first) || !text.endsWith(last)) return false;
    const reached = new Uint8Array(text.length + 1);
    reached[0] = 1;
    for (const piece of pieces) follow(reached, piece, text);
    return reached[text.length] === 1;
  };
}

/** Marks the places where a match can stand after one more piece; a RegExp would backtrack, and a caller could make it slow. */
function follow(reached: Uint8Array, piece: string, text: string): void {
  const isStar = piece.startsWith('*');
  if (isStar)
    for (let place = 1; place < reached.length; place++)
      if (reached[place - 1] === 1 && (piece === '**' || text[place - 1] !== '/')) reached[place] = 1;
  if (isStar || piece === '') return;
  for (let end = text.length; end >= 0; end--) {
    const from = end - piece.length;
    reached[end] = from >= 0 && reached[from] === 1 && text.startsWith(piece, from) ? 1 : 0;
  }
}
