import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';

/** Skips the test with the reason unless the machine can run it; MINTMARK_TEST_REQUIRE_ALL=1 makes that a failure. */
export function isMissing(t: TestContext, present: boolean, reason: string): boolean {
  if (present) return false;
  assert.notEqual(process.env.MINTMARK_TEST_REQUIRE_ALL, '1', reason);
  t.skip(reason);
  return true;
}
