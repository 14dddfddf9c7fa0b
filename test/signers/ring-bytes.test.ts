import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { before, suite, test } from 'node:test';
import fc from 'fast-check';
import { type KeyRing, rotate } from '../../src/core/key-ring.ts';
import { ALGORITHMS } from '../../src/core/ports.ts';
import { decodeRing, encodeRing } from '../../src/signers/ring-bytes.ts';
import { refusal } from '../conformance/key-store.ts';
import { RING_SETTINGS, realRing } from '../fakes/rings.ts';

const unreadable = refusal('server_error', /cannot be read/);

/** Everything of the ring in plain values. */
function plain(ring: KeyRing) {
  const keys = ring.keys.map(({ privateKey, ...key }) => ({
    ...key,
    der: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('hex'),
  }));
  return { ...ring, keys };
}

suite('the bytes of a ring', () => {
  let ring: KeyRing;
  before(async () => {
    const settings = { ...RING_SETTINGS, algorithms: ALGORITHMS };
    const fresh = await realRing(ALGORITHMS);
    ring = rotate(fresh, 'ES256', true, fresh.changedAt + 10, settings);
  });

  test('give the ring back, in every state and for every algorithm', () => {
    assert.deepEqual(plain(decodeRing(encodeRing(ring))), plain(ring));
    assert.deepEqual(decodeRing(encodeRing({ keys: [], changedAt: 7 })), { keys: [], changedAt: 7 });
  });

  test('hold no private number as text', () => {
    const { publicJwk, privateKey } = ring.keys[0]!;
    const text = encodeRing(ring).toString('latin1');
    const jwk = privateKey.export({ format: 'jwk' });
    assert.ok(!text.includes(jwk.d!) && !text.includes('"d"') && !text.includes(publicJwk.n!));
  });

  test("leave no copy of a private key behind, but for the caller's", (t) => {
    const exported: Buffer[] = [];
    const prototype = Object.getPrototypeOf(ring.keys[0]!.privateKey);
    const original = prototype.export;
    t.mock.method(prototype, 'export', function (this: KeyObject, ...args: [never]) {
      const der = original.apply(this, args);
      if (Buffer.isBuffer(der)) exported.push(der);
      return der;
    });
    const bytes = encodeRing(ring);
    assert.equal(exported.length, ring.keys.length);
    for (const der of exported) assert.ok(der.length > 0 && der.every((byte) => byte === 0));
    assert.ok(bytes.some((byte) => byte !== 0));
  });

  test('of another format, or cut short, are refused', () => {
    const bytes = encodeRing(ring);
    const later = Buffer.from(bytes.toString('latin1').replace('"format":1', '"format":2'), 'latin1');
    assert.throws(() => decodeRing(later), unreadable);
    for (const length of [0, 3, 4, 50, bytes.length - 1])
      assert.throws(() => decodeRing(bytes.subarray(0, length)), unreadable, String(length));
  });

  test('of a later release that says more are read, and what it says of a key is kept when this one writes', () => {
    const [first, ...others] = ring.keys;
    const later = { ...ring, keys: [{ ...first!, madeBy: 'a later release' }, ...others] };
    const text = encodeRing(later).toString('latin1').slice(4);
    const header = text.slice(0, text.indexOf(']}') + 2);
    const more = header.replace('{"format":1', '{"format":1,"release":2');
    const length = Buffer.alloc(4);
    length.writeUInt32BE(more.length);
    const read = decodeRing(Buffer.concat([length, Buffer.from(more + text.slice(header.length), 'latin1')]));
    assert.deepEqual(plain(read), plain(later));
    const settings = { ...RING_SETTINGS, algorithms: ALGORITHMS };
    const rotated = rotate(read, first!.algorithm, true, ring.changedAt + 10, settings);
    const [again] = decodeRing(encodeRing(rotated)).keys;
    assert.deepEqual(plain({ ...ring, keys: [again!] }).keys[0], {
      ...plain({ ...ring, keys: [rotated.keys[0]!] }).keys[0],
      madeBy: 'a later release',
    });
  });

  test('with a key under the kid of another are refused', () => {
    const [one, other] = ring.keys.filter(({ algorithm }) => algorithm === 'EdDSA');
    const swapped = { ...ring, keys: [{ ...one!, privateKey: other!.privateKey }] };
    assert.throws(() => decodeRing(encodeRing(swapped)), unreadable);
    const mislabelled = { ...ring, keys: [{ ...one!, algorithm: 'RS256' as const }] };
    assert.throws(() => decodeRing(encodeRing(mislabelled)), unreadable);
  });

  test('whatever is in them, they are a ring or refused', () => {
    const ed = { ...ring, keys: ring.keys.filter(({ algorithm }) => algorithm === 'EdDSA') };
    const bytes = encodeRing(ed);
    const flips = fc.array(fc.nat({ max: bytes.length * 8 - 1 }), { minLength: 1, maxLength: 3 });
    const decode = (input: Buffer) => {
      try {
        for (const key of decodeRing(input).keys) assert.ok(ALGORITHMS.includes(key.algorithm));
      } catch (error) {
        unreadable(error);
      }
    };
    fc.assert(
      fc.property(flips, (places) => {
        const damaged = Buffer.from(bytes);
        for (const place of places) damaged[place >> 3]! ^= 1 << (place & 7);
        decode(damaged);
      }),
      { numRuns: 2000 },
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (random) => decode(Buffer.from(random))));
    const header = fc.oneof(
      fc.json(),
      fc.jsonValue().map((keys) => JSON.stringify({ format: 1, keys })),
    );
    fc.assert(
      fc.property(header, (json) => {
        const length = Buffer.alloc(4);
        length.writeUInt32BE(Buffer.byteLength(json));
        decode(Buffer.concat([length, Buffer.from(json)]));
      }),
    );
  });
});
