import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLimiter } from '../../src/attestors/rate-limit.ts';
import { IssuerError } from '../../src/core/errors.ts';

test('a burst goes through, then so many a second; others are not touched', () => {
  let now = 0;
  const limit = createLimiter({ perSecond: 2, burst: 3, elapsed: () => now });
  for (let asked = 0; asked < 3; asked++) limit('a');
  assert.throws(
    () => limit('a'),
    (error: IssuerError) => error.code === 'too_many_requests' && error.retryAfterSeconds === 1,
  );
  limit('b');
  now += 0.5;
  limit('a');
  assert.throws(() => limit('a'), IssuerError);
  now += 60;
  for (let asked = 0; asked < 3; asked++) limit('a');
  assert.throws(() => limit('a'), IssuerError);
});
