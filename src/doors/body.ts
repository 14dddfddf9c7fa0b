/** Request bodies: bounded, and without two readings of the same bytes. */
import type { IncomingMessage } from 'node:http';
import { IssuerError } from '../core/errors.ts';
import { parseJsonObject } from '../core/json.ts';

export const BODY_MAX_BYTES = 64 * 1024;
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

/** The fields of a body, these and no others. Throws what `read` and `parseFields` throw. */
export async function readFields(
  request: IncomingMessage,
  known: readonly string[],
  readers: FormReaders = {},
  read: (request: IncomingMessage) => Promise<Buffer> = readBody,
): Promise<Readonly<Record<string, unknown>>> {
  const fields = parseFields(await read(request), request.headers['content-type'], readers);
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
  if (text.startsWith('{')) return parseJson(text);
  if (contentType === undefined || !FORM.test(contentType)) throw malformed('the body is no JSON object');
  if (!text.includes('=')) throw malformed('the body is neither a JSON object nor a form');
  return parseForm(text, readers);
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
function parseJson(text: string): Readonly<Record<string, unknown>> {
  try {
    return parseJsonObject(text, 'the body');
  } catch (error) {
    throw malformed((error as RangeError).message, (error as RangeError).cause);
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
function malformed(reason: string, cause?: unknown): IssuerError {
  return new IssuerError('invalid_request', reason, { cause, shown: { reason } });
}
