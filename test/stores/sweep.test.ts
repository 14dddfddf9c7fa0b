import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sweepRecords } from '../../src/stores/sweep.ts';

test('a sweep goes on until nothing is left, and outlives a fault', async () => {
  let left = 3_500;
  let calls = 0;
  const warnings: string[] = [];
  const records = {
    async sweep(_before: number, limit: number) {
      if (calls++ === 0) throw new Error('away');
      const swept = Math.min(limit, left);
      left -= swept;
      return swept;
    },
  };
  const clock = { now: () => 1_000 };
  const parts = { records, clock, warn: (text: string) => warnings.push(text) };
  const stop = sweepRecords(parts as never, 30);
  while (left > 0) await sleep(5);
  await stop();
  const before = calls;
  await sleep(60);
  assert.equal(calls, before, 'it has ended');
  assert.deepEqual(warnings, ['the sweep of records: away']);
});
