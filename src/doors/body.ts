/** Request bodies: bounded, and without two readings of the same bytes. */
import type { IncomingMessage } from 'node:http';
import { IssuerError } from '../core/errors.ts';

export const BODY_MAX_BYTES = 64 * 1024;
const DEPTH_MAX = 16;
const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i;

/** The body's bytes. Throws `request_too_large`, the signal's reason, and `invalid_request` where the caller hangs up. */
export function readBody(
  request: IncomingMessage,
  maxBytes = BODY_MAX_BYTES,
  signal?: AbortSignal,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = (error: IssuerError) => {
      request.removeAllListeners('data');
      request.pause();
      reject(error);
    };
    if (Number(request.headers['content-length'] ?? 0) > maxBytes)
      return refuse(new IssuerError('request_too_large', `Content-Length is over ${maxBytes}`));
    signal?.addEventListener('abort', () => refuse(signal.reason), { once: true });
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes) refuse(new IssuerError('request_too_large', `the body is over ${maxBytes} bytes`));
      else chunks.push(chunk);
    });
    request.on('end', () =>
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks)),
    );
    request.on('error', (cause) =>
      reject(new IssuerError('invalid_request', 'the body broke off', { cause })),
    );
  });
}

/** What a form's text stands for in fields that are no text; undefined: nothing, and the text stays. */
export type FormReaders = Readonly<Record<string, (text: string) => unknown>>;

/** The fields of a body, these and no others. Throws what `readBody` and `parseFields` throw. */
export async function readFields(
  request: IncomingMessage,
  known: readonly string[],
  readers: FormReaders = {},
): Promise<Readonly<Record<string, unknown>>> {
  const fields = parseFields(await readBody(request), request.headers['content-type'], readers);
  if (Object.keys(fields).every((name) => known.includes(name))) return fields;
  throw malformed(`known fields: ${known.join(' ')}`);
}

/**
 * A JSON object (RFC 8259), or a form where the caller says so and the bytes are
 * no JSON: curl's `--data` calls everything a form. Repeated names are refused,
 * since parsers differ on which one counts (RFC 6749 section 3.2). Empty: no fields.
 */
export function parseFields(
  bytes: Buffer,
  contentType: string | undefined,
  readers: FormReaders = {},
): Readonly<Record<string, unknown>> {
  const text = decodeText(bytes).trim();
  if (text === '') return {};
  if (text.startsWith('{')) return parseJsonObject(text);
  if (contentType !== undefined && FORM.test(contentType)) return parseForm(text, readers);
  throw malformed('the body is no JSON object');
}

/** No two bodies read the same: what is no UTF-8 has no replacement character in its place. Throws `invalid_request`. */
export function decodeText(bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw malformed('the body is no UTF-8');
  }
}

/** Throws `invalid_request`. */
export function parseJsonObject(text: string): Readonly<Record<string, unknown>> {
  const value = parseJson(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed('the body is no JSON object');
  assertPlainJson(text);
  return value as Record<string, unknown>;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw malformed('the body is no valid JSON', (cause as Error).name);
  }
}

function parseForm(text: string, readers: FormReaders): Readonly<Record<string, unknown>> {
  assertUtf8(text);
  const form = new URLSearchParams(text);
  const names = [...form.keys()];
  if (new Set(names).size !== names.length) throw malformed('a field is repeated');
  if (names.includes('__proto__')) throw malformed('__proto__ is no field');
  const read = (name: string, value: string) => {
    const reader = Object.hasOwn(readers, name) ? readers[name] : undefined;
    return reader === undefined ? value : (reader(value) ?? value);
  };
  return Object.fromEntries([...form].map(([name, value]) => [name, read(name, value)]));
}

/** Of what is percent-encoded. */
function assertUtf8(text: string): void {
  try {
    for (const [bytes] of text.matchAll(/(?:%[\da-f]{2})+/gi)) decodeURIComponent(bytes);
  } catch {
    throw malformed('the body is no UTF-8');
  }
}

/** The caller may read why; nothing of the body is in it. */
function malformed(reason: string, cause?: string): IssuerError {
  return new IssuerError('invalid_request', reason, { cause, shown: { reason } });
}

const JSON_TOKEN = /"(?:[^"\\]|\\.)*"(?=\s*(:)?)|[{}[\]]/gs;

/**
 * Refuses what JSON.parse takes and reads its own way: repeated names, `__proto__`,
 * deep nesting. The text is valid JSON: in any other the search for the end of a
 * string could take quadratic time.
 */
function assertPlainJson(text: string): void {
  const objects: (Set<string> | undefined)[] = [];
  for (const [token, colon] of text.matchAll(JSON_TOKEN)) {
    if (token === '{' || token === '[') objects.push(token === '{' ? new Set() : undefined);
    else if (token === '}' || token === ']') objects.pop();
    else if (colon !== undefined) assertNewName(token, objects.at(-1));
    if (objects.length > DEPTH_MAX) throw malformed(`the body nests deeper than ${DEPTH_MAX}`);
  }
}

function assertNewName(literal: string, names: Set<string> | undefined): void {
  const name: string = JSON.parse(literal);
  if (name === '__proto__') throw malformed('__proto__ is no field');
  if (names?.has(name) === true) throw malformed('a field is repeated');
  names?.add(name);
}
