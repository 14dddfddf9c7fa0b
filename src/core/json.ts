/** JSON objects that every parser reads alike (RFC 8259 section 4: names within an object should be unique). */
import type { ClaimSet } from './ports.ts';

export type JsonMap = Readonly<Record<string, unknown>>;

/** An object with names, and no list. */
export function isMap(value: unknown): value is JsonMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const DEPTH_MAX = 16;
const TOKEN = /"(?:[^"\\]|\\.)*"(?=\s*(:)?)|[{}[\]]/gs;

/**
 * The object that the text is. Throws RangeError with a sentence about `what`, and nothing of the
 * text in it: for what is no object, and for what JSON.parse takes and reads its own way (repeated
 * names, `__proto__`, deep nesting).
 */
export function parseJsonObject(text: string, what: string): ClaimSet {
  const value = parse(text, what);
  if (!isMap(value)) throw new RangeError(`${what} is no JSON object`);
  assertPlain(text, what);
  return value as ClaimSet;
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new RangeError(`${what} is no valid JSON`, { cause: (error as Error).name });
  }
}

/** The text is valid JSON: in any other the search for the end of a string could take quadratic time. */
function assertPlain(text: string, what: string): void {
  const objects: (Set<string> | undefined)[] = [];
  for (const [token, colon] of text.matchAll(TOKEN)) {
    if (token === '{' || token === '[') objects.push(token === '{' ? new Set() : undefined);
    else if (token === '}' || token === ']') objects.pop();
    else if (colon !== undefined) assertNewName(token, objects.at(-1));
    if (objects.length > DEPTH_MAX) throw new RangeError(`${what} nests deeper than ${DEPTH_MAX}`);
  }
}

function assertNewName(literal: string, names: Set<string> | undefined): void {
  const name: string = JSON.parse(literal);
  if (name === '__proto__') throw new RangeError('__proto__ is no field');
  if (names?.has(name) === true) throw new RangeError('a field is repeated');
  names?.add(name);
}
