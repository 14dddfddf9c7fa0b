/** Keys without cryptography, for tests that look at the ring only. */
import type { KeyObject } from 'node:crypto';
import type { KeyMaterial } from '../../src/core/key-ports.ts';
import type { KeyRing } from '../../src/core/key-ring.ts';
import type { Algorithm } from '../../src/core/ports.ts';

let made = 0;

export function fakeKey(algorithm: Algorithm): KeyMaterial {
  made++;
  const keyId = `${algorithm}-${made}`;
  return { keyId, algorithm, publicJwk: { kid: keyId }, privateKey: {} as KeyObject };
}

export function encodeFakeRing(ring: KeyRing): Buffer {
  return Buffer.from(JSON.stringify(ring));
}

export function decodeFakeRing(bytes: Buffer): KeyRing {
  return JSON.parse(bytes.toString());
}
