/** The built program has all of OAuth in it, loads it only where it is wanted, and says nothing about it. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { BUILT } from './installation.ts';

assert.ok(existsSync(BUILT), 'dist/main.js is missing: make build');
process.env.MINTMARK_TEST_PROGRAM = BUILT;
await import('../oauth/loading.test.ts');
await import('../oauth/machines.test.ts');
await import('../oauth/people.test.ts');
const { startOAuth } = await import('../oauth/server.ts');

test('nor does the library write anything', async (t) => {
  const server = await startOAuth(t);
  assert.equal(await server.stop(), 0);
  assert.doesNotMatch(server.output(), /oidc-provider|Unsupported/);
});
