/** A secret that every replica shares and that outlives restarts, kept sealed beside the keys. */
import { randomBytes } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore } from '../core/key-ports.ts';

const BYTES = 32;
const ATTEMPTS = 8;

/** Made by whoever asks first. Throws what the store throws. */
export async function sharedSecret(store: KeyStore, document: string): Promise<Uint8Array> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const stored = await store.read(document);
    if (stored !== undefined) return stored.bytes;
    const made = randomBytes(BYTES);
    try {
      await store.write(document, made, undefined);
      return made;
    } catch (error) {
      if (!(error instanceof IssuerError && error.code === 'conflict')) throw error;
    }
  }
  throw new IssuerError(
    'temporarily_unavailable',
    `${document} was changed by others ${ATTEMPTS} times in a row`,
  );
}
