/** One replica of the ring on a fake store, with a clock of its own. */
import type { IssuerError } from '../../src/core/errors.ts';
import { activeKey, type KeyRing, type RingSettings, rotate } from '../../src/core/key-ring.ts';
import { type LiveRingParts, openLiveRing, STALE_AFTER_SECONDS } from '../../src/signers/live-ring.ts';
import { fakeClock } from './clock.ts';
import { type Backend, fakeStore, type Plan, PROMPT } from './key-store.ts';
import { decodeFakeRing, encodeFakeRing, fakeKey } from './keys.ts';

export const DAY = 86_400;
export const SETTINGS: RingSettings = {
  algorithms: ['ES256'],
  rotateEverySeconds: 7 * DAY,
  publishAtLeastSeconds: DAY,
  longestTtlSeconds: 600,
  keepSeconds: STALE_AFTER_SECONDS + 300,
};

/** One replica on a backend, with the plans of its next operations in `plans`. */
export function replicaOn(backend: Backend, parts: Partial<LiveRingParts> = {}, shared = true) {
  const clock = fakeClock();
  const plans: Plan[] = [];
  const rings: KeyRing[] = [];
  const faults: string[] = [];
  const pending: { readonly at: number; readonly action: () => void }[] = [];
  const store = fakeStore({
    backend,
    shared,
    nextPlan: () => plans.shift() ?? PROMPT,
    later: (seconds, action) =>
      seconds === 0 ? action() : void pending.push({ at: clock.elapsed() + seconds, action }),
    isAlive: () => true,
    moment: () => 0,
    onAnswer: () => undefined,
  });
  const open = () =>
    openLiveRing({
      store,
      document: 'ring',
      clock,
      settings: () => SETTINGS,
      generateKey: async (algorithm) => fakeKey(algorithm),
      encode: encodeFakeRing,
      decode: decodeFakeRing,
      onChange: (ring) => rings.push(ring),
      onFault: (operation, error) => faults.push(`${operation} ${(error as IssuerError).code}`),
      ...parts,
    });
  /** Lets time go by and what was due in it happen. */
  const pass = (seconds: number) => {
    clock.advance(seconds);
    for (const { at, action } of pending.splice(0)) {
      if (at <= clock.elapsed()) action();
      else pending.push({ at, action });
    }
  };
  return { store, clock, plans, rings, faults, open, pass };
}

export function emptyBackend(): Backend & { commits: number } {
  return {
    stored: undefined,
    commits: 0,
    onCommit() {
      this.commits++;
    },
  };
}

export const idOf = (ring: KeyRing) => activeKey(ring, 'ES256')?.keyId;
export const force = (ring: KeyRing, now: number, settings: RingSettings) =>
  rotate(ring, 'ES256', true, now, settings);
