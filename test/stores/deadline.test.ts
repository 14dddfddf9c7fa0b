import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { limitTime } from '../../src/stores/deadline.ts';
import { open } from '../../src/stores/memory.ts';
import { keyStoreSuite, refusal } from '../conformance/key-store.ts';

keyStoreSuite('memory within a time limit', async () => limitTime(await open()));

test('a store that hangs is a fault, and what it does later is its own affair', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const never = () => new Promise<never>(() => undefined);
  const calls = { read: never, write: never, remove: never };
  const hung: KeyStore = { ...calls, shared: true, close: async () => undefined };
  const store = limitTime(hung, 2);
  const answers = [store.read('a'), store.write('a', new Uint8Array(), undefined), store.remove('a')];
  const refused = answers.map((answer) => assert.rejects(answer, refusal('temporarily_unavailable', /2 s/)));
  t.mock.timers.tick(2000);
  await Promise.all(refused);
});
