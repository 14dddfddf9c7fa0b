/** The fields of a request, and what the API says where they are wrong. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { readBody, readFields } from '../body.ts';

export type Fields = Readonly<Record<string, unknown>>;

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const CONTROL = /\p{Cc}/u;
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/;
const RSA_BITS_MAX = 4096;
const KEY_MAX = 16 * 1024;

export function refuse(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

export function absent(what: string): IssuerError {
  const reason = `There is no such ${what}.`;
  return new IssuerError('not_found', reason, { shown: { reason } });
}

export function forbidden(reason: string): IssuerError {
  return new IssuerError('access_denied', reason, { shown: { reason } });
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
  const sent = await readFields(context.req, [...known, name], {}, readSome);
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

async function readSome(request: IncomingMessage): Promise<Buffer> {
  const bytes = await readBody(request);
  if (bytes.toString('latin1').trim() === '') throw refuse('there is no body');
  return bytes;
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

/**
 * An RSA key as PEM or DER (PKCS#8 or PKCS#1) in base64, in lines or in one. Undefined where it is absent.
 * Throws `invalid_request`, with nothing of it.
 */
export function keyOf(fields: Fields, name: string): KeyObject | undefined {
  const sent = fields[name];
  const base64 = textOf({ [name]: typeof sent === 'string' ? sent.replace(/\s/g, '') : sent }, name, KEY_MAX);
  if (base64 === undefined) return undefined;
  if (!BASE64.test(base64)) throw refuse(`${name} is no base64`);
  const bytes = Buffer.from(base64, 'base64');
  try {
    const key = readKey(bytes);
    if (key === undefined)
      throw refuse(`${name} is no private key as PEM or DER (PKCS#8 or PKCS#1) without a passphrase`);
    if (key.asymmetricKeyType !== 'rsa')
      throw refuse(`${name} is a key of the type ${key.asymmetricKeyType}, and RS256 takes rsa`);
    const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
    if (bits < 2048 || bits > RSA_BITS_MAX)
      throw refuse(`${name} has ${bits} bits, and may have 2048 to ${RSA_BITS_MAX}`);
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
