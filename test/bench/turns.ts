/** Measurements in turns, and their medians. */
import type { LoadResult } from './load.ts';
import { median } from './report.ts';

/** Runs each in turn, round after round; the first round warms up and does not count. */
export async function inTurns<T extends string>(
  rounds: number,
  steps: Readonly<Record<T, () => Promise<LoadResult | number>>>,
): Promise<Readonly<Record<T, readonly Measured[]>>> {
  const names = Object.keys(steps) as T[];
  const results = Object.fromEntries(names.map((name) => [name, [] as Measured[]])) as Record<T, Measured[]>;
  for (let round = 0; round <= rounds; round++) {
    for (const name of names) {
      const result = await steps[name]();
      if (round > 0) results[name].push(typeof result === 'number' ? { perSecond: result } : result);
    }
  }
  return results;
}

export type Measured = { readonly perSecond: number; readonly p50Ms?: number; readonly p99Ms?: number };

export const rate = (rounds: readonly Measured[]) => median(rounds.map(({ perSecond }) => perSecond));
export const p50 = (rounds: readonly Measured[]) => median(rounds.map(({ p50Ms = Number.NaN }) => p50Ms));
export const p99 = (rounds: readonly Measured[]) => median(rounds.map(({ p99Ms = Number.NaN }) => p99Ms));
export const ratio = (rounds: readonly Measured[], beside: readonly Measured[]) =>
  median(rounds.map(({ perSecond }, index) => perSecond / (beside[index]?.perSecond ?? Number.NaN)));
