import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import type { RingKey } from '../../src/core/key-ports.ts';
import {
  activeKey,
  adopt,
  advance,
  EMPTY_RING,
  type KeyRing,
  MAX_KEYS,
  type RingSettings,
  revoke,
  rotate,
  secondsUntilReady,
} from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { refusal } from '../conformance/key-store.ts';
import { fakeKey } from '../fakes/keys.ts';

const DAY = 86_400;
const START = 1_800_000_000;
const SETTINGS: RingSettings = {
  algorithms: ['RS256'],
  rotateEverySeconds: 7 * DAY,
  publishAtLeastSeconds: DAY,
  longestTtlSeconds: 600,
  keepSeconds: 1200,
};

/** Advances with as many new keys as it takes. */
function settle(ring: KeyRing, now: number, settings = SETTINGS): KeyRing {
  return advance(ring, now, settings, advance(ring, now, settings).missing.map(fakeKey)).ring;
}

function keyOf(ring: KeyRing, state: RingKey['state'], algorithm: Algorithm = 'RS256'): RingKey {
  const found = ring.keys.filter((key) => key.state === state && key.algorithm === algorithm);
  assert.equal(found.length, 1, `${found.length} ${state} keys`);
  return found[0]!;
}

const fresh = () => settle(EMPTY_RING, START);
const statesOf = (ring: KeyRing) => ring.keys.map(({ state }) => state);

suite('the key ring', () => {
  test('says which keys it needs, and changes nothing for lack of them', () => {
    const settings: RingSettings = { ...SETTINGS, algorithms: ['RS256', 'ES256'] };
    const { missing, isChanged, ring } = advance(EMPTY_RING, START, settings);
    assert.deepEqual([...missing].sort(), ['ES256', 'ES256', 'RS256', 'RS256']);
    assert.equal(isChanged, false);
    assert.equal(ring, EMPTY_RING);
  });

  test('a fresh ring has an active and a next key', () => {
    const ring = fresh();
    assert.deepEqual(statesOf(ring), ['active', 'next']);
    assert.equal(activeKey(ring, 'RS256')?.ttlLimitSeconds, 600);
    assert.equal(activeKey(ring, 'ES256'), undefined);
    assert.equal(ring.changedAt, START);
  });

  test('rotates when it is due and not a second earlier; the retired key stays for its last token', () => {
    const ring = fresh();
    const active = keyOf(ring, 'active');
    const next = keyOf(ring, 'next');
    assert.equal(settle(ring, START + 7 * DAY - 1), ring);
    const rotated = settle(ring, START + 7 * DAY);
    assert.equal(keyOf(rotated, 'active').keyId, next.keyId);
    assert.equal(keyOf(rotated, 'retired').keyId, active.keyId);
    assert.equal(keyOf(rotated, 'next').publishedAt, START + 7 * DAY);
    const removeAt = START + 7 * DAY + 600 + 1200;
    assert.equal(settle(rotated, removeAt - 1), rotated);
    assert.deepEqual(statesOf(settle(rotated, removeAt)), ['active', 'next']);
  });

  test('a next key that was published late does not sign early', () => {
    const adopted = adopt(fresh(), fakeKey('RS256'), START + 7 * DAY - 10);
    const late = settle(adopted, START + 7 * DAY);
    assert.equal(keyOf(late, 'next').publishedAt, START + 7 * DAY - 10);
    assert.deepEqual(statesOf(settle(late, START + 8 * DAY - 11)), ['active', 'next']);
    assert.equal(keyOf(settle(late, START + 8 * DAY - 10), 'active').publishedAt, START + 7 * DAY - 10);
  });

  test('an algorithm that comes later is published before it signs', () => {
    const settings: RingSettings = { ...SETTINGS, algorithms: ['RS256', 'ES256'] };
    const ring = settle(fresh(), START + 10, settings);
    assert.equal(activeKey(ring, 'ES256'), undefined);
    assert.equal(secondsUntilReady(ring, 'ES256', START + 20, settings), DAY - 10);
    assert.equal(activeKey(settle(ring, START + 9 + DAY, settings), 'ES256'), undefined);
    const active = activeKey(settle(ring, START + 10 + DAY, settings), 'ES256');
    assert.equal(active?.keyId, keyOf(ring, 'next', 'ES256').keyId);
  });

  test('a longer life of tokens raises the limit of the active key, a shorter one leaves it', () => {
    const ring = settle(fresh(), START + 1, { ...SETTINGS, longestTtlSeconds: 3600 });
    assert.equal(keyOf(ring, 'active').ttlLimitSeconds, 3600);
    assert.equal(keyOf(ring, 'next').ttlLimitSeconds, 0);
    assert.equal(settle(ring, START + 2), ring);
    const rotated = settle(ring, START + 7 * DAY);
    assert.equal(keyOf(rotated, 'retired').removeAt, START + 7 * DAY + 3600 + 1200);
  });

  test('an algorithm that is taken away leaves when it would have rotated, its tokens verify to their end', () => {
    const both: RingSettings = { ...SETTINGS, algorithms: ['RS256', 'ES256'] };
    const ring = settle(EMPTY_RING, START, both);
    assert.equal(
      settle(ring, START + 7 * DAY - 1),
      ring,
      'it is as it was for as long as a rule may be back',
    );
    assert.equal(activeKey(settle(ring, START + DAY, both), 'ES256'), keyOf(ring, 'active', 'ES256'));
    const left = settle(ring, START + 7 * DAY);
    assert.equal(keyOf(left, 'retired', 'ES256').keyId, keyOf(ring, 'active', 'ES256').keyId);
    assert.equal(left.keys.filter(({ algorithm }) => algorithm === 'ES256').length, 1);
    const gone = settle(left, START + 7 * DAY + 600 + 1200);
    assert.ok(gone.keys.every(({ algorithm }) => algorithm === 'RS256'));
    const back = settle(gone, START + 8 * DAY, both);
    assert.equal(activeKey(back, 'ES256'), undefined);
    assert.equal(keyOf(back, 'next', 'ES256').publishedAt, START + 8 * DAY);
  });

  test('an imported key may be published before a rule asks for its algorithm, for a rotation at most', () => {
    const both: RingSettings = { ...SETTINGS, algorithms: ['RS256', 'ES256'] };
    const imported = settle(adopt(fresh(), fakeKey('ES256'), START + 10), START + 10);
    const { keyId } = keyOf(imported, 'next', 'ES256');
    assert.equal(activeKey(settle(imported, START + 2 * DAY, both), 'ES256')?.keyId, keyId);
    assert.equal(keyOf(settle(imported, START + 7 * DAY + 9), 'next', 'ES256').keyId, keyId);
    const late = settle(imported, START + 7 * DAY + 10);
    assert.ok(late.keys.every(({ algorithm }) => algorithm === 'RS256'));
  });

  test('five algorithms have just room for an active and a next key each', () => {
    const settings: RingSettings = { ...SETTINGS, algorithms: ALGORITHMS };
    const ring = settle(EMPTY_RING, START, settings);
    assert.equal(ring.keys.length, MAX_KEYS);
    const rotated = settle(ring, START + 7 * DAY, settings);
    assert.equal(rotated.keys.length, MAX_KEYS);
    assert.equal(rotated.keys.filter(({ state }) => state === 'next').length, 0);
    const later = settle(rotated, START + 7 * DAY + 1800, settings);
    assert.deepEqual(later.keys.filter(({ state }) => state === 'next').length, 5);
  });
});

suite('commands to the key ring', () => {
  test('rotate takes the published next key, and one that was published too short only by force', () => {
    const ring = fresh();
    const next = keyOf(ring, 'next');
    assert.equal(secondsUntilReady(ring, 'RS256', START + 100, SETTINGS), DAY - 100);
    const early = () => rotate(ring, 'RS256', false, START + 100, SETTINGS);
    assert.throws(early, refusal('conflict', /86300 s more/));
    assert.throws(early, (error: IssuerError) => error.shown?.waitSeconds === DAY - 100);
    for (const rotated of [
      rotate(ring, 'RS256', true, START + 100, SETTINGS),
      rotate(ring, 'RS256', false, START + DAY, SETTINGS),
    ])
      assert.equal(keyOf(rotated, 'active').keyId, next.keyId);
    assert.throws(() => rotate(ring, 'ES256', true, START, SETTINGS), refusal('conflict', /no rule/));
    assert.equal(secondsUntilReady(ring, 'ES256', START, SETTINGS), undefined);
  });

  test('revoke takes any key out, and lets next sign in place of the active one', () => {
    const ring = settle(fresh(), START + 7 * DAY);
    const now = START + 7 * DAY + 1;
    for (const { keyId, state } of ring.keys) {
      const left = revoke(ring, keyId, now, SETTINGS);
      assert.ok(left.keys.every((key) => key.keyId !== keyId));
      const signs = state === 'active' ? keyOf(ring, 'next') : keyOf(ring, 'active');
      assert.equal(keyOf(left, 'active').keyId, signs.keyId);
    }
    assert.throws(() => revoke(ring, 'nobody', now, SETTINGS), refusal('not_found'));
  });

  test('revoke in a full ring takes an active key that has no next: one is published then, and does not sign yet', () => {
    const settings: RingSettings = { ...SETTINGS, algorithms: ALGORITHMS };
    const now = START + 7 * DAY + 1;
    const full = settle(settle(EMPTY_RING, START, settings), now - 1, settings);
    assert.equal(full.keys.filter(({ state }) => state === 'next').length, 0);
    const { keyId } = keyOf(full, 'active', 'ES384');
    assert.throws(() => rotate(full, 'ES384', true, now, settings), refusal('conflict', /no next .* room/));
    const left = settle(revoke(full, keyId, now, settings), now, settings);
    assert.equal(left.keys.length, MAX_KEYS);
    assert.ok(left.keys.every((key) => key.keyId !== keyId));
    assert.equal(activeKey(left, 'ES384'), undefined);
    assert.equal(keyOf(left, 'next', 'ES384').publishedAt, now);
  });

  test('revoke and rotate of an algorithm that no rule asks for make it no new key', () => {
    const both: RingSettings = { ...SETTINGS, algorithms: ['RS256', 'ES256'] };
    const ring = settle(EMPTY_RING, START, both);
    const revokeAll = (ids: readonly string[]) =>
      ids.reduce((left, keyId) => settle(revoke(left, keyId, START + 1, SETTINGS), START + 1), ring);
    const [active, next] = [keyOf(ring, 'active', 'ES256').keyId, keyOf(ring, 'next', 'ES256').keyId];
    assert.equal(keyOf(revokeAll([active]), 'next', 'ES256').keyId, next);
    assert.deepEqual(statesOf(revokeAll([active, next])), ['active', 'next']);
    const rotated = settle(rotate(ring, 'ES256', true, START + 1, SETTINGS), START + 1);
    assert.throws(
      () => rotate(rotated, 'ES256', true, START + 2, SETTINGS),
      refusal('conflict', /no rule asks for ES256/),
    );
  });

  test('adopt puts a key in place of the one that never signed', () => {
    const ring = fresh();
    const key = fakeKey('RS256');
    const adopted = adopt(ring, key, START + 5);
    assert.equal(keyOf(adopted, 'next').keyId, key.keyId);
    assert.equal(keyOf(adopted, 'next').publishedAt, START + 5);
    assert.equal(keyOf(adopted, 'active').keyId, keyOf(ring, 'active').keyId);
    assert.throws(() => adopt(adopted, key, START + 6), refusal('conflict', /already/));
    const full = settle(EMPTY_RING, START, { ...SETTINGS, algorithms: ALGORITHMS });
    assert.equal(adopt(full, fakeKey('ES256'), START).keys.length, MAX_KEYS);
    const crowded = settle(full, START + 7 * DAY, { ...SETTINGS, algorithms: ALGORITHMS });
    assert.throws(() => adopt(crowded, fakeKey('ES256'), START + 7 * DAY), refusal('conflict', /full/));
  });
});

suite('the key ring at any time', () => {
  const step = fc.record({
    seconds: fc.oneof(fc.nat({ max: 600 }), fc.nat({ max: 10 * DAY }), fc.integer({ min: -DAY, max: 0 })),
    command: fc.constantFrom('none', 'none', 'rotate', 'force', 'revoke', 'adopt'),
    pick: fc.nat({ max: 100 }),
    algorithms: fc.subarray([...ALGORITHMS], { minLength: 1 }),
    longestTtlSeconds: fc.integer({ min: 60, max: DAY }),
  });
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

  function obey(ring: KeyRing, { command, pick }: Step, now: number, settings: RingSettings): KeyRing {
    const algorithm = ALGORITHMS[pick % ALGORITHMS.length]!;
    try {
      if (command === 'adopt') return adopt(ring, fakeKey(algorithm), now);
      if (command === 'revoke')
        return revoke(ring, ring.keys[pick % ring.keys.length]?.keyId ?? '', now, settings);
      if (command !== 'none') return rotate(ring, algorithm, command === 'force', now, settings);
    } catch (error) {
      assert.ok(error instanceof IssuerError && ['conflict', 'not_found'].includes(error.code));
    }
    return ring;
  }

  function assertSound(
    before: KeyRing,
    after: KeyRing,
    { command }: Step,
    now: number,
    settings: RingSettings,
  ) {
    assert.ok(after.keys.length <= MAX_KEYS);
    assert.equal(new Set(after.keys.map(({ keyId }) => keyId)).size, after.keys.length);
    for (const algorithm of ALGORITHMS) {
      const inState = (ring: KeyRing, state: string) =>
        ring.keys.filter((key) => key.algorithm === algorithm && key.state === state).length;
      assert.ok(inState(after, 'next') <= 1);
      assert.ok(inState(after, 'active') <= 1);
      assertStillSigns(before, after, algorithm, command, now, settings);
    }
    for (const key of after.keys) {
      const old = before.keys.find(({ keyId }) => keyId === key.keyId);
      if (old?.state === 'next' && key.state === 'active' && !['force', 'revoke'].includes(command))
        assert.ok(now - key.publishedAt >= settings.publishAtLeastSeconds);
      if (key.state === 'retired') assert.ok(key.removeAt! > now);
    }
  }

  /** Nothing takes the place of a key that nobody needs and whose time is up, and of one revoked without a next. */
  function assertStillSigns(
    before: KeyRing,
    after: KeyRing,
    algorithm: Algorithm,
    command: Step['command'],
    now: number,
    { algorithms, rotateEverySeconds }: RingSettings,
  ) {
    const active = activeKey(before, algorithm);
    if (active === undefined || activeKey(after, algorithm) !== undefined) return;
    const isUsed = algorithms.includes(algorithm);
    const left = after.keys.find(({ keyId }) => keyId === active.keyId);
    if (left !== undefined) {
      assert.equal(left.state, 'retired');
      assert.ok(!isUsed && now - active.activatedAt! >= rotateEverySeconds);
    } else {
      const hadNext = before.keys.some((key) => key.algorithm === algorithm && key.state === 'next');
      assert.ok(command === 'revoke' && !(isUsed && hadNext));
    }
  }

  test('keeps to its rules', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40 }), (steps) => {
        let ring = EMPTY_RING;
        let now = START;
        for (const current of steps) {
          const { algorithms, longestTtlSeconds } = current;
          const settings = { ...SETTINGS, algorithms, longestTtlSeconds };
          now += current.seconds;
          for (const key of ring.keys) Object.freeze(key);
          Object.freeze(ring.keys);
          const before = ring;
          ring = settle(obey(Object.freeze(ring), current, now, settings), now, settings);
          assertSound(before, ring, current, now, settings);
          assert.equal(settle(ring, now, settings), ring, 'a second call changes something');
        }
        const later = now + 20 * DAY;
        for (const at of [later, later + 2 * DAY]) ring = settle(ring, at);
        assert.deepEqual(
          [...new Set(ring.keys.map(({ algorithm }) => algorithm))],
          ['RS256'],
          'unused keys stay',
        );
      }),
      { numRuns: 500 },
    );
  });
});
