/**
 * What the file store writes. `NAME.sealed`, numbers big-endian:
 *
 *     7 bytes   "MMSTORE"
 *     1         format, '1'
 *     8         counter: how often the document was written
 *     32        SHA-256 of all other bytes (finds accidents; the seal inside finds attacks)
 *     rest      the document
 *
 * `NAME.counter`: the highest counter ever written, decimal text and a newline.
 */
import { createHash } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';

const MAGIC = Buffer.from('MMSTORE', 'latin1');
const FORMAT = '1'.charCodeAt(0);
const COUNTER_AT = MAGIC.length + 1;
const DIGEST_AT = COUNTER_AT + 8;
const BODY_AT = DIGEST_AT + 32;

/** Bytes that the store adds to a document. */
export const HEADER_BYTES = BODY_AT;

export type CountedDocument = { readonly counter: bigint; readonly bytes: Buffer };

const digestOf = (file: Buffer): Buffer =>
  createHash('sha256').update(file.subarray(0, DIGEST_AT)).update(file.subarray(BODY_AT)).digest();

export function encodeDocument(counter: bigint, bytes: Uint8Array): Buffer {
  const file = Buffer.alloc(BODY_AT + bytes.length);
  MAGIC.copy(file);
  file.writeUInt8(FORMAT, MAGIC.length);
  file.writeBigUInt64BE(counter, COUNTER_AT);
  file.set(bytes, BODY_AT);
  digestOf(file).copy(file, DIGEST_AT);
  return file;
}

/** Throws `server_error` that names the file and says in which way it is not one of ours. */
export function decodeDocument(path: string, file: Buffer): CountedDocument {
  const refuse = (why: string) => new IssuerError('server_error', `${path} ${why}; put a good copy back`);
  const opening = file.subarray(0, MAGIC.length);
  if (!opening.equals(MAGIC.subarray(0, file.length))) throw refuse('is no document of Mintmark');
  if (file.length < BODY_AT) throw refuse(`is cut off after ${file.length} bytes`);
  if (file[MAGIC.length] !== FORMAT) throw refuse('was written by another version of Mintmark');
  if (!digestOf(file).equals(file.subarray(DIGEST_AT, BODY_AT))) throw refuse('is damaged or cut off');
  return { counter: file.readBigUInt64BE(COUNTER_AT), bytes: file.subarray(BODY_AT) };
}

export const encodeCounter = (counter: bigint): Buffer => Buffer.from(`${counter}\n`, 'latin1');

/** Throws `server_error` that names the file. */
export function decodeCounter(path: string, file: Buffer): bigint {
  const text = file.toString('latin1');
  if (!/^[1-9]\d{0,18}\n?$/.test(text)) {
    throw new IssuerError('server_error', `${path} is damaged: it must hold one whole number`);
  }
  return BigInt(text);
}
