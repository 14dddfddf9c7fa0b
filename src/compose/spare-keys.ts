/** A few RSA keys made beforehand, one after the other: whoever needs one does not wait for it. */
import type { KeyMaterial } from '../core/key-ports.ts';
import type { Algorithm } from '../core/ports.ts';
import { generateKey } from '../signers/key-material.ts';

export type SpareKeys = {
  /** One of them where there is one, a new one otherwise. */
  take(algorithm: Algorithm): Promise<KeyMaterial>;
  close(): void;
};

/** Others take less time than the store. */
const KEPT: Algorithm = 'RS256';

export function keepSpareKeys(count: number): SpareKeys {
  const spares: KeyMaterial[] = [];
  let isFilling = false;
  let isClosed = false;
  async function fill(): Promise<void> {
    if (isFilling) return;
    isFilling = true;
    try {
      while (!isClosed && spares.length < count) spares.push(await generateKey(KEPT));
    } finally {
      isFilling = false;
    }
  }
  void fill();
  return {
    async take(algorithm) {
      const spare = algorithm === KEPT ? spares.pop() : undefined;
      if (algorithm === KEPT) void fill();
      return spare ?? generateKey(algorithm);
    },
    close() {
      isClosed = true;
      spares.length = 0;
    },
  };
}
