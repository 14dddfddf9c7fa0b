/**
 * What every KeyStore (core/ports.ts) must do, whatever is behind it. A store's
 * own test calls `keyStoreSuite` with a function that opens an empty one.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import type { KeyStore } from '../../src/core/key-ports.ts';

const bytesOf = (text: string) => Buffer.from(text, 'utf8');

/** Matches an IssuerError by its code and, where given, by its detail. */
export const refusal =
  (code: string, detail: RegExp = /./) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof IssuerError, `not an IssuerError: ${error}`);
    assert.equal(error.code, code, error.detail);
    assert.match(error.detail, detail);
    return true;
  };

export function keyStoreSuite(name: string, open: (t: TestContext) => Promise<KeyStore>): void {
  const storeTest = (title: string, run: (store: KeyStore) => Promise<void>) =>
    test(title, async (t) => {
      const store = await open(t);
      t.after(() => store.close());
      await run(store);
    });

  suite(`key store: ${name}`, () => {
    storeTest('a document that was never written is absent', async (store) => {
      assert.equal(await store.read('ring'), undefined);
    });

    storeTest('what was written is read, at the version that write gave', async (store) => {
      const version = await store.write('ring', bytesOf('one'), undefined);
      const found = await store.read('ring');
      assert.deepEqual(Buffer.from(found!.bytes), bytesOf('one'));
      assert.equal(found!.version, version);
      assert.equal(typeof version, 'string');
    });

    storeTest('each write has its own version, also of the same bytes', async (store) => {
      const seen = new Set<string>();
      let version: string | undefined;
      for (let round = 0; round < 10; round++) {
        version = await store.write('ring', bytesOf('same'), version);
        seen.add(version);
      }
      assert.equal(seen.size, 10);
    });

    storeTest(
      'a write to another version than the expected is a conflict and changes nothing',
      async (store) => {
        const first = await store.write('ring', bytesOf('one'), undefined);
        const second = await store.write('ring', bytesOf('two'), first);
        for (const expected of [undefined, first, '', 'nonsense', `${second} `]) {
          await assert.rejects(store.write('ring', bytesOf('three'), expected), refusal('conflict'));
        }
        await assert.rejects(store.write('absent', bytesOf('three'), second), refusal('conflict'));
        assert.equal(await store.read('absent'), undefined);
        const found = await store.read('ring');
        assert.deepEqual(Buffer.from(found!.bytes), bytesOf('two'));
        assert.equal(found!.version, second);
      },
    );

    storeTest('of 50 writers at once exactly one wins, in every round', async (store) => {
      let version: string | undefined;
      for (let round = 0; round < 4; round++) {
        const results = await Promise.allSettled(
          Array.from({ length: 50 }, (_, writer) =>
            store.write('ring', bytesOf(`${round} ${writer}`), version),
          ),
        );
        const winners = results.flatMap((result, writer) =>
          result.status === 'fulfilled' ? [{ writer, version: result.value }] : [],
        );
        assert.equal(winners.length, 1);
        for (const result of results) {
          if (result.status === 'rejected') refusal('conflict')(result.reason);
        }
        const found = await store.read('ring');
        assert.deepEqual(Buffer.from(found!.bytes), bytesOf(`${round} ${winners[0]!.writer}`));
        assert.equal(found!.version, winners[0]!.version);
        version = found!.version;
      }
    });

    storeTest('documents do not touch each other', async (store) => {
      const ring = await store.write('ring', bytesOf('ring'), undefined);
      await store.write('bootstrap-ca', bytesOf('ca'), undefined);
      await store.write('ring', bytesOf('ring 2'), ring);
      assert.deepEqual(Buffer.from((await store.read('bootstrap-ca'))!.bytes), bytesOf('ca'));
    });

    storeTest('a document that was removed is absent, and no old version brings it back', async (store) => {
      assert.equal(await store.remove('ring'), false);
      const kept = await store.write('kept', bytesOf('kept'), undefined);
      const first = await store.write('ring', bytesOf('one'), undefined);
      const second = await store.write('ring', bytesOf('two'), first);
      assert.equal(await store.remove('ring'), true);
      assert.equal(await store.read('ring'), undefined);
      await assert.rejects(store.write('ring', bytesOf('three'), second), refusal('conflict'));
      assert.equal(await store.read('ring'), undefined);
      assert.equal(await store.remove('ring'), false);
      assert.equal((await store.read('kept'))?.version, kept);
    });

    storeTest('of 20 removers at once one removes, and a writer wins or loses', async (store) => {
      const version = await store.write('ring', bytesOf('one'), undefined);
      const writing = store.write('ring', bytesOf('two'), version).then(
        () => undefined,
        // A store that is watched for losses says that it was lost.
        ({ code }: IssuerError) => assert.ok(code === 'conflict' || code === 'server_error', code),
      );
      const removed = await Promise.all(Array.from({ length: 20 }, () => store.remove('ring')));
      await writing;
      assert.equal(removed.filter(Boolean).length, 1);
      assert.equal(await store.read('ring'), undefined);
    });

    storeTest('only names of a-z0-9- up to 63 characters are taken', async (store) => {
      for (const name of ['', 'A', 'a.b', 'a/b', '..', 'a_b', 'ä', 'a\n', 'a\0', 'x'.repeat(64)]) {
        await assert.rejects(store.read(name), refusal('server_error', /name/), JSON.stringify(name));
        await assert.rejects(store.write(name, bytesOf('x'), undefined), refusal('server_error', /name/));
        await assert.rejects(store.remove(name), refusal('server_error', /name/));
      }
      await store.write('x'.repeat(63), bytesOf('x'), undefined);
    });

    storeTest('a document of 64 KiB is kept, one of more than a MiB refused', async (store) => {
      const large = randomBytes(64 * 1024);
      const version = await store.write('ring', large, undefined);
      await assert.rejects(
        store.write('ring', Buffer.alloc(1024 * 1024 + 1), version),
        refusal('server_error', /bytes/),
      );
      assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), large);
    });

    storeTest('what the caller does to its bytes later changes no document', async (store) => {
      const bytes = bytesOf('one');
      await store.write('ring', bytes, undefined);
      bytes.fill(0);
      const found = await store.read('ring');
      assert.deepEqual(Buffer.from(found!.bytes), bytesOf('one'));
      found!.bytes.fill(0);
      assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), bytesOf('one'));
    });

    storeTest('any bytes come back as they were', async (store) => {
      let version: string | undefined;
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
          version = await store.write('ring', bytes, version);
          const found = await store.read('ring');
          assert.deepEqual(Buffer.from(found!.bytes), Buffer.from(bytes));
        }),
        { numRuns: 40 },
      );
    });

    storeTest('after close nothing is answered; close may come twice', async (store) => {
      await store.write('ring', bytesOf('one'), undefined);
      await store.close();
      await store.close();
      await assert.rejects(store.read('ring'), refusal('temporarily_unavailable'));
      await assert.rejects(
        store.write('ring', bytesOf('two'), undefined),
        refusal('temporarily_unavailable'),
      );
      await assert.rejects(store.remove('ring'), refusal('temporarily_unavailable'));
    });
  });
}
