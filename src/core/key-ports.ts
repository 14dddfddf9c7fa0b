/** Keys as they are kept: the values, and the port of a store of them. */
import type { KeyObject } from 'node:crypto';
import type { Algorithm, EpochSeconds } from './ports.ts';

/**
 * `next` is published and does not sign; `active` signs; `retired` no longer
 * signs and stays published until every token it signed has expired.
 */
export type KeyState = 'next' | 'active' | 'retired';

/** A public key of the JWKS (RFC 7517 section 4, RFC 7518 section 6). */
export type PublicJwk = Readonly<Record<string, string>>;

export type KeyMaterial = {
  /** RFC 7638 thumbprint. */
  readonly keyId: string;
  readonly algorithm: Algorithm;
  /** Only kty, kid, use, alg and the public numbers. */
  readonly publicJwk: PublicJwk;
  readonly privateKey: KeyObject;
};

export type RingKey = KeyMaterial & {
  readonly state: KeyState;
  readonly publishedAt: EpochSeconds;
  /** No token that it signs lives longer than this. */
  readonly ttlLimitSeconds: number;
  readonly activatedAt?: EpochSeconds;
  readonly retiredAt?: EpochSeconds;
  /** When a retired key leaves the JWKS. */
  readonly removeAt?: EpochSeconds;
};

/** Opaque to everyone but the store that made it (a counter, a resourceVersion …). */
export type StoreVersion = string;

export type StoredBytes = { readonly bytes: Uint8Array; readonly version: StoreVersion };

/**
 * Named documents of bytes with compare-and-swap. Bytes are already sealed.
 * A name is made of the characters `a-z0-9-`, at most 63.
 */
export interface KeyStore {
  /** Undefined only where the document never existed. Throws `server_error` on corruption, `temporarily_unavailable` on a fault. */
  read(name: string): Promise<StoredBytes | undefined>;
  /**
   * Replaces the document if it is still at `expected` (undefined: if there is
   * none) and resolves once it is durable. Throws `conflict` where it is not at
   * `expected`, `temporarily_unavailable` on a fault, after which the document
   * is the old or the new one, never a mixture.
   */
  write(name: string, bytes: Uint8Array, expected: StoreVersion | undefined): Promise<StoreVersion>;
  /**
   * Removes the document, whatever its version; false where there was none. Its name is not to be used
   * again. Throws `temporarily_unavailable` on a fault: calling it again then ends what was begun.
   */
  remove(name: string): Promise<boolean>;
  /** Others can write too, so it must be read again from time to time. */
  readonly shared: boolean;
  /**
   * Calls `onChange` soon after others changed the document, at times without a
   * cause, and never for certain: reading again from time to time stays necessary.
   * Returns what ends it; so does `close`.
   */
  watch?(name: string, onChange: () => void): () => void;
  close(): Promise<void>;
}
