/**
 * Envelope encryption over any store: a new data key (DEK) for each write, itself
 * encrypted under the key-encryption key (KEK). A sealed document, numbers
 * big-endian:
 *
 *     6 bytes   "MMSEAL"
 *     1         format, '1'
 *     8         KEK's id: HMAC-SHA-256(KEK, "mintmark kek id"), cut to 8 bytes
 *     2 + n     issuer, UTF-8
 *     1 + n     document name
 *     12+32+16  nonce, DEK encrypted with AES-256-GCM under the KEK, tag
 *     12+n+16   nonce, document encrypted with AES-256-GCM under the DEK, tag
 *
 * Everything before the first nonce is the additional data of both, so a
 * document cannot be passed off as another one, or as another issuer's
 * (NIST SP 800-38D). The header is plain so that a refusal can say what is wrong.
 */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore } from '../core/key-ports.ts';

const OPENING = Buffer.from('MMSEAL1', 'latin1');
const KEK_ID_BYTES = 8;
const NONCE_BYTES = 12;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES;

/**
 * Seals what is written to `inner` and opens what is read from it. `context` is
 * the issuer's identifier. The KEK (32 bytes) is copied; the caller wipes its
 * own, as it does with the plaintexts that it writes and reads. A document that
 * cannot be opened is a `server_error` that says why.
 */
export function sealStore(inner: KeyStore, kek: Buffer, context: string): KeyStore {
  if (kek.length !== KEY_BYTES)
    throw new IssuerError('server_error', 'the key-encryption key must have 32 bytes');
  const key = createSecretKey(kek);
  const kekId = createHmac('sha256', key).update('mintmark kek id').digest().subarray(0, KEK_ID_BYTES);
  const headerOf = (name: string) => encodeHeader(kekId, context, name);
  const watch = inner.watch?.bind(inner);
  return {
    shared: inner.shared,
    ...(watch && { watch }),
    async read(name) {
      const found = await inner.read(name);
      return (
        found && { bytes: open(key, headerOf(name), name, Buffer.from(found.bytes)), version: found.version }
      );
    },
    async write(name, bytes, expected) {
      return await inner.write(name, seal(key, headerOf(name), bytes), expected);
    },
    remove: (name) => inner.remove(name),
    close: () => inner.close(),
  };
}

function encodeHeader(kekId: Buffer, issuer: string, name: string): Buffer {
  const issuerBytes = Buffer.from(issuer, 'utf8');
  const nameBytes = Buffer.from(name, 'utf8');
  if (nameBytes.length > 0xff || issuerBytes.length > 0xffff) {
    throw new IssuerError('server_error', 'the issuer or the name of the document is too long');
  }
  const issuerLength = Buffer.alloc(2);
  issuerLength.writeUInt16BE(issuerBytes.length);
  return Buffer.concat([OPENING, kekId, issuerLength, issuerBytes, Buffer.of(nameBytes.length), nameBytes]);
}

function seal(kek: KeyObject, header: Buffer, plaintext: Uint8Array): Buffer {
  const dek = randomBytes(KEY_BYTES);
  const wrapped = encrypt(kek, header, dek);
  const body = encrypt(dek, header, plaintext);
  dek.fill(0);
  return Buffer.concat([header, wrapped, body]);
}

function open(kek: KeyObject, header: Buffer, name: string, sealed: Buffer): Buffer {
  const refuse = (why: string) => new IssuerError('server_error', `document ${name} ${why}`);
  const bodyAt = header.length + WRAPPED_BYTES;
  if (!sealed.subarray(0, header.length).equals(header)) throw refuse(headerFault(header, sealed));
  if (sealed.length < bodyAt + NONCE_BYTES + TAG_BYTES) throw refuse('is cut off; put a good copy back');
  const dek = decrypt(kek, header, sealed.subarray(header.length, bodyAt));
  if (dek === undefined) throw refuse('is damaged where its data key lies; put a good copy back');
  const plaintext = decrypt(dek, header, sealed.subarray(bodyAt));
  dek.fill(0);
  if (plaintext === undefined) throw refuse('is damaged or cut off; put a good copy back');
  return plaintext;
}

/** What differs between the header that is there and the one that must be. */
function headerFault(wanted: Buffer, sealed: Buffer): string {
  const kekIdEnd = OPENING.length + KEK_ID_BYTES;
  if (!sealed.subarray(0, OPENING.length).equals(OPENING)) {
    return 'is not sealed, or was sealed by another version of Mintmark';
  }
  const found = decodeNames(sealed.subarray(kekIdEnd));
  const ours = decodeNames(wanted.subarray(kekIdEnd));
  if (found === undefined || ours === undefined) return 'is cut off in its header; put a good copy back';
  if (found.issuer !== ours.issuer)
    return `belongs to the issuer ${found.issuer}, and this one is ${ours.issuer}`;
  if (found.name !== ours.name) return `holds the document ${found.name}: it was renamed or copied`;
  return 'was sealed with another key-encryption key: give back the key that it was sealed with';
}

function decodeNames(bytes: Buffer): { readonly issuer: string; readonly name: string } | undefined {
  if (bytes.length < 2) return undefined;
  const issuerEnd = 2 + bytes.readUInt16BE(0);
  const nameEnd = issuerEnd + 1 + (bytes[issuerEnd] ?? 0);
  if (nameEnd > bytes.length) return undefined;
  // Quoted: what stands there may be anybody's bytes, and goes to the log.
  return {
    issuer: JSON.stringify(bytes.toString('utf8', 2, issuerEnd)),
    name: JSON.stringify(bytes.toString('utf8', issuerEnd + 1, nameEnd)),
  };
}

function encrypt(key: KeyObject | Buffer, header: Buffer, plaintext: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES }).setAAD(header);
  const ciphertext = cipher.update(plaintext);
  cipher.final();
  return Buffer.concat([nonce, ciphertext, cipher.getAuthTag()]);
}

/** Undefined unless every byte is the one that was encrypted. */
function decrypt(key: KeyObject | Buffer, header: Buffer, box: Buffer): Buffer | undefined {
  const tagAt = box.length - TAG_BYTES;
  const decipher = createDecipheriv('aes-256-gcm', key, box.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(header).setAuthTag(box.subarray(tagAt));
  const plaintext = decipher.update(box.subarray(NONCE_BYTES, tagAt));
  try {
    decipher.final();
    return plaintext;
  } catch {
    plaintext.fill(0);
    return undefined;
  }
}
