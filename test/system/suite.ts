/** A suite's own clean-up, for what its tests share. */
import { after } from 'node:test';
import type { Scope } from './start.ts';

/** To be called inside `describe`, as hooks cannot be added to a suite that runs. */
export function scopeOf(): Scope {
  let clean = async () => {};
  after(() => clean());
  return {
    after(step) {
      clean = step;
    },
  };
}
