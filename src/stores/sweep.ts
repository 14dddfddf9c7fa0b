/**
 * Expired records leave the store. Whoever asks for authorization makes some, so the sweep keeps up with
 * however many there are.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';

const EVERY_MS = 60_000;
/** So many at a time, with room for others between. */
const AT_ONCE = 1_000;
const PAUSE_MS = 20;

export type SweepParts = {
  readonly records: RecordStore;
  readonly clock: Clock;
  readonly warn: (message: string) => void;
};

/** Returns what ends it. */
export function sweepRecords({ records, clock, warn }: SweepParts, everyMs = EVERY_MS): () => Promise<void> {
  const closing = new AbortController();
  const { signal } = closing;
  const pause = (millis: number) => sleep(millis, undefined, { ref: false, signal }).catch(() => undefined);
  async function run(): Promise<void> {
    let isMore = false;
    for (;;) {
      await pause(isMore ? PAUSE_MS : everyMs);
      if (signal.aborted) return;
      try {
        isMore = (await records.sweep(clock.now(), AT_ONCE)) === AT_ONCE;
      } catch (error) {
        isMore = false;
        warn(`the sweep of records: ${(error as Error).message}`);
      }
    }
  }
  const running = run();
  return async () => {
    closing.abort();
    await running;
  };
}
