import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { open } from '../../src/stores/memory.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { refusal } from '../conformance/key-store.ts';

const ISSUER = 'https://id.example.com';
const SECRET = Buffer.from('a private key that nobody may see');

/** A store of fixed documents, whatever is asked of it. */
function holding(bytes: Uint8Array): KeyStore {
  return {
    shared: true,
    read: async () => ({ bytes, version: '7' }),
    write: async () => '8',
    remove: async () => true,
    close: async () => {},
  };
}

/** What sealing SECRET as the document "ring" puts into the store below. */
async function sealed(kek: Buffer, issuer = ISSUER, name = 'ring'): Promise<Buffer> {
  const inner = await open();
  await sealStore(inner, kek, issuer).write(name, SECRET, undefined);
  return Buffer.from((await inner.read(name))!.bytes);
}

const openSealed = (kek: Buffer, bytes: Uint8Array, issuer = ISSUER, name = 'ring') =>
  sealStore(holding(bytes), kek, issuer).read(name);

suite('sealed store', () => {
  const kek = randomBytes(32);

  test('what lies below does not show the document, and no two writes are alike', async () => {
    const first = await sealed(kek);
    const second = await sealed(kek);
    assert.ok(!first.includes(SECRET) && !first.includes(SECRET.subarray(0, 8)));
    assert.notDeepEqual(first, second);
    assert.deepEqual(Buffer.from((await openSealed(kek, first))!.bytes), SECRET);
  });

  test('a restart with the same KEK opens it; the KEK given may be wiped at once', async () => {
    const copy = Buffer.from(kek);
    const inner = await open();
    const store = sealStore(inner, copy, ISSUER);
    copy.fill(0);
    await store.write('ring', SECRET, undefined);
    const again = sealStore(inner, kek, ISSUER);
    assert.deepEqual(Buffer.from((await again.read('ring'))!.bytes), SECRET);
  });

  test('another KEK is named as the reason', async () => {
    const bytes = await sealed(kek);
    await assert.rejects(
      openSealed(randomBytes(32), bytes),
      refusal('server_error', /document ring was sealed with another key-encryption key/),
    );
  });

  test("another issuer's document is refused with both names", async () => {
    const bytes = await sealed(kek, 'https://other.example.com');
    await assert.rejects(
      openSealed(kek, bytes),
      refusal(
        'server_error',
        /belongs to the issuer "https:\/\/other\.example\.com", and this one is "https:\/\/id/,
      ),
    );
  });

  test('a renamed document is refused with its own name', async () => {
    const bytes = await sealed(kek, ISSUER, 'bootstrap-ca');
    await assert.rejects(
      openSealed(kek, bytes),
      refusal('server_error', /document ring holds the document "bootstrap-ca": it was renamed or copied/),
    );
  });

  test('names of equal joined length are not mixed up', async () => {
    const bytes = await sealed(kek, 'https://a.example/xy', 'z');
    await assert.rejects(
      openSealed(kek, bytes, 'https://a.example/x', 'yz'),
      refusal('server_error', /belongs/),
    );
  });

  test('a header that was rewritten to look right does not help', async () => {
    const foreign = await sealed(kek, ISSUER, 'gnir');
    const forged = Buffer.from(foreign);
    forged.write('ring', forged.indexOf('gnir'));
    await assert.rejects(openSealed(kek, forged), refusal('server_error', /document ring is damaged/));
    const otherKek = await sealed(randomBytes(32));
    const kekId = (await sealed(kek)).subarray(7, 15);
    kekId.copy(otherKek, 7);
    await assert.rejects(
      openSealed(kek, otherKek),
      refusal('server_error', /is damaged where its data key lies/),
    );
  });

  test('parts of two writes do not go together', async () => {
    const first = await sealed(kek);
    const second = await sealed(kek);
    const bodyAt = first.length - SECRET.length - 28;
    const mixed = Buffer.concat([first.subarray(0, bodyAt), second.subarray(bodyAt)]);
    await assert.rejects(
      openSealed(kek, mixed),
      refusal('server_error', /document ring is damaged or cut off/),
    );
  });

  test('any flipped bit is refused', async () => {
    const bytes = await sealed(kek);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await assert.rejects(
        openSealed(kek, flipped),
        refusal('server_error', /^document ring /),
        `bit ${bit}`,
      );
    }
  });

  test('any cut is refused, and so is anything added', async () => {
    const bytes = await sealed(kek);
    for (let length = 0; length < bytes.length; length++) {
      await assert.rejects(
        openSealed(kek, bytes.subarray(0, length)),
        refusal('server_error', /^document ring /),
      );
    }
    await assert.rejects(openSealed(kek, Buffer.concat([bytes, Buffer.of(0)])), refusal('server_error'));
  });

  test('a short tag is no tag', async () => {
    const bytes = await sealed(kek);
    for (const cut of [1, 4, 8, 12]) {
      await assert.rejects(openSealed(kek, bytes.subarray(0, -cut)), refusal('server_error', /damaged/));
    }
  });

  test('any bytes below are refused, never a crash', async () => {
    const opening = (await sealed(kek)).subarray(0, 15);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.boolean(), async (random, withOpening) => {
        const bytes = withOpening ? Buffer.concat([opening, random]) : random;
        await assert.rejects(openSealed(kek, bytes), refusal('server_error', /^document ring /));
      }),
    );
  });

  test('the issuer in a foreign file cannot write lines into the log', async () => {
    const bytes = await sealed(kek, 'https://x.example\n\u001b[31mroot logged in');
    await assert.rejects(openSealed(kek, bytes), (error: Error) =>
      [...error.message].every((char) => char >= ' '),
    );
  });

  test('an empty document is sealed too; an absent one stays absent', async () => {
    const inner = await open();
    const store = sealStore(inner, kek, ISSUER);
    assert.equal(await store.read('ring'), undefined);
    await store.write('ring', Buffer.alloc(0), undefined);
    assert.equal((await store.read('ring'))!.bytes.length, 0);
    assert.ok((await inner.read('ring'))!.bytes.length > 100);
  });

  test('versions, sharing and faults of the store below are passed on', async () => {
    const store = sealStore(holding(await sealed(kek)), kek, ISSUER);
    assert.equal(store.shared, true);
    assert.equal((await store.read('ring'))!.version, '7');
    assert.equal(await store.write('ring', SECRET, '7'), '8');
  });

  test('a KEK of another length is refused', async () => {
    for (const length of [0, 16, 31, 33, 64]) {
      assert.throws(
        () => sealStore(holding(SECRET), Buffer.alloc(length), ISSUER),
        refusal('server_error', /32 bytes/),
      );
    }
  });
});
