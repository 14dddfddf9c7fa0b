/**
 * What every RecordStore (core/records.ts) must do, whatever is behind it. A store's own test calls
 * `recordStoreSuite` with a function that opens an empty one.
 */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import type { RecordFields, RecordKey, RecordStore } from '../../src/core/records.ts';
import { refusal } from './key-store.ts';
import { RecordModel } from './record-model.ts';

const NOW = 1_800_000_000;
const PLACE = { realm: 'acme', model: 'RefreshToken' };
const keyOf = (id: string, place: Partial<RecordKey> = {}): RecordKey => ({ ...PLACE, id, ...place });
const at100 = <T>(call: (index: number) => Promise<T>) =>
  Promise.all(Array.from({ length: 100 }, (_, i) => call(i)));
const isTrue = (value: boolean) => value;

export function recordStoreSuite(name: string, open: (t: TestContext) => Promise<RecordStore>): void {
  const storeTest = (title: string, run: (store: RecordStore) => Promise<void>) =>
    test(title, async (t) => {
      const store = await open(t);
      t.after(() => store.close());
      await run(store);
    });

  suite(`record store: ${name}`, () => {
    storeTest('what was inserted is found, with everything, and only once', async (store) => {
      assert.equal(await store.find(keyOf('a'), NOW), undefined);
      const fields = {
        payload: { a: [1, 'ä\0\ud800', null], b: {} },
        expiresAt: NOW + 1,
        family: 'f',
        uid: 'u',
        userCode: 'c',
      };
      assert.equal(await store.insert(keyOf('a'), fields, NOW), true);
      assert.deepEqual(await store.find(keyOf('a'), NOW), { id: 'a', ...fields });
      assert.equal(await store.insert(keyOf('a'), { payload: {} }, NOW), false);
      assert.deepEqual(await store.find(keyOf('a'), NOW), { id: 'a', ...fields });
    });

    storeTest('a record that has expired is not found, and makes way for a new one', async (store) => {
      const fields = { payload: { n: 1 }, expiresAt: NOW + 10, uid: 'u', userCode: 'c' };
      await store.insert(keyOf('a'), fields, NOW);
      assert.equal(await store.consume(keyOf('a'), NOW), true);
      const at = NOW + 10;
      assert.ok(await store.find(keyOf('a'), at - 1));
      assert.ok(await store.findBy(PLACE, 'uid', 'u', at - 1));
      assert.equal(await store.find(keyOf('a'), at), undefined);
      assert.equal(await store.findBy(PLACE, 'uid', 'u', at), undefined);
      assert.equal(await store.findBy(PLACE, 'userCode', 'c', at), undefined);
      assert.deepEqual(await store.list(PLACE, { limit: 9 }, at), []);
      assert.equal(await store.insert(keyOf('a'), { payload: { n: 2 } }, at - 1), false);
      assert.equal(await store.insert(keyOf('a'), { payload: { n: 2 } }, at), true);
      assert.deepEqual(await store.find(keyOf('a'), at), { id: 'a', payload: { n: 2 } });
      assert.equal(await store.consume(keyOf('a'), at), true);
    });

    storeTest('upsert writes anew or over the old one, which stays consumed', async (store) => {
      await store.upsert(keyOf('a'), { payload: { n: 1 }, family: 'f', uid: 'u' });
      assert.equal(await store.consume(keyOf('a'), NOW), true);
      await store.upsert(keyOf('a'), { payload: { n: 2 }, expiresAt: NOW + 5, userCode: 'c' });
      const found = { id: 'a', payload: { n: 2 }, expiresAt: NOW + 5, userCode: 'c', consumedAt: NOW };
      assert.deepEqual(await store.find(keyOf('a'), NOW), found);
      assert.equal(await store.findBy(PLACE, 'uid', 'u', NOW), undefined);
      assert.deepEqual(await store.findBy(PLACE, 'userCode', 'c', NOW), found);
      assert.equal(await store.removeFamily('acme', 'f'), 0);
    });

    storeTest('a second name belongs to one record of its model, until that expires', async (store) => {
      for (const name of ['uid', 'userCode'] as const) {
        await store.insert(keyOf(`${name} 1`), { payload: {}, [name]: 'x', expiresAt: NOW + 5 }, NOW);
        const rival = keyOf(`${name} 2`);
        assert.equal(await store.insert(rival, { payload: {}, [name]: 'x' }, NOW), false);
        await assert.rejects(store.upsert(rival, { payload: {}, [name]: 'x' }), refusal('conflict'));
        assert.equal(await store.find(rival, NOW), undefined);
        assert.equal(
          await store.insert(keyOf('o', { model: `of ${name}` }), { payload: {}, [name]: 'x' }, NOW),
          true,
        );
        assert.equal(await store.insert(rival, { payload: {}, [name]: 'x' }, NOW + 5), true);
        assert.equal((await store.findBy(PLACE, name, 'x', NOW + 5))?.id, `${name} 2`);
      }
    });

    storeTest('realms and models are kept apart', async (store) => {
      const places = [
        PLACE,
        { ...PLACE, realm: 'acm' },
        { ...PLACE, model: 'Session' },
        { realm: 'ACME', model: 'RefreshToken' },
      ];
      for (const [n, place] of places.entries())
        assert.equal(
          await store.insert({ ...place, id: 'a' }, { payload: { n }, family: 'f', uid: 'u' }, NOW),
          true,
        );
      for (const [n, place] of places.entries()) {
        assert.deepEqual((await store.find({ ...place, id: 'a' }, NOW))?.payload, { n });
        assert.deepEqual((await store.findBy(place, 'uid', 'u', NOW))?.payload, { n });
        assert.deepEqual(
          (await store.list(place, { limit: 9 }, NOW)).map(({ payload }) => payload.n),
          [n],
        );
      }
      assert.equal(await store.consume(keyOf('a'), NOW), true);
      assert.equal(await store.consume(keyOf('a', { realm: 'acm' }), NOW), true);
      assert.equal(await store.removeFamily('acm', 'f'), 1);
      assert.equal(await store.removeRealm('ACME'), 1);
      assert.equal(await store.remove(keyOf('a')), true);
      assert.equal(await store.remove(keyOf('a')), false);
      assert.ok(await store.find(keyOf('a', { model: 'Session' }), NOW));
    });

    storeTest('of 100 who consume one record at once, one does', async (store) => {
      await store.insert(keyOf('a'), { payload: {}, expiresAt: NOW + 5 }, NOW);
      assert.equal(await store.consume(keyOf('a'), NOW + 5), false);
      assert.equal((await at100(() => store.consume(keyOf('a'), NOW))).filter(isTrue).length, 1);
      assert.equal(await store.consume(keyOf('a'), NOW + 1), false);
      assert.equal((await store.find(keyOf('a'), NOW))?.consumedAt, NOW);
      assert.equal(await store.consume(keyOf('b'), NOW), false);
    });

    storeTest(
      'of 100 who redeem one record at once, one does, and only its own are written',
      async (store) => {
        const made = (n: number) =>
          ['AccessToken', 'RefreshToken'].map((model) => ({
            key: keyOf(`made ${n}`, { model }),
            fields: {
              payload: { n, text: 'ä\0\ud800"' },
              expiresAt: NOW + 9,
              family: 'f',
              uid: `u${n}`,
              userCode: 'c',
            },
          }));
        await store.insert(keyOf('a'), { payload: {}, expiresAt: NOW + 5, family: 'f' }, NOW);
        assert.equal(await store.redeem(keyOf('a'), made(1), NOW + 5), false, 'it has expired');
        assert.equal(await store.redeem(keyOf('b'), made(1), NOW), false, 'there is none');
        const won = await at100((n) => store.redeem(keyOf('a'), made(n), NOW));
        const [one, ...others] = won.flatMap((isOne, n) => (isOne ? [n] : []));
        assert.deepEqual(others, []);
        for (const { key, fields } of made(one ?? -1))
          assert.deepEqual(await store.find(key, NOW), { id: key.id, ...fields });
        assert.equal((await store.list(PLACE, { limit: 999 }, NOW)).length, 2);
        assert.equal((await store.find(keyOf('a'), NOW))?.consumedAt, NOW);
        assert.equal(await store.consume(keyOf('a'), NOW), false);
        assert.equal(await store.removeFamily('acme', 'f'), 3);
      },
    );

    storeTest('a family that ends while it is redeemed is gone wholly', async (store) => {
      for (let round = 0; round < 20; round++) {
        const family = `f${round}`;
        await store.insert(keyOf(family), { payload: {}, family }, NOW);
        const made = [{ key: keyOf(`made ${round}`), fields: { payload: {}, family } }];
        await Promise.all([store.redeem(keyOf(family), made, NOW), store.removeFamily('acme', family)]);
        const left = await store.find(keyOf(`made ${round}`), NOW);
        assert.equal(left, undefined, `round ${round}`);
      }
    });

    storeTest('of 100 who insert one record at once, one does; also over an expired one', async (store) => {
      for (const now of [NOW, NOW + 5]) {
        const results = await at100((n) =>
          store.insert(keyOf('a'), { payload: { n }, expiresAt: now + 5, uid: 'u' }, now),
        );
        assert.equal(results.filter(isTrue).length, 1);
        assert.deepEqual((await store.find(keyOf('a'), now))?.payload, { n: results.indexOf(true) });
      }
      const named = await at100((n) => store.insert(keyOf(`n${n}`), { payload: {}, userCode: 'c' }, NOW));
      assert.equal(named.filter(isTrue).length, 1);
    });

    storeTest('replace is a compare-and-swap of the payload alone', async (store) => {
      const fields = {
        payload: { n: 0, deep: { a: 1, b: [2, { c: 3, d: 4 }] } },
        expiresAt: NOW + 5,
        family: 'f',
        uid: 'u',
      };
      await store.insert(keyOf('a'), fields, NOW);
      await store.consume(keyOf('a'), NOW);
      assert.equal(await store.replace(keyOf('a'), { n: 0 }, { n: 1 }), false);
      assert.equal(await store.replace(keyOf('b'), fields.payload, { n: 1 }), false);
      const same = { deep: { b: [2, { d: 4, c: 3 }], a: 1 }, n: 0, not: undefined };
      assert.equal(await store.replace(keyOf('a'), same, { n: 1 }), true);
      assert.deepEqual(await store.find(keyOf('a'), NOW), {
        id: 'a',
        ...fields,
        payload: { n: 1 },
        consumedAt: NOW,
      });
      const results = await at100((n) => store.replace(keyOf('a'), { n: 1 }, { n: n + 2 }));
      assert.equal(results.filter(isTrue).length, 1);
      assert.deepEqual((await store.find(keyOf('a'), NOW))?.payload, { n: results.indexOf(true) + 2 });
    });

    storeTest('replace gives a record another second name, which must be free', async (store) => {
      await store.insert(keyOf('a'), { payload: { n: 0 }, uid: 'u' }, NOW);
      await store.insert(keyOf('b'), { payload: {}, uid: 'taken' }, NOW);
      const renamed = store.replace(keyOf('a'), { n: 0 }, { n: 1 }, 'taken');
      await assert.rejects(renamed, refusal('conflict'));
      assert.equal(await store.replace(keyOf('a'), { n: 9 }, { n: 1 }, 'v'), false);
      assert.equal((await store.findBy(PLACE, 'uid', 'u', NOW))?.payload.n, 0);
      assert.equal(await store.replace(keyOf('a'), { n: 0 }, { n: 1 }, 'v'), true);
      assert.equal(await store.findBy(PLACE, 'uid', 'u', NOW), undefined);
      assert.equal((await store.findBy(PLACE, 'uid', 'v', NOW))?.payload.n, 1);
      assert.equal(await store.remove(keyOf('a')), true);
      assert.equal(await store.replace(keyOf('a'), { n: 1 }, { n: 2 }, 'w'), false, 'it stays gone');
    });

    storeTest('a counter counts every call of its window, and begins anew after it', async (store) => {
      const key = keyOf('a', { model: 'Guesses' });
      const counts = await at100(() => store.count(key, 10, NOW));
      assert.deepEqual(
        counts.sort((a, b) => a - b),
        Array.from({ length: 100 }, (_, n) => n + 1),
      );
      assert.equal(await store.count(key, 10, NOW + 9), 101);
      assert.deepEqual((await store.find(key, NOW + 9))?.payload, { count: 101 });
      assert.equal(await store.count(key, 20, NOW + 10), 1);
      assert.equal(await store.count(key, 20, NOW + 29), 2);
      assert.equal(await store.count(keyOf('b', { model: 'Guesses' }), 10, NOW), 1);
      assert.equal(await store.remove(key), true);
      assert.equal(await store.count(key, 10, NOW + 29), 1);
    });

    storeTest('a family ends in every model, consumed or expired, and nothing else does', async (store) => {
      for (const model of ['AccessToken', 'RefreshToken', 'Grant'])
        for (const id of ['a', 'b'])
          await store.insert(keyOf(id, { model }), { payload: {}, family: id, expiresAt: NOW + 5 }, NOW);
      await store.consume(keyOf('a'), NOW);
      await store.insert(keyOf('a', { realm: 'other' }), { payload: {}, family: 'a' }, NOW);
      await store.insert(keyOf('c'), { payload: {} }, NOW);
      assert.equal(await store.removeFamily('acme', 'a'), 3);
      assert.equal(await store.removeFamily('acme', 'a'), 0);
      assert.equal(await store.removeFamily('acme', 'b'), 3);
      assert.ok(await store.find(keyOf('a', { realm: 'other' }), NOW));
      assert.equal(await store.removeRealm('acme'), 1);
    });

    storeTest('a list comes in pages, in the order of the bytes', async (store) => {
      const ids = ['B', 'a', 'a b', 'b', 'z', 'ä', '\u{ffff}', '\u{10000}'];
      for (const id of ids.toReversed()) await store.upsert(keyOf(id), { payload: { id } });
      await store.upsert(keyOf('a!'), { payload: {}, expiresAt: NOW });
      const seen: string[] = [];
      for (let after: string | undefined; ; ) {
        const page = await store.list(PLACE, { after, limit: 3 }, NOW);
        seen.push(...page.map(({ id }) => id));
        if (page.length < 3) break;
        after = page.at(-1)!.id;
      }
      assert.deepEqual(seen, ids);
      assert.deepEqual(await store.list(PLACE, { after: '\u{10000}', limit: 3 }, NOW), []);
    });

    storeTest('sweep removes what has expired, the oldest first, no more than it is told', async (store) => {
      for (let n = 0; n < 10; n++) await store.upsert(keyOf(`${9 - n}`), { payload: {}, expiresAt: NOW + n });
      await store.upsert(keyOf('stays'), { payload: {} });
      assert.equal(await store.sweep(NOW + 5, 2), 2);
      assert.deepEqual(
        (await store.list(PLACE, { limit: 99 }, 0)).map(({ id }) => id),
        [...'01234567', 'stays'],
      );
      assert.equal(await store.sweep(NOW + 5, 99), 4);
      assert.equal(await store.sweep(NOW + 5, 99), 0);
      assert.equal((await store.list(PLACE, { limit: 99 }, 0)).length, 5);
    });

    storeTest('names that a database would cut or change are refused', async (store) => {
      for (const id of ['', 'a\0b', '\ud800', 'x'.repeat(513), 'ä'.repeat(257)]) {
        await assert.rejects(store.find(keyOf(id), NOW), refusal('invalid_request'));
        await assert.rejects(store.find(keyOf('a', { realm: id }), NOW), refusal('invalid_request'));
        await assert.rejects(
          store.insert(keyOf('a'), { payload: {}, uid: id }, NOW),
          refusal('invalid_request'),
        );
        await assert.rejects(store.findBy(PLACE, 'uid', id, NOW), refusal('invalid_request'));
        await assert.rejects(store.removeFamily('acme', id), refusal('invalid_request'));
        await assert.rejects(store.list(PLACE, { after: id, limit: 9 }, NOW), refusal('invalid_request'));
      }
      const long = keyOf('x'.repeat(512), { realm: 'y'.repeat(512), model: 'z'.repeat(512) });
      const names = { family: 'f'.repeat(512), uid: 'u'.repeat(512), userCode: 'c'.repeat(512) };
      assert.equal(await store.insert(long, { payload: {}, ...names }, NOW), true);
      assert.deepEqual(await store.find(long, NOW), { id: long.id, payload: {}, ...names });
    });

    storeTest('a payload of 256 KiB is kept, with members of any name', async (store) => {
      const payload = { text: 'ä"\\'.repeat(65_536), ['__proto__']: { 7: 1, a: 2 }, constructor: null };
      await store.upsert(keyOf('a'), { payload });
      assert.deepEqual((await store.find(keyOf('a'), NOW))?.payload, payload);
    });

    storeTest('after close nothing is answered; close may come twice', async (store) => {
      await store.upsert(keyOf('a'), { payload: {} });
      await store.close();
      await store.close();
      await assert.rejects(store.find(keyOf('a'), NOW), refusal('temporarily_unavailable'));
      await assert.rejects(store.consume(keyOf('a'), NOW), refusal('temporarily_unavailable'));
    });

    storeTest('does what the model does, whatever is done in whatever order', async (store) => {
      let round = 0;
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
          await playAlong(store, new RecordModel(), `${++round} `, steps);
        }),
        { numRuns: 100 },
      );
    });
  });
}

// ── the model test ──────────────────────────────────────────────────────────

const few = (...values: string[]) => fc.constantFrom(...values);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const time = fc.integer({ min: 0, max: 8 }).map((n) => NOW + n);
const realm = few('one', 'two');
const model = few('A', 'B');
const key = fc.record({ realm, model, id: few('a', 'b', 'c') });
const counter = fc.record({ realm, model: fc.constant('Counter'), id: few('a', 'b') });
const payload = fc.constantFrom<RecordFields['payload']>({}, { n: 1 }, { n: 2, m: [{}] });
const fields = fc.record(
  {
    payload,
    expiresAt: maybe(time),
    family: maybe(few('f', 'g')),
    uid: maybe(few('u', 'v')),
    userCode: maybe(few('c', 'd')),
  },
  { requiredKeys: ['payload'] },
);

type Play = (store: RecordStore, model: RecordModel, prefix: string) => Promise<readonly [unknown, unknown]>;
const inRealm = <K extends { readonly realm: string }>(prefix: string, key: K): K => ({
  ...key,
  realm: prefix + key.realm,
});
function undefinedOnConflict(error: unknown): undefined {
  if (!(error instanceof IssuerError && error.code === 'conflict')) throw error;
}
const orConflict = (call: Promise<void>): Promise<boolean> =>
  call.then(
    () => true,
    (error) => undefinedOnConflict(error) ?? false,
  );

const step: fc.Arbitrary<Play> = fc.oneof(
  fc.tuple(key, fields, time).map(
    ([k, f, now]): Play =>
      async (s, m, p) => [await s.insert(inRealm(p, k), f, now), m.insert(inRealm(p, k), f, now)],
  ),
  fc.tuple(key, fields).map(
    ([k, f]): Play =>
      async (s, m, p) => [await orConflict(s.upsert(inRealm(p, k), f)), m.upsert(inRealm(p, k), f)],
  ),
  fc.tuple(key, payload, payload, maybe(few('u', 'v'))).map(
    ([k, a, b, uid]): Play =>
      async (s, m, p) => [
        await s.replace(inRealm(p, k), a, b, uid).catch(undefinedOnConflict),
        m.replace(inRealm(p, k), a, b, uid),
      ],
  ),
  fc.tuple(key, time).map(
    ([k, now]): Play =>
      async (s, m, p) => [await s.find(inRealm(p, k), now), m.find(inRealm(p, k), now)],
  ),
  fc.tuple(key, fc.constantFrom('uid' as const, 'userCode' as const), few('u', 'v', 'c', 'd'), time).map(
    ([k, name, value, now]): Play =>
      async (s, m, p) => [
        await s.findBy(inRealm(p, k), name, value, now),
        m.findBy(inRealm(p, k), name, value, now),
      ],
  ),
  fc.tuple(key, time).map(
    ([k, now]): Play =>
      async (s, m, p) => [await s.consume(inRealm(p, k), now), m.consume(inRealm(p, k), now)],
  ),
  fc.tuple(key, payload, maybe(few('f', 'g')), time).map(
    ([k, payload, family, now]): Play =>
      async (s, m, p) => {
        const made = [{ key: { ...inRealm(p, k), id: 'made' }, fields: { payload, family } }];
        await s.remove(made[0]!.key);
        m.remove(made[0]!.key);
        return [await s.redeem(inRealm(p, k), made, now), m.redeem(inRealm(p, k), made, now)];
      },
  ),
  key.map(
    (k): Play =>
      async (s, m, p) => [await s.remove(inRealm(p, k)), m.remove(inRealm(p, k))],
  ),
  fc.tuple(realm, few('f', 'g')).map(
    ([r, f]): Play =>
      async (s, m, p) => [await s.removeFamily(p + r, f), m.removeFamily(p + r, f)],
  ),
  realm.map(
    (r): Play =>
      async (s, m, p) => [await s.removeRealm(p + r), m.removeRealm(p + r)],
  ),
  fc.tuple(key, maybe(few('a', 'b')), fc.integer({ min: 1, max: 3 }), time).map(
    ([k, after, limit, now]): Play =>
      async (s, m, p) => [
        await s.list(inRealm(p, k), { after, limit }, now),
        m.list(inRealm(p, k), after, limit, now),
      ],
  ),
  fc.tuple(counter, time).map(
    ([k, now]): Play =>
      async (s, m, p) => [await s.count(inRealm(p, k), 3, now), m.count(inRealm(p, k), 3, now)],
  ),
);

/** Each round has realms of its own, since one store serves them all. Sweeps are tried elsewhere: they know no realm. */
async function playAlong(
  store: RecordStore,
  model: RecordModel,
  prefix: string,
  steps: readonly Play[],
): Promise<void> {
  for (const play of steps) {
    const [actual, expected] = await play(store, model, prefix);
    assert.deepEqual(actual, expected);
  }
  for (const r of ['one', 'two'])
    for (const m of ['A', 'B', 'Counter'])
      assert.deepEqual(
        await store.list({ realm: prefix + r, model: m }, { limit: 99 }, 0),
        model.list({ realm: prefix + r, model: m }, undefined, 99, 0),
      );
}
