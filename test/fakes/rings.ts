/** Rings of real keys, made once a test file: RSA keys take their time. */
import { advance, EMPTY_RING, type KeyRing, type RingSettings } from '../../src/core/key-ring.ts';
import type { Algorithm } from '../../src/core/ports.ts';
import { generateKey } from '../../src/signers/key-material.ts';

export const RING_SETTINGS: Omit<RingSettings, 'algorithms'> = {
  rotateEverySeconds: 7 * 86_400,
  publishAtLeastSeconds: 86_400,
  longestTtlSeconds: 3600,
  keepSeconds: 1200,
};

/** A fresh ring: an active and a next key for each. */
export async function realRing(algorithms: readonly Algorithm[], now = 1_800_000_000): Promise<KeyRing> {
  const spares = await Promise.all([...algorithms, ...algorithms].map(generateKey));
  return advance(EMPTY_RING, now, { ...RING_SETTINGS, algorithms }, spares).ring;
}
