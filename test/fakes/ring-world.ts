/**
 * A world for the key ring: replicas on one store, where operations fail, hang
 * and come late, processes die between any two steps, and wall clocks jump. After
 * each event it mints with every replica and checks what must always hold. Time
 * is the world's; nothing here waits.
 */
import assert from 'node:assert/strict';
import { setImmediate as drained } from 'node:timers/promises';
import { IssuerError } from '../../src/core/errors.ts';
import { activeKey, type KeyRing, type RingSettings } from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { type LiveRing, openLiveRing, type RingChange } from '../../src/signers/live-ring.ts';
import { type Backend, FAIL_BEFORE, fakeStore, type Plan, PROMPT } from './key-store.ts';
import { decodeFakeRing, encodeFakeRing, fakeKey } from './keys.ts';
import { createRingRules } from './ring-rules.ts';

const START = 1_800_000_000;
/** How much younger in the store than in its own `publishedAt` a key may be: making it, writing it, clocks. */
const TOLERANCE_SECONDS = 60;
const QUEUE_MAX = 3;

export type WorldOptions = {
  readonly settings: RingSettings;
  readonly replicas: number;
  readonly shared: boolean;
};

/** One process, from its start to its end. */
type Process = {
  live: LiveRing | undefined;
  published: KeyRing | undefined;
  settings: RingSettings;
  /** The moment of the newest answer of the store that it got. */
  observedAt: number;
  nextPollAt: number;
  keySeconds: number;
  pending: number;
  wallOffset: number;
  isDown: boolean;
  readonly plans: Plan[];
};

export type RingWorld = ReturnType<typeof createRingWorld>;

export function createRingWorld({ settings, replicas, shared }: WorldOptions) {
  let elapsed = 0;
  let polls = 0;
  let moments = 0;
  const events: { readonly at: number; readonly action: () => void }[] = [];
  const processes: (Process | undefined)[] = Array.from({ length: replicas });
  const time = () => START + elapsed;

  const tokens = new Map<string, number>(); // kid → when the last token it signed expires
  const counts = {
    commits: 0,
    mints: 0,
    promotions: 0,
    hurried: 0,
    removals: 0,
    faults: 0,
    stale: 0,
    ended: 0,
  };
  const rules = createRingRules(settings, counts, () => ({ time: time(), moment: moments }));
  const { committedAt, mayHurry, revoked } = rules;
  const failures: unknown[] = [];

  const backend: Backend = { stored: undefined, onCommit: (bytes) => guard(() => rules.checkCommit(bytes)) };

  /** Runs inside the code under test, which would take an assertion for a fault of the store. */
  function guard(check: () => void): void {
    try {
      check();
    } catch (error) {
      failures.push(error);
    }
  }

  function later(seconds: number, action: () => void): void {
    if (seconds === 0) action();
    else events.push({ at: elapsed + seconds, action });
  }

  // ── invariants ────────────────────────────────────────────────────────────

  function checkPublished(ring: KeyRing): void {
    for (const { keyId } of ring.keys) assert.ok(committedAt.has(keyId), `${keyId} is published, not stored`);
  }

  function mintWith({ live, published, settings: own }: Process): void {
    if (live === undefined) return;
    assert.equal(live.current, published, 'what is in effect is not what is published');
    try {
      live.assertFresh();
    } catch {
      counts.stale++;
      return;
    }
    for (const algorithm of own.algorithms) {
      const key = activeKey(live.current, algorithm);
      if (key === undefined || own.longestTtlSeconds > key.ttlLimitSeconds) continue;
      const { keyId } = key;
      const storedAt = committedAt.get(keyId);
      assert.ok(storedAt !== undefined, `${keyId} signs and is not stored`);
      if (mayHurry.has(keyId)) counts.hurried++;
      else
        assert.ok(
          time() - storedAt.time >= settings.publishAtLeastSeconds - TOLERANCE_SECONDS,
          `${keyId} signs after ${time() - storedAt.time} s`,
        );
      tokens.set(keyId, Math.max(tokens.get(keyId) ?? 0, time() + own.longestTtlSeconds));
      counts.mints++;
    }
  }

  function check(): void {
    if (failures.length > 0) throw failures[0];
    for (const process of processes) if (process !== undefined) mintWith(process);
    for (const [keyId, expiresAt] of tokens) {
      if (expiresAt <= time() || revoked.has(keyId)) {
        tokens.delete(keyId);
        continue;
      }
      for (const process of processes) {
        if (process?.published === undefined || process.observedAt <= committedAt.get(keyId)!.moment)
          continue;
        assert.ok(
          process.published.keys.some((key) => key.keyId === keyId),
          `a token of ${keyId} lives for ${expiresAt - time()} s more and a JWKS lacks the key`,
        );
      }
    }
  }

  // ── what happens ──────────────────────────────────────────────────────────

  async function settle(): Promise<void> {
    await drained();
    check();
  }

  function isRunning(process: Process): boolean {
    return processes.includes(process);
  }

  function track(process: Process, action: Promise<unknown>): void {
    process.pending++;
    action
      .catch((error) => guard(() => assert.ok(error instanceof IssuerError, String(error))))
      .finally(() => process.pending--);
  }

  async function start(index: number, skewSeconds: number): Promise<void> {
    if (processes[index] !== undefined || (!shared && processes.some((other) => other !== undefined))) return;
    const process: Process = {
      live: undefined,
      published: undefined,
      settings,
      observedAt: Number.NEGATIVE_INFINITY,
      nextPollAt: elapsed,
      keySeconds: 0,
      pending: 0,
      wallOffset: skewSeconds,
      isDown: false,
      plans: [],
    };
    processes[index] = process;
    const opening = open(process).catch((error) => {
      if (isRunning(process)) processes[index] = undefined;
      throw error;
    });
    track(process, opening);
    await settle();
  }

  async function open(process: Process): Promise<void> {
    const store = fakeStore({
      backend,
      shared,
      later,
      nextPlan: () => process.plans.shift() ?? (process.isDown ? FAIL_BEFORE : PROMPT),
      isAlive: () => isRunning(process),
      moment: () => ++moments,
      onAnswer: (moment) => {
        process.observedAt = Math.max(process.observedAt, moment);
      },
    });
    const live = await openLiveRing({
      store,
      document: 'ring',
      clock: { now: () => Math.floor(time() + process.wallOffset), elapsed: () => elapsed },
      settings: () => process.settings,
      generateKey: (algorithm) =>
        new Promise((resolve) =>
          later(process.keySeconds, () => isRunning(process) && resolve(fakeKey(algorithm))),
        ),
      encode: encodeFakeRing,
      decode: decodeFakeRing,
      onChange: (ring) => {
        process.published = ring;
        guard(() => checkPublished(ring));
      },
      onFault: () => counts.faults++,
    });
    process.live = live;
  }

  /** The process is gone; what it had sent to the store may still take effect. */
  async function kill(index: number): Promise<void> {
    processes[index] = undefined;
    await settle();
  }

  async function act(index: number, action: (live: LiveRing) => Promise<unknown>): Promise<void> {
    const process = processes[index];
    if (process?.live === undefined || process.pending >= QUEUE_MAX) return;
    track(process, action(process.live));
    await settle();
  }

  const command = (index: number, change: RingChange) => act(index, (live) => live.change(change));

  /** Another configuration of rules, as of now. */
  function configure(index: number, longestTtlSeconds: number, algorithms: readonly Algorithm[]): void {
    const process = processes[index];
    if (process === undefined) return;
    process.settings = { ...process.settings, longestTtlSeconds, algorithms };
    for (const algorithm of ALGORITHMS) if (!algorithms.includes(algorithm)) rules.takenAway.add(algorithm);
  }

  function poll(process: Process): void {
    polls++;
    process.nextPollAt = elapsed + 5 + ((polls * 37) % 56);
    if (process.live !== undefined && process.pending < QUEUE_MAX) track(process, process.live.tick());
  }

  /** Lets time go by: events and polls in their order. */
  async function pass(seconds: number): Promise<void> {
    const end = elapsed + seconds;
    for (;;) {
      const running = processes.filter((process) => process !== undefined);
      const at = Math.min(...running.map(({ nextPollAt }) => nextPollAt), ...events.map((event) => event.at));
      if (at > end) break;
      elapsed = Math.max(elapsed, at);
      for (const process of running) if (process.nextPollAt <= elapsed) poll(process);
      for (const due of events.filter((event) => event.at <= elapsed)) {
        events.splice(events.indexOf(due), 1);
        due.action();
      }
      await settle();
    }
    elapsed = end;
    await settle();
  }

  return {
    settings,
    counts,
    processes,
    mayHurry,
    revokeAsked: rules.revokeAsked,
    adoptAsked: rules.adoptAsked,
    start,
    kill,
    act,
    command,
    configure,
    pass,
    settle,
    time,
    committed: rules.committed,
  };
}
