/** What must hold of each ring that is stored, seen from outside: from one commit to the next. */
import assert from 'node:assert/strict';
import type { RingKey } from '../../src/core/key-ports.ts';
import { activeKey, type KeyRing, MAX_KEYS, type RingSettings } from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { decodeFakeRing } from './keys.ts';

type Counts = { commits: number; promotions: number; removals: number; ended: number };
type Moment = { readonly time: number; readonly moment: number };

export function createRingRules(settings: RingSettings, counts: Counts, now: () => Moment) {
  const committedAt = new Map<string, Moment>();
  const mayHurry = new Set<string>(); // first of a fresh ring, forced, or successor of a revoked key
  const revokeAsked = new Set<string>();
  const adoptAsked = new Set<Algorithm>();
  const revoked = new Set<string>();
  /** Some process has no rule for it, or had none. */
  const takenAway = new Set(ALGORITHMS.filter((algorithm) => !settings.algorithms.includes(algorithm)));
  let committed: KeyRing = { keys: [], changedAt: 0 };

  function checkCommit(bytes: Uint8Array): void {
    const ring = decodeFakeRing(Buffer.from(bytes));
    const before = new Map(committed.keys.map((key) => [key.keyId, key]));
    assert.ok(ring.changedAt >= committed.changedAt, 'changedAt went back');
    assert.ok(ring.keys.length <= MAX_KEYS, `${ring.keys.length} keys`);
    assert.equal(new Set(ring.keys.map(({ keyId }) => keyId)).size, ring.keys.length, 'a key is in it twice');
    for (const algorithm of new Set([...ring.keys, ...committed.keys].map((key) => key.algorithm))) {
      const inState = (state: string) =>
        ring.keys.filter((key) => key.algorithm === algorithm && key.state === state).length;
      assert.ok(inState('active') <= 1 && inState('next') <= 1, `two active or two next for ${algorithm}`);
      const active = activeKey(committed, algorithm);
      if ((active !== undefined && !mayEnd(active, ring.changedAt)) || before.size === 0)
        assert.equal(inState('active'), 1, `nothing is active for ${algorithm}`);
      if (active === undefined || inState('active') > 0) continue;
      counts.ended++;
      if (!takenAway.has(algorithm)) assert.equal(inState('next'), 1, `nothing will sign ${algorithm}`);
    }
    for (const key of ring.keys) checkKey(key, before.get(key.keyId), before.size === 0);
    const kept = new Set(ring.keys.map(({ keyId }) => keyId));
    for (const key of committed.keys) if (!kept.has(key.keyId)) checkRemoval(key, ring.changedAt);
    committed = ring;
    counts.commits++;
  }

  /** Without a successor that signs at once. */
  function mayEnd(active: RingKey, changedAt: number): boolean {
    const hasNext = committed.keys.some((key) => key.algorithm === active.algorithm && key.state === 'next');
    if (revokeAsked.has(active.keyId) && (!hasNext || takenAway.has(active.algorithm))) return true;
    return isTimeUp(active, changedAt);
  }

  function isTimeUp({ algorithm, activatedAt, publishedAt }: RingKey, changedAt: number): boolean {
    return (
      takenAway.has(algorithm) && changedAt - (activatedAt ?? publishedAt) >= settings.rotateEverySeconds
    );
  }

  function checkKey(key: RingKey, before: RingKey | undefined, isFresh: boolean): void {
    if (before === undefined) {
      assert.ok(!committedAt.has(key.keyId), 'a key came back');
      assert.ok(isFresh || key.state === 'next', 'a key came in that was not next');
      committedAt.set(key.keyId, now());
      if (isFresh) mayHurry.add(key.keyId);
      return;
    }
    const order = ['next', 'active', 'retired'];
    assert.ok(order.indexOf(key.state) >= order.indexOf(before.state), `${before.state} became ${key.state}`);
    assert.equal(key.publishedAt, before.publishedAt);
    if (before.state === 'retired') assert.equal(key.removeAt, before.removeAt);
    if (before.state === 'next' && key.state === 'active') counts.promotions++;
  }

  function checkRemoval(key: RingKey, changedAt: number): void {
    counts.removals++;
    if (key.state === 'retired' && key.removeAt! <= changedAt) return;
    if (key.state === 'next' && adoptAsked.has(key.algorithm)) return;
    if (key.state === 'next' && isTimeUp(key, changedAt)) return;
    assert.ok(revokeAsked.has(key.keyId), `${key.state} key ${key.keyId} vanished`);
    revoked.add(key.keyId);
  }

  return {
    committedAt,
    mayHurry,
    revokeAsked,
    adoptAsked,
    revoked,
    takenAway,
    checkCommit,
    committed: () => committed,
  };
}
