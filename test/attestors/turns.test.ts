import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTurns } from '../../src/attestors/turns.ts';
import { refusal } from '../conformance/key-store.ts';

function fixture(inFlightMax: number, waitingMax: number) {
  const turn = createTurns({ inFlightMax, waitingMax });
  const begun: string[] = [];
  const ends: (() => void)[] = [];
  const call = (address: string) =>
    turn(address, () => {
      begun.push(address);
      return new Promise<void>((resolve) => ends.push(resolve));
    });
  const end = async (count: number) => {
    for (let left = count; left > 0; left--) {
      ends.shift()?.();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { call, begun, end };
}

test('an address with one call does not wait for all those of another', async () => {
  const { call, begun, end } = fixture(2, 100);
  const flood = Array.from({ length: 50 }, () => call('10.0.0.66'));
  const honest = [call('10.0.0.7'), call('10.0.0.8'), call('10.0.0.7')];
  await end(6);
  assert.deepEqual(begun.slice(2), [
    '10.0.0.66',
    '10.0.0.7',
    '10.0.0.8',
    '10.0.0.66',
    '10.0.0.7',
    '10.0.0.66',
  ]);
  await end(100);
  await Promise.all([...flood, ...honest]);
});

test('where too many wait it is the longest line that loses one', async () => {
  const { call, begun, end } = fixture(1, 10);
  const flood = Array.from({ length: 30 }, () => call('10.0.0.66'));
  const honest = call('10.0.0.7');
  const refused = flood.slice(10).map((one) => assert.rejects(one, refusal('temporarily_unavailable')));
  await Promise.all(refused);
  await end(30);
  await honest;
  assert.equal(begun.filter((address) => address === '10.0.0.66').length, 10);
  assert.equal(await Promise.race([call('10.0.0.9'), end(1)]), undefined);
});
