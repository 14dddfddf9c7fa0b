/**
 * The ring as bytes, before sealing: a four-byte big-endian length, that much
 * JSON (states, times and lengths), then each key's PKCS#8 DER in the same order.
 * Private keys go through Buffers only, never through strings; the caller wipes
 * what `encodeRing` returns and what it hands to `decodeRing`.
 *
 * Replicas of two releases have one ring. A release that only adds fields keeps the
 * format: older ones read the ring, keep what it says of each key, and leave out what it
 * says of the whole. Another format is refused, and who does not know it keeps what it has.
 */
import { createPrivateKey } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import type { RingKey } from '../core/key-ports.ts';
import type { KeyRing } from '../core/key-ring.ts';
import { ALGORITHMS } from '../core/ports.ts';
import { describeKey } from './key-material.ts';

const FORMAT = 1;
const LENGTH_BYTES = 4;

type StoredKey = Omit<RingKey, 'privateKey' | 'publicJwk'> & { readonly bytes: number };
type Header = { readonly format: number; readonly changedAt: number; readonly keys: readonly StoredKey[] };

export function encodeRing(ring: KeyRing): Buffer {
  const privateKeys = ring.keys.map((key) => key.privateKey.export({ format: 'der', type: 'pkcs8' }));
  const keys = ring.keys.map(({ privateKey: _, publicJwk: __, ...key }, index) => ({
    ...key,
    bytes: privateKeys[index]?.length,
  }));
  const header = Buffer.from(JSON.stringify({ format: FORMAT, changedAt: ring.changedAt, keys }));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(header.length);
  const bytes = Buffer.concat([length, header, ...privateKeys]);
  for (const der of privateKeys) der.fill(0);
  return bytes;
}

/** Throws `server_error` where the bytes are not a ring of a format known here. */
export function decodeRing(bytes: Buffer): KeyRing {
  try {
    const headerEnd = LENGTH_BYTES + bytes.readUInt32BE(0);
    const header = JSON.parse(bytes.toString('utf8', LENGTH_BYTES, headerEnd)) as Header;
    if (header.format !== FORMAT) throw new Error(`format ${header.format} is not known to this version`);
    let offset = headerEnd;
    const keys = header.keys.map((stored) => {
      const der = bytes.subarray(offset, offset + stored.bytes);
      offset += stored.bytes;
      return decodeKey(stored, der);
    });
    return { keys, changedAt: header.changedAt };
  } catch (error) {
    throw new IssuerError('server_error', 'the stored key ring cannot be read', { cause: error });
  }
}

function decodeKey({ bytes: _, ...stored }: StoredKey, der: Buffer): RingKey {
  if (!ALGORITHMS.includes(stored.algorithm)) throw new Error('a key has an unknown algorithm');
  const material = describeKey(
    createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }),
    stored.algorithm,
  );
  if (material.keyId !== stored.keyId) throw new Error('a key does not belong to its kid');
  return { ...stored, ...material };
}
