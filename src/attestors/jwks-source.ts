/** Where an issuer's keys come from: the configuration, a file, our own ring. (Another's server: jwks-remote.ts.) */
import { readFile, stat } from 'node:fs/promises';
import type { PublicJwk } from '../core/key-ports.ts';
import { DOCUMENT_MAX_BYTES } from './jwks-fetch.ts';
import { hasPrivateKeys, type KeySet, parseKeySet } from './jwt-keys.ts';

export interface KeySource {
  /** Throws `temporarily_unavailable` where there are none at the moment. */
  keys(): Promise<KeySet>;
  /** As `keys`, for a token whose key is not among them: looks again, where that is due. */
  freshKeys(): Promise<KeySet>;
  close(): void;
}

const NOTHING_TO_CLOSE = () => undefined;

export function fixedKeys(jwks: unknown): KeySource {
  const set = parseKeySet(jwks);
  return { keys: async () => set, freshKeys: async () => set, close: NOTHING_TO_CLOSE };
}

/** `published` returns the same list until it changes. */
export function ownKeys(published: () => readonly { readonly publicJwk: PublicJwk }[]): KeySource {
  let seen: ReturnType<typeof published> | undefined;
  let set: KeySet = [];
  const keys = async () => {
    const now = published();
    if (now !== seen) {
      set = now.length === 0 ? [] : parseKeySet({ keys: now.map(({ publicJwk }) => publicJwk) });
      seen = now;
    }
    return set;
  };
  return { keys, freshKeys: keys, close: NOTHING_TO_CLOSE };
}

export type FileParts = {
  readonly path: string;
  /** Monotonic seconds. */
  readonly elapsed: () => number;
  readonly warn: (message: string) => void;
};

const LOOK_EVERY_SECONDS = 1;

/** Reads the file at once, and throws RangeError or the system's error where that fails. */
export async function fileKeys(parts: FileParts): Promise<KeySource> {
  const { path, elapsed, warn } = parts;
  let version = await versionOf(path);
  let set = await readKeys(path);
  let lookedAt = elapsed();
  /** Of a file that is broken the old keys stay, and it is told once. */
  const look = async () => {
    lookedAt = elapsed();
    const found = await versionOf(path).catch((error: Error) => error.message);
    if (found === version) return;
    version = found;
    try {
      set = await readKeys(path);
    } catch (error) {
      warn(`${path}: ${(error as Error).message}; the keys that it had stay in use`);
    }
  };
  const keys = async () => {
    if (elapsed() - lookedAt >= LOOK_EVERY_SECONDS) await look();
    return set;
  };
  return { keys, freshKeys: keys, close: NOTHING_TO_CLOSE };
}

async function versionOf(path: string): Promise<string> {
  const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
  return [ino, size, mtimeNs, ctimeNs].join(' ');
}

/** Throws RangeError or the system's error. */
export async function readKeys(path: string): Promise<KeySet> {
  const bytes = await readFile(path);
  if (bytes.length > DOCUMENT_MAX_BYTES)
    throw new RangeError(`it is larger than ${DOCUMENT_MAX_BYTES} bytes`);
  const jwks = parseJson(bytes);
  if (hasPrivateKeys(jwks)) throw new RangeError('it has a private or secret key');
  return parseKeySet(jwks);
}

/** Throws RangeError, with nothing of the bytes in it. */
export function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new RangeError('it is no JSON');
  }
}
