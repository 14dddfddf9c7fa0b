/** The ring as a whole, against a model: see fakes/ring-world.ts for what must always hold. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  activeKey,
  adopt,
  type KeyRing,
  MAX_KEYS,
  type RingSettings,
  rotate,
} from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { type LiveRing, STALE_AFTER_SECONDS } from '../../src/signers/live-ring.ts';
import { revokeKey } from '../../src/signers/revoke-key.ts';
import { FAIL_BEFORE, LOSE_ANSWER, type Plan } from '../fakes/key-store.ts';
import { fakeKey } from '../fakes/keys.ts';
import { createRingWorld, type RingWorld } from '../fakes/ring-world.ts';

const REPLICAS = 3;
const replica = fc.nat({ max: REPLICAS - 1 });
const pick = fc.nat({ max: 100 });
const ttl = fc.integer({ min: 60, max: 1200 });

/** A write that takes effect does so within 30 s; its answer may take an hour, or never come. */
const plan = fc.oneof<fc.Arbitrary<Plan>[]>(
  fc.constant(FAIL_BEFORE),
  fc.constant(LOSE_ANSWER),
  fc
    .record({
      effectAfter: fc.nat({ max: 30 }),
      wait: fc.integer({ min: 0, max: 3600 }),
      isLost: fc.boolean(),
    })
    .map(({ effectAfter, wait, isLost }) => ({ effectAfter, answerAfter: effectAfter + wait, isLost })),
  fc
    .option(fc.nat({ max: 30 }), { nil: undefined })
    .map((effectAfter) => ({ effectAfter, answerAfter: undefined, isLost: false })),
  // The replica gives up, and the store does it all the same, later.
  fc.nat({ max: 30 }).map((effectAfter) => ({ effectAfter, answerAfter: 0, isLost: true })),
);

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ type: fc.constant('pass' as const), seconds: fc.integer({ min: 1, max: 2400 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('start' as const),
      replica,
      skew: fc.integer({ min: -5, max: 5 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('kill' as const), replica }) },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('plan' as const),
      replica,
      plans: fc.array(plan, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('outage' as const), replica, isDown: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constant('slowKeys' as const), replica, seconds: fc.nat({ max: 10 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('jump' as const),
      replica,
      seconds: fc.integer({ min: -1e9, max: 1e9 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('rotate' as const), replica, pick, isForced: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('revoke' as const), replica, pick }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('adopt' as const), replica, pick }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('crowd' as const),
      replica,
      pick,
      algorithms: fc.shuffledSubarray([...ALGORITHMS], { minLength: ALGORITHMS.length }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant('configure' as const),
      replica,
      ttl,
      algorithms: fc.subarray([...ALGORITHMS], { minLength: 1 }),
    }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const settings: fc.Arbitrary<RingSettings> = fc
  .record({
    algorithms: fc.subarray([...ALGORITHMS], { minLength: 1 }),
    published: fc.integer({ min: 600, max: 3600 }),
    times: fc.constantFrom(1, 1, 1.5, 3),
    ttl,
    cache: fc.integer({ min: 60, max: 300 }),
  })
  .map(({ algorithms, published, times, ttl: longestTtlSeconds, cache }) => ({
    algorithms,
    publishAtLeastSeconds: published,
    rotateEverySeconds: Math.floor(published * times),
    longestTtlSeconds,
    keepSeconds: STALE_AFTER_SECONDS + cache,
  }));

function algorithmOf(world: RingWorld, index: number): Algorithm {
  return world.settings.algorithms[index % world.settings.algorithms.length]!;
}

async function take(world: RingWorld, current: Step): Promise<void> {
  if (current.type === 'pass') return world.pass(current.seconds);
  if (current.type === 'start') return world.start(current.replica, current.skew);
  if (current.type === 'kill') return world.kill(current.replica);
  const process = world.processes[current.replica];
  if (process === undefined) return;
  if (current.type === 'plan') process.plans.push(...current.plans);
  else if (current.type === 'outage') process.isDown = current.isDown;
  else if (current.type === 'slowKeys') process.keySeconds = current.seconds;
  else if (current.type === 'jump') process.wallOffset = current.seconds;
  else if (current.type === 'configure') {
    world.configure(current.replica, current.ttl, current.algorithms);
  } else if (current.type === 'revoke') await revoke(world, current.replica, current.pick);
  else if (current.type === 'crowd') await crowd(world, current);
  else await obey(world, current);
}

async function obey(world: RingWorld, current: Step & { type: 'rotate' | 'adopt' }): Promise<void> {
  const algorithm = algorithmOf(world, current.pick);
  await world.command(current.replica, (ring, now, own) => {
    if (current.type === 'adopt') {
      world.adoptAsked.add(algorithm);
      return adopt(ring, fakeKey(algorithm), now);
    }
    if (current.isForced) world.mayHurry.add(nextOf(ring, algorithm));
    return rotate(ring, algorithm, current.isForced, now, own);
  });
}

function nextOf(ring: KeyRing, algorithm: Algorithm): string {
  return ring.keys.find((key) => key.algorithm === algorithm && key.state === 'next')?.keyId ?? '';
}

/** Rotates until the ring is full, lets all algorithms wait for room, and revokes what signs. */
async function crowd(world: RingWorld, { replica, pick, algorithms }: Step & { type: 'crowd' }) {
  const algorithm = algorithmOf(world, pick);
  for (let times = 0; times < MAX_KEYS; times++)
    await obey(world, { type: 'rotate', replica, pick, isForced: true });
  world.configure(replica, world.settings.longestTtlSeconds, algorithms);
  const { keys } = world.committed();
  const active = keys.findIndex((key) => key.algorithm === algorithm && key.state === 'active');
  if (active >= 0) await revoke(world, replica, active);
}

async function revoke(world: RingWorld, replica: number, pick: number): Promise<void> {
  await world.act(replica, (live) => {
    const { keys } = live.current;
    const { keyId, algorithm } = keys[pick % keys.length]!;
    /** Sees the ring that each attempt begins from. */
    const watched: Pick<LiveRing, 'change'> = {
      change: (change) =>
        live.change((ring, now, own) => {
          const active = activeKey(ring, algorithm)?.keyId;
          world.revokeAsked.add(keyId);
          if (active === keyId || active === undefined) world.mayHurry.add(nextOf(ring, algorithm));
          return change(ring, now, own);
        }),
    };
    return revokeKey(watched, keyId);
  });
}

/** All is well again for long enough: every algorithm rotated, and nothing hangs on to what it does not need. */
async function recover(world: RingWorld): Promise<void> {
  const { algorithms, longestTtlSeconds, keepSeconds, publishAtLeastSeconds, rotateEverySeconds } =
    world.settings;
  for (let index = 0; index < world.processes.length; index++) await world.kill(index);
  await world.pass(60);
  for (let index = 0; index < world.processes.length; index++) await world.start(index, 0);
  const cycle = rotateEverySeconds + 3 * (1200 + keepSeconds + publishAtLeastSeconds);
  await world.pass(cycle);
  const { keys } = world.committed();
  for (const algorithm of algorithms) {
    const active = keys.find((key) => key.algorithm === algorithm && key.state === 'active');
    assert.ok(world.time() - active!.activatedAt! <= cycle, `${algorithm} did not rotate`);
    assert.equal(active!.ttlLimitSeconds, longestTtlSeconds);
  }
  const retired = keys.filter((key) => key.state === 'retired');
  assert.ok(
    retired.every((key) => key.removeAt! > world.time() - 120),
    'a retired key stays',
  );
  const unused = keys.filter(({ algorithm }) => !algorithms.includes(algorithm));
  assert.ok(
    unused.every(({ state }) => state === 'retired'),
    'a key that nobody needs stays',
  );
}

async function assertRing(shared: boolean, numRuns: number): Promise<void> {
  const totals: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(settings, fc.array(step, { minLength: 10, maxLength: 60 }), async (chosen, steps) => {
      const world = createRingWorld({ settings: chosen, replicas: shared ? REPLICAS : 1, shared });
      await world.start(0, 0);
      for (const current of steps) await take(world, current);
      await recover(world);
      for (const [name, count] of Object.entries(world.counts)) totals[name] = (totals[name] ?? 0) + count;
    }),
    { numRuns },
  );
  // Nothing of this is proven where nothing happened.
  for (const [name, count] of Object.entries(totals)) assert.ok(count > numRuns / 4, `${name}: ${count}`);
}

suite('the ring through faults', () => {
  test('replicas on a shared store', () => assertRing(true, 90));

  test('one process on a store of its own', () => assertRing(false, 120));
});
