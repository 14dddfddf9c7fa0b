/** The fields of a request, and what the API says where they are wrong. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { readFields } from '../body.ts';

export type Fields = Readonly<Record<string, unknown>>;

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CONTROL = /\p{Cc}/u;
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;
const RSA_BITS_MAX = 4096;

export function refuse(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

export function absent(what: string): IssuerError {
  const reason = `There is no such ${what}.`;
  return new IssuerError('not_found', reason, { shown: { reason } });
}

export function conflict(reason: string): IssuerError {
  return new IssuerError('conflict', reason, { shown: { reason } });
}

export function isId(text: string): boolean {
  return UUID.test(text);
}

/** Throws `not_found`: what is no id is the id of nothing. */
export function assertId(id: string, what: string): string {
  if (!isId(id)) throw absent(what);
  return id;
}

/** The fields, bare or below `name`: clients of the API send both. Throws `invalid_request`. */
export async function readWrapped(context: Context, name: string, known: readonly string[]): Promise<Fields> {
  const sent = await readFields(context.req, [...known, name]);
  if (!Object.hasOwn(sent, name)) return sent;
  const inner = sent[name];
  if (typeof inner !== 'object' || inner === null || Array.isArray(inner))
    throw refuse(`${name} is no object`);
  if (Object.keys(sent).length > 1) throw refuse(`fields stand within ${name} or without it, not both`);
  const fields = inner as Fields;
  if (!Object.keys(fields).every((each) => known.includes(each)))
    throw refuse(`known fields: ${known.join(' ')}`);
  return fields;
}

/** Undefined where it is absent, or null or empty as generated clients leave it. Throws `invalid_request`. */
export function textOf(fields: Fields, name: string, longest: number): string | undefined {
  const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string') throw refuse(`${name} is no string`);
  if (value.length > longest) throw refuse(`${name} is longer than ${longest} characters`);
  if (CONTROL.test(value) || !value.isWellFormed()) throw refuse(`${name} has characters that none has`);
  return value;
}

export function requireText(fields: Fields, name: string, longest: number): string {
  const value = textOf(fields, name, longest);
  if (value === undefined) throw refuse(`${name} is missing`);
  return value;
}

/** An RSA key as PEM or DER (PKCS#8 or PKCS#1) in base64. Throws `invalid_request`, with nothing of it. */
export function parseKey(base64: string): KeyObject {
  const bytes = BASE64.test(base64) ? Buffer.from(base64, 'base64') : Buffer.alloc(0);
  try {
    const key = readKey(bytes);
    const bits = key?.asymmetricKeyDetails?.modulusLength ?? 0;
    if (key?.asymmetricKeyType !== 'rsa' || bits < 2048 || bits > RSA_BITS_MAX)
      throw refuse(`private_key_b64 is no RSA key of 2048 to ${RSA_BITS_MAX} bits, as PEM or DER in base64`);
    return key;
  } finally {
    bytes.fill(0);
  }
}

function readKey(bytes: Buffer): KeyObject | undefined {
  const forms = [
    { key: bytes, format: 'pem' },
    { key: bytes, format: 'der', type: 'pkcs8' },
    { key: bytes, format: 'der', type: 'pkcs1' },
  ] as const;
  for (const form of forms) {
    try {
      return createPrivateKey(form);
    } catch {
      // The next form.
    }
  }
  return undefined;
}
