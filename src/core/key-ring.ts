/**
 * The ring of signing keys, one rotation for every algorithm; pure. A key is
 * `next` (published, not signing), then `active`, then `retired` (published
 * until the last token it signed has expired). Keys of an algorithm that no rule
 * uses any more leave a rotation's time after they last changed. Times are the ring's own: see
 * signers/live-ring.ts for how they follow the clock without its jumps.
 */
import { IssuerError } from './errors.ts';
import type { KeyMaterial, RingKey } from './key-ports.ts';
import type { Algorithm, EpochSeconds } from './ports.ts';

export type KeyRing = { readonly keys: readonly RingKey[]; readonly changedAt: EpochSeconds };

export type RingSettings = {
  readonly algorithms: readonly Algorithm[];
  readonly rotateEverySeconds: number;
  /** A key is published this long before it signs. */
  readonly publishAtLeastSeconds: number;
  /** The longest life that a rule allows. */
  readonly longestTtlSeconds: number;
  /** How long after its last token's end a retired key stays: caches, and replicas that have not read yet. */
  readonly keepSeconds: number;
};

/** AWS and Azure take 100 keys of an issuer, others 10. */
export const MAX_KEYS = 10;

export const EMPTY_RING: KeyRing = { keys: [], changedAt: 0 };

export type Advance = {
  readonly ring: KeyRing;
  readonly isChanged: boolean;
  /** Algorithms for which a spare was needed and none was left. */
  readonly missing: readonly Algorithm[];
};

/** One working copy while a change is put together. */
type Draft = {
  keys: RingKey[];
  readonly spares: KeyMaterial[];
  readonly missing: Algorithm[];
  readonly now: EpochSeconds;
  readonly settings: RingSettings;
};

/**
 * Does whatever is due at `now`: fills an empty ring, rotates what is old
 * enough, drops what nobody needs any more. Idempotent: a second call at the same
 * `now` changes nothing. `spares` are freshly made keys that it may take; `before`
 * is the ring before a command changed it.
 */
export function advance(
  ring: KeyRing,
  now: EpochSeconds,
  settings: RingSettings,
  spares: readonly KeyMaterial[] = [],
  before: KeyRing = ring,
): Advance {
  const isFresh = ring.keys.length === 0;
  const draft: Draft = { keys: [...ring.keys], spares: [...spares], missing: [], now, settings };
  draft.keys = draft.keys.filter((key) => key.removeAt === undefined || key.removeAt > now);
  draft.keys = draft.keys.flatMap((key) => (isUnused(key, draft) ? leaving(key, draft) : [key]));
  for (const algorithm of oldestFirst(ring, before, settings.algorithms)) {
    if (isFresh) takeSpare(draft, algorithm, activated);
    rotateIfDue(draft, algorithm);
    if (find(draft.keys, algorithm, 'next') === undefined) takeSpare(draft, algorithm, (key) => key);
  }
  draft.keys = draft.keys.map((key) => raiseTtlLimit(key, settings));
  const isChanged =
    draft.keys.length !== ring.keys.length || draft.keys.some((key, index) => key !== ring.keys[index]);
  return { ring: isChanged ? { keys: draft.keys, changedAt: now } : ring, isChanged, missing: draft.missing };
}

/**
 * Where the ring is full, room for a next key goes to the algorithm whose only signing key was just
 * revoked, then to one that signed once, then to one that never did, then to the one that has waited longest.
 */
function oldestFirst(ring: KeyRing, before: KeyRing, algorithms: readonly Algorithm[]): readonly Algorithm[] {
  const since = (algorithm: Algorithm): EpochSeconds => {
    const active = activeKey(ring, algorithm);
    if (active !== undefined) return active.activatedAt ?? 0;
    if (activeKey(before, algorithm) !== undefined) return -3;
    return find(ring.keys, algorithm, 'retired') === undefined ? -1 : -2;
  };
  return [...algorithms].sort((a, b) => since(a) - since(b));
}

function rotateIfDue(draft: Draft, algorithm: Algorithm): void {
  const active = find(draft.keys, algorithm, 'active');
  const next = find(draft.keys, algorithm, 'next');
  if (next === undefined || draft.now - next.publishedAt < draft.settings.publishAtLeastSeconds) return;
  const isDue =
    active === undefined || draft.now - (active.activatedAt ?? 0) >= draft.settings.rotateEverySeconds;
  if (isDue) promote(draft, next);
}

/** `next` signs from now on, and the active key of its algorithm retires. */
function promote(draft: Draft, next: RingKey): void {
  draft.keys = draft.keys.map((key) => {
    if (key === next) return activated(next, draft);
    return key.state === 'active' && key.algorithm === next.algorithm ? retired(key, draft) : key;
  });
}

function activated(key: RingKey, { now, settings }: Draft): RingKey {
  return { ...key, state: 'active', activatedAt: now, ttlLimitSeconds: settings.longestTtlSeconds };
}

function retired(key: RingKey, { now, settings }: Draft): RingKey {
  return {
    ...key,
    state: 'retired',
    retiredAt: now,
    removeAt: now + key.ttlLimitSeconds + settings.keepSeconds,
  };
}

/**
 * Nobody asks for it, and it would be due to rotate: not sooner, since a rule may be back by then, and
 * replicas that do not have a new rule yet would take from those that do.
 */
function isUnused({ algorithm, state, activatedAt, publishedAt }: RingKey, draft: Draft): boolean {
  const { algorithms, rotateEverySeconds } = draft.settings;
  if (state === 'retired' || algorithms.includes(algorithm)) return false;
  return draft.now - (activatedAt ?? publishedAt) >= rotateEverySeconds;
}

/** What never signed may go at once. */
function leaving(key: RingKey, draft: Draft): readonly RingKey[] {
  return key.state === 'active' ? [retired(key, draft)] : [];
}

function raiseTtlLimit(key: RingKey, { longestTtlSeconds }: RingSettings): RingKey {
  const isLow = key.state === 'active' && key.ttlLimitSeconds < longestTtlSeconds;
  return isLow ? { ...key, ttlLimitSeconds: longestTtlSeconds } : key;
}

function takeSpare(draft: Draft, algorithm: Algorithm, place: (key: RingKey, draft: Draft) => RingKey): void {
  if (draft.keys.length >= MAX_KEYS) return;
  const index = draft.spares.findIndex((key) => key.algorithm === algorithm);
  const [spare] = index < 0 ? [] : draft.spares.splice(index, 1);
  if (spare === undefined) draft.missing.push(algorithm);
  else draft.keys.push(place(published(spare, draft.now), draft));
}

function published(key: KeyMaterial, now: EpochSeconds): RingKey {
  return { ...key, state: 'next', publishedAt: now, ttlLimitSeconds: 0 };
}

function find(keys: readonly RingKey[], algorithm: Algorithm, state: RingKey['state']): RingKey | undefined {
  return keys.find((key) => key.algorithm === algorithm && key.state === state);
}

/** The key that signs for an algorithm now. */
export function activeKey(ring: KeyRing, algorithm: Algorithm): RingKey | undefined {
  return find(ring.keys, algorithm, 'active');
}

/** When `next` may take over, seconds from now; 0 is at once, undefined where there is no next. */
export function secondsUntilReady(
  ring: KeyRing,
  algorithm: Algorithm,
  now: EpochSeconds,
  settings: RingSettings,
): number | undefined {
  const next = find(ring.keys, algorithm, 'next');
  return next === undefined
    ? undefined
    : Math.max(0, next.publishedAt + settings.publishAtLeastSeconds - now);
}

/**
 * Rotates now, on command. Throws `conflict` where `next` was not published for
 * long enough, unless forced.
 */
export function rotate(
  ring: KeyRing,
  algorithm: Algorithm,
  isForced: boolean,
  now: EpochSeconds,
  settings: RingSettings,
): KeyRing {
  const next = find(ring.keys, algorithm, 'next');
  if (next === undefined) throw noNext(ring, algorithm, settings);
  const wait = secondsUntilReady(ring, algorithm, now, settings) ?? 0;
  if (wait > 0 && !isForced) throw notPublishedLongEnough(next, wait);
  const draft: Draft = { keys: [...ring.keys], spares: [], missing: [], now, settings };
  promote(draft, next);
  return { keys: draft.keys, changedAt: now };
}

/** The operator who gave the command may read why. */
function refused(code: 'conflict' | 'not_found', reason: string): IssuerError {
  return new IssuerError(code, reason, { shown: { reason } });
}

function noNext(ring: KeyRing, algorithm: Algorithm, { algorithms }: RingSettings): IssuerError {
  if (!algorithms.includes(algorithm))
    return refused('conflict', `no rule asks for ${algorithm}, so no key is made for it`);
  const isFull = ring.keys.length >= MAX_KEYS;
  const why = isFull ? `: the ring has its ${MAX_KEYS} keys, and revoking a retired one makes room` : ' yet';
  return refused('conflict', `there is no next ${algorithm} key to take over${why}`);
}

function notPublishedLongEnough({ algorithm, keyId }: RingKey, wait: number): IssuerError {
  const reason = `the next ${algorithm} key ${keyId} must stay published for ${wait} s more before it signs`;
  return new IssuerError('conflict', reason, { shown: { reason, waitSeconds: wait } });
}

/**
 * Takes a key out of the ring at once: what it signed no longer verifies. Where
 * it was active, `next` takes its place however short it was published; where
 * there is none, since the ring was full, `advance` publishes one now that there
 * is room, and nothing signs until it is promoted. Throws `not_found`.
 */
export function revoke(ring: KeyRing, keyId: string, now: EpochSeconds, settings: RingSettings): KeyRing {
  const key = ring.keys.find((candidate) => candidate.keyId === keyId);
  if (key === undefined) throw refused('not_found', `no key ${keyId} is in the ring`);
  const next = find(ring.keys, key.algorithm, 'next');
  const draft: Draft = {
    keys: ring.keys.filter((other) => other !== key),
    spares: [],
    missing: [],
    now,
    settings,
  };
  const isUsed = settings.algorithms.includes(key.algorithm);
  if (key.state === 'active' && isUsed && next !== undefined) promote(draft, next);
  return { keys: draft.keys, changedAt: now };
}

/** A key that the operator brings becomes `next`, in place of the one that never signed. Throws `conflict`. */
export function adopt(ring: KeyRing, key: KeyMaterial, now: EpochSeconds): KeyRing {
  if (ring.keys.some((other) => other.keyId === key.keyId))
    throw refused('conflict', `key ${key.keyId} is in the ring already`);
  const kept = ring.keys.filter((other) => !(other.algorithm === key.algorithm && other.state === 'next'));
  if (kept.length >= MAX_KEYS) throw refused('conflict', `the ring is full: ${MAX_KEYS} keys`);
  return { keys: [...kept, published(key, now)], changedAt: now };
}
