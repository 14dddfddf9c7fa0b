/** A clock that goes only when told to, and whose wall time can jump. */
import type { Clock } from '../../src/core/ports.ts';

export type FakeClock = Clock & {
  advance(seconds: number): void;
  /** Moves the wall time only: somebody set the clock. */
  jump(seconds: number): void;
};

export function fakeClock(start = 1_800_000_000): FakeClock {
  let elapsed = 0;
  let offset = 0;
  return {
    now: () => Math.floor(start + elapsed + offset),
    elapsed: () => elapsed,
    advance: (seconds) => {
      elapsed += seconds;
    },
    jump: (seconds) => {
      offset += seconds;
    },
  };
}
