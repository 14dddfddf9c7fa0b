/**
 * The key ring in a running process: read from a store, advanced as time goes
 * by, written by compare-and-swap. Nothing is published before it is stored, and
 * nothing signs before it is published. Any number of replicas may do this on one
 * store: exactly one wins each change, the others read it.
 */
import { IssuerError } from '../core/errors.ts';
import type { KeyMaterial, KeyStore, StoredBytes, StoreVersion } from '../core/key-ports.ts';
import { advance, EMPTY_RING, type KeyRing, type RingSettings } from '../core/key-ring.ts';
import type { Algorithm, Clock, EpochSeconds } from '../core/ports.ts';

export type LiveRingParts = {
  readonly store: KeyStore;
  /** The store's document. */
  readonly document: string;
  readonly clock: Clock;
  /** Read at each change: the policy may have got new algorithms or a longer life. */
  readonly settings: () => RingSettings;
  readonly generateKey: (algorithm: Algorithm) => Promise<KeyMaterial>;
  readonly encode: (ring: KeyRing) => Buffer;
  readonly decode: (bytes: Buffer) => KeyRing;
  /** It was made before: where it is gone, none is made in its place. */
  readonly mustExist?: boolean | undefined;
  /** Called with each ring as it takes effect. */
  readonly onChange: (ring: KeyRing) => void;
  /** A fault of the store; the ring in effect stays. */
  readonly onFault: (operation: 'read' | 'write', error: unknown) => void;
};

/** A change on command: from the ring as stored to the ring wanted; throws IssuerError to refuse. */
export type RingChange = (ring: KeyRing, now: EpochSeconds, settings: RingSettings) => KeyRing;

export interface LiveRing {
  /** What is stored, published and in effect. */
  readonly current: KeyRing;
  /** The ring's own time (see `RingTime`). */
  now(): EpochSeconds;
  /** Does what is due. Never throws: a fault is told to `onFault` and the ring in effect stays. */
  tick(): Promise<void>;
  /** Throws IssuerError. */
  change(change: RingChange): Promise<KeyRing>;
  /** Throws `temporarily_unavailable` when it is so long unknown what is stored that our keys may have been dropped there. */
  assertFresh(): void;
}

const CAS_ATTEMPTS = 8;
/** How long a replica signs without knowing what is stored; part of `keepSeconds`. */
export const STALE_AFTER_SECONDS = 900;

/** Opens the ring; makes keys only where the store never had one. Throws what the store throws. */
export async function openLiveRing(parts: LiveRingParts): Promise<LiveRing> {
  const live = new StoredRing(parts);
  await live.change((ring) => ring);
  return live;
}

class StoredRing implements LiveRing {
  #ring: KeyRing = EMPTY_RING;
  #version: StoreVersion | undefined;
  /** When what is in effect was last known to be what is stored. */
  #knownAt = Number.NEGATIVE_INFINITY;
  /** What is stored is not known: never read, or a write whose outcome was not heard. */
  #mustRead = true;
  #queue: Promise<unknown> = Promise.resolve();
  readonly #parts: LiveRingParts;
  readonly #time: RingTime;

  constructor(parts: LiveRingParts) {
    this.#parts = parts;
    this.#time = new RingTime(parts.clock);
  }

  get current(): KeyRing {
    return this.#ring;
  }

  now(): EpochSeconds {
    return this.#time.now();
  }

  assertFresh(): void {
    if (!this.#parts.store.shared && !this.#mustRead) return;
    const age = this.#parts.clock.elapsed() - this.#knownAt;
    if (age > STALE_AFTER_SECONDS)
      throw new IssuerError(
        'temporarily_unavailable',
        `the key store could not be read for ${Math.round(age)} s`,
      );
  }

  async tick(): Promise<void> {
    try {
      await this.change((ring) => ring);
    } catch {
      // Told to onFault where it happened; the next tick tries again.
    }
  }

  /** One change at a time in this process; compare-and-swap against the others. */
  change(change: RingChange): Promise<KeyRing> {
    const result = this.#queue.then(() => this.#change(change));
    this.#queue = result.catch(() => undefined);
    return result;
  }

  async #change(change: RingChange): Promise<KeyRing> {
    for (let attempt = 0; attempt < CAS_ATTEMPTS; attempt++) {
      if (this.#mustRead || this.#parts.store.shared) await this.#read();
      else this.#knownAt = this.#parts.clock.elapsed(); // nobody else writes
      const wanted = await this.#wanted(change);
      if (wanted === this.#ring || (await this.#write(wanted))) return this.#ring;
    }
    throw new IssuerError(
      'temporarily_unavailable',
      `the key ring was changed by others ${CAS_ATTEMPTS} times in a row`,
    );
  }

  /** The ring after the change and all that is then due, with freshly made keys where it takes some. */
  async #wanted(change: RingChange): Promise<KeyRing> {
    const settings = this.#parts.settings();
    const now = this.#time.now();
    const before = this.#ring;
    const changed = change(before, now, settings);
    const due = advance(changed, now, settings, [], before);
    if (due.missing.length === 0) return due.ring;
    const spares = await Promise.all(due.missing.map((algorithm) => this.#parts.generateKey(algorithm)));
    return advance(changed, now, settings, spares, before).ring;
  }

  async #read(): Promise<void> {
    const askedAt = this.#parts.clock.elapsed();
    try {
      const stored = await this.#parts.store.read(this.#parts.document);
      if (stored !== undefined) this.#takeUp(stored);
      else if (this.#version !== undefined || this.#parts.mustExist === true)
        throw new IssuerError('server_error', 'the stored key ring is gone');
    } catch (error) {
      throw this.#fault('read', error);
    }
    this.#knownAt = askedAt;
    this.#mustRead = false;
  }

  #takeUp(stored: StoredBytes): void {
    const bytes = Buffer.from(stored.bytes.buffer, stored.bytes.byteOffset, stored.bytes.byteLength);
    try {
      if (stored.version !== this.#version) this.#takeEffect(this.#parts.decode(bytes), stored.version);
    } finally {
      bytes.fill(0);
    }
  }

  /** False: somebody else was first. */
  async #write(ring: KeyRing): Promise<boolean> {
    const bytes = this.#parts.encode(ring);
    this.#mustRead = true;
    try {
      const { store, document } = this.#parts;
      this.#takeEffect(ring, await store.write(document, bytes, this.#version));
      this.#mustRead = false;
      return true;
    } catch (error) {
      if (error instanceof IssuerError && error.code === 'conflict' && this.#parts.store.shared) return false;
      throw this.#fault('write', error);
    } finally {
      bytes.fill(0);
    }
  }

  #takeEffect(ring: KeyRing, version: StoreVersion): void {
    this.#ring = ring;
    this.#version = version;
    this.#time.atLeast(ring.changedAt);
    this.#parts.onChange(ring);
  }

  #fault(operation: 'read' | 'write', error: unknown): unknown {
    this.#parts.onFault(operation, error);
    return error;
  }
}

/**
 * Time as the ring knows it: starts at the wall clock, then goes by what really
 * elapsed, so that a jump of the wall clock neither retires a key early nor
 * keeps one for years; never before the last change that was stored.
 */
class RingTime {
  #base: EpochSeconds;
  #elapsedAtBase: number;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#base = clock.now();
    this.#elapsedAtBase = clock.elapsed();
  }

  now(): EpochSeconds {
    return Math.floor(this.#base + this.#clock.elapsed() - this.#elapsedAtBase);
  }

  atLeast(time: EpochSeconds): void {
    if (time <= this.now()) return;
    this.#base = time;
    this.#elapsedAtBase = this.#clock.elapsed();
  }
}
