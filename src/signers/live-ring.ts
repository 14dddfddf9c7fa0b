/**
 * The key ring in a running process: read from a store, advanced as time goes
 * by, written by compare-and-swap. Nothing is published before it is stored, and
 * nothing signs before it is published. Any number of replicas may do this on one
 * store: exactly one wins each change, the others read it.
 */
import { IssuerError } from '../core/errors.ts';
import { type Advance, advance, EMPTY_RING, type KeyRing, type RingSettings } from '../core/key-ring.ts';
import type { Algorithm, Clock, EpochSeconds, KeyMaterial, KeyStore, StoreVersion } from '../core/ports.ts';

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
  /** Throws `temporarily_unavailable` when a shared store was not read for so long that others may have dropped our keys. */
  assertFresh(): void;
}

const CAS_ATTEMPTS = 8;
/** How long a replica signs without having read a shared store; part of `keepSeconds`. */
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
  #readAt = Number.NEGATIVE_INFINITY;
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
    if (!this.#parts.store.shared) return;
    const age = this.#parts.clock.elapsed() - this.#readAt;
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
    const spares: KeyMaterial[] = [];
    for (let attempt = 0; attempt < CAS_ATTEMPTS; attempt++) {
      if (this.#mustRead || this.#parts.store.shared) await this.#read();
      const wanted = await this.#wanted(change, spares);
      if (wanted === this.#ring || (await this.#write(wanted))) return this.#ring;
    }
    throw new IssuerError(
      'temporarily_unavailable',
      `the key ring was changed by others ${CAS_ATTEMPTS} times in a row`,
    );
  }

  /** The ring after the change and all that is then due, with freshly made keys where it takes some. */
  async #wanted(change: RingChange, spares: KeyMaterial[]): Promise<KeyRing> {
    const settings = this.#parts.settings();
    const now = this.#time.now();
    const changed = change(this.#ring, now, settings);
    let due: Advance = advance(changed, now, settings, spares);
    if (due.missing.length > 0) {
      spares.push(...(await Promise.all(due.missing.map((algorithm) => this.#parts.generateKey(algorithm)))));
      due = advance(changed, now, settings, spares);
    }
    return due.ring;
  }

  async #read(): Promise<void> {
    const stored = await this.#attempt('read', () => this.#parts.store.read(this.#parts.document));
    this.#readAt = this.#parts.clock.elapsed();
    this.#mustRead = false;
    if (stored === undefined && this.#version !== undefined)
      throw this.#fault('read', new IssuerError('server_error', 'the stored key ring is gone'));
    if (stored === undefined || stored.version === this.#version) return;
    const bytes = Buffer.from(stored.bytes.buffer, stored.bytes.byteOffset, stored.bytes.byteLength);
    const ring = this.#parts.decode(bytes);
    bytes.fill(0);
    this.#takeEffect(ring, stored.version);
  }

  /** False: somebody else was first. */
  async #write(ring: KeyRing): Promise<boolean> {
    const bytes = this.#parts.encode(ring);
    try {
      const { store, document } = this.#parts;
      this.#takeEffect(ring, await store.write(document, bytes, this.#version));
      return true;
    } catch (error) {
      this.#mustRead = true;
      if (error instanceof IssuerError && error.code === 'conflict' && this.#parts.store.shared) return false;
      throw this.#fault('write', error);
    } finally {
      bytes.fill(0);
    }
  }

  #takeEffect(ring: KeyRing, version: StoreVersion): void {
    this.#ring = ring;
    this.#version = version;
    this.#readAt = this.#parts.clock.elapsed();
    this.#time.atLeast(ring.changedAt);
    this.#parts.onChange(ring);
  }

  async #attempt<T>(operation: 'read' | 'write', action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      throw this.#fault(operation, error);
    }
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
