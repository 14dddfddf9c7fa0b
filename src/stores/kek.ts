/** The key-encryption key: 32 bytes that never become a string. */
import { randomBytes } from 'node:crypto';
import fs, { constants } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { IssuerError } from '../core/errors.ts';
import { commit, errnoOf, stage, unlessAbsent } from './durable.ts';
import type { StoreContext } from './index.ts';

export type KekSource =
  | { readonly file: string }
  /** A systemd credential (LoadCredential=, SetCredentialEncrypted=); `directory` is $CREDENTIALS_DIRECTORY. */
  | { readonly credential: string; readonly directory: string | undefined }
  /** Made there if it is not, in the store's own directory; only for the one who holds the store's lock. */
  | { readonly generate: string };

type KekContext = Pick<StoreContext, 'warn' | 'uid' | 'gids'>;

const KEK_BYTES = 32;
/** 64 hexadecimal digits and a line's end are the longest form. */
const MAX_FILE_BYTES = 66;

/**
 * Reads the KEK: 32 raw bytes, 64 hexadecimal digits or base64 (RFC 4648
 * section 4), the texts with or without a newline. The caller wipes the Buffer.
 * Throws `server_error`, which names the file and how to mend it.
 */
export async function loadKek(source: KekSource, context: KekContext): Promise<Buffer> {
  try {
    if ('generate' in source) return await loadOrGenerate(source.generate, context);
    if ('credential' in source) return await readKek(credentialPath(source));
    return await readKek(source.file, context);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new IssuerError('server_error', `key-encryption key: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

function credentialPath(source: { credential: string; directory: string | undefined }): string {
  const { credential, directory } = source;
  if (directory === undefined) {
    throw new IssuerError(
      'server_error',
      `the key-encryption key is to come from the credential ${credential}, but CREDENTIALS_DIRECTORY is not set: start Mintmark as a systemd unit with LoadCredential= or LoadCredentialEncrypted=`,
    );
  }
  if (!/^[^/]+$/.test(credential) || /^\.\.?$/.test(credential)) {
    throw new IssuerError('server_error', `${JSON.stringify(credential)} is not the name of a credential`);
  }
  return join(directory, credential);
}

async function loadOrGenerate(path: string, context: KekContext): Promise<Buffer> {
  const beside = dirname(path);
  context.warn(
    `the key-encryption key ${path} lies beside the keys that it protects, so whoever copies ${beside} has both: set keys.encryption to a file on another volume or to a systemd credential`,
  );
  if ((await unlessAbsent(fs.lstat(path))) !== undefined) return await readKek(path, context);
  const sealed = (await fs.readdir(beside)).find((name) => /\.(?:sealed|counter)$/.test(name));
  if (sealed !== undefined) {
    throw new IssuerError(
      'server_error',
      `the key-encryption key ${path} is missing, but ${join(beside, sealed)} was sealed with it: put the key back; no other can open it`,
    );
  }
  const kek = randomBytes(KEK_BYTES);
  await stage(fs, path, kek);
  await commit(fs, path);
  return kek;
}

/** With `context`: checks the mode, which systemd itself answers for where it made the file. */
async function readKek(path: string, context?: KekContext): Promise<Buffer> {
  // Links are followed: Kubernetes shows a secret's files through them.
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new IssuerError('server_error', `key-encryption key ${path} is not a file`);
    if (context) checkMode(path, found, context);
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0);
    const kek = decodeKek(bytes.subarray(0, bytesRead));
    if (kek === undefined) {
      throw new IssuerError(
        'server_error',
        `key-encryption key ${path} must hold 32 raw bytes, 64 hexadecimal digits or the base64 text of 32 bytes`,
      );
    }
    return kek;
  } finally {
    bytes.fill(0);
    await handle.close();
  }
}

type Found = { readonly mode: number; readonly uid: number; readonly gid: number };

function checkMode(path: string, found: Found, { uid, gids, warn }: KekContext): void {
  const mode = found.mode & 0o7777;
  const octal = mode.toString(8).padStart(4, '0');
  if ((mode & 0o037) !== 0) {
    throw new IssuerError(
      'server_error',
      `key-encryption key ${path} is open to others (mode ${octal}): chmod 0400 ${path}`,
    );
  }
  // Another's file that we read as one of its group is ours in the only way there is: a pod's fsGroup.
  const isLentToUs = found.uid !== uid && gids.includes(found.gid);
  if ((mode & 0o040) !== 0 && !isLentToUs)
    warn(`key-encryption key ${path} is readable by its group (mode ${octal})`);
}

/** Undefined unless the bytes are one of the three forms. The result is a copy. */
export function decodeKek(bytes: Buffer): Buffer | undefined {
  if (bytes.length === KEK_BYTES) return Buffer.from(bytes);
  const text = withoutNewline(bytes);
  if (text.length === 64) return decodeDigits(text, LOWER_HEX) ?? decodeDigits(text, UPPER_HEX);
  if (text.length === 44 && text[43] === EQUALS_SIGN) return decodeDigits(text.subarray(0, 43), BASE64);
  return undefined;
}

const EQUALS_SIGN = '='.charCodeAt(0);
const LOWER_HEX = Buffer.from('0123456789abcdef', 'latin1');
const UPPER_HEX = Buffer.from('0123456789ABCDEF', 'latin1');
const BASE64 = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'latin1');

function withoutNewline(bytes: Buffer): Buffer {
  let end = bytes.length;
  if (bytes[end - 1] === 0x0a) end -= bytes[end - 2] === 0x0d ? 2 : 1;
  return bytes.subarray(0, end);
}

/** Most significant digit first; bits that are left over at the end must be zero. */
function decodeDigits(text: Buffer, alphabet: Buffer): Buffer | undefined {
  const digitBits = Math.log2(alphabet.length);
  const decoded = Buffer.alloc(KEK_BYTES);
  let held = 0;
  let heldBits = 0;
  let length = 0;
  for (const byte of text) {
    const digit = alphabet.indexOf(byte);
    if (digit === -1) break;
    held = (held << digitBits) | digit;
    heldBits += digitBits;
    if (heldBits >= 8) {
      heldBits -= 8;
      decoded[length++] = held >> heldBits;
      held &= (1 << heldBits) - 1;
    }
  }
  if (length === KEK_BYTES && held === 0) return decoded;
  decoded.fill(0);
  return undefined;
}
