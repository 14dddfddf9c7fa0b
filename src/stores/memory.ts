/**
 * Documents in this process' memory: gone when it ends, so every restart makes
 * new keys. For tests and for the development issuer.
 */
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore, StoredBytes } from '../core/key-ports.ts';
import { assertDocumentName, assertDocumentSize, assertExpected } from './document.ts';

export const config = v.strictObject({});

/** Shape: KeyStore of core/key-ports.ts. `close` wipes what it held. */
export async function open(): Promise<KeyStore> {
  const documents = new Map<string, StoredBytes>();
  let closed = false;
  const find = (name: string) => {
    assertDocumentName(name);
    if (closed) throw new IssuerError('temporarily_unavailable', 'the key store is closed');
    return documents.get(name);
  };
  return {
    shared: false,
    async read(name) {
      const found = find(name);
      return found && { ...found, bytes: Buffer.from(found.bytes) };
    },
    async write(name, bytes, expected) {
      const found = find(name);
      assertDocumentSize(name, bytes.length);
      assertExpected(name, found?.version, expected);
      const version = String(Number(found?.version ?? 0) + 1);
      documents.set(name, { bytes: Buffer.from(bytes), version });
      found?.bytes.fill(0);
      return version;
    },
    async remove(name) {
      const found = find(name);
      found?.bytes.fill(0);
      return documents.delete(name);
    },
    async close() {
      closed = true;
      for (const { bytes } of documents.values()) bytes.fill(0);
      documents.clear();
    },
  };
}
