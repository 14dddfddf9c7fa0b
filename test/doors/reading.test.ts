import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createReading, type ReadingLimits } from '../../src/doors/reading.ts';
import { refusal } from '../conformance/key-store.ts';

function fixture(limits: Partial<ReadingLimits> = {}) {
  const read = createReading({ most: 8, mostPerAddress: 2, deadlineMs: 60_000, maxBytes: 100, ...limits });
  return (remoteAddress: string) => {
    const body = new PassThrough();
    const request = Object.assign(body, { headers: {}, socket: { remoteAddress } });
    return { body, read: read(request as unknown as IncomingMessage) };
  };
}

/** An honest body is there at once. */
async function assertRead({ body, read }: ReturnType<ReturnType<typeof fixture>>): Promise<void> {
  body.end('whole');
  assert.equal((await read).toString(), 'whole');
}

const GAVE_WAY = refusal('temporarily_unavailable', /too many bodies/);

test('of one address only some bodies are read at once: the one begun first gives way', async () => {
  const begin = fixture();
  const [first, second, honest] = ['10.0.0.66', '10.0.0.66', '10.0.0.66'].map(begin);
  first!.body.end('too late');
  await assert.rejects(first!.read, GAVE_WAY);
  await assertRead(honest!);
  await assertRead(second!);
});

test('slow bodies of many addresses keep no honest one out', async () => {
  const begin = fixture();
  const slow = Array.from({ length: 20 }, (_, index) => begin(`10.0.1.${index}`));
  const gaveWay = slow.slice(0, 13).map(({ read }) => assert.rejects(read, GAVE_WAY));
  for (let count = 0; count < 50; count++) await assertRead(begin('10.0.0.7'));
  for (const { body } of slow.slice(0, 13)) body.end();
  await Promise.all(gaveWay);
  for (const one of slow.slice(13)) await assertRead(one);
});

test('a body that is not there in time is refused, and no byte of it is read any more', async () => {
  const begin = fixture({ deadlineMs: 20 });
  const late = begin('10.0.0.66');
  late.body.write('x');
  await assert.rejects(late.read, refusal('request_timeout', /after 20 ms/));
  assert.equal(late.body.isPaused(), true);
  await assertRead(begin('10.0.0.66'));
});

test('what is too large is refused', async () => {
  const { body, read } = fixture()('10.0.0.7');
  body.end('x'.repeat(101));
  await assert.rejects(read, refusal('request_too_large'));
});

test('what gives way is read to its end before it is answered, and nothing of it is kept', async () => {
  const begin = fixture();
  const [first, ...others] = ['10.0.0.66', '10.0.0.66', '10.0.0.66'].map(begin);
  let isAnswered = false;
  const answered = assert.rejects(first!.read, GAVE_WAY).then(() => {
    isAnswered = true;
  });
  first!.body.write('x');
  await new Promise(setImmediate);
  assert.equal(isAnswered, false);
  first!.body.end('x');
  await answered;
  assert.equal(first!.body.readableLength, 0);
  for (const other of others) await assertRead(other);
});

test('what gives way and does not end is answered all the same', async () => {
  const begin = fixture({ deadlineMs: 20 });
  const [first, ...others] = ['10.0.0.66', '10.0.0.66', '10.0.0.66'].map(begin);
  const rest = others.map(({ read }) => assert.rejects(read, refusal('request_timeout')));
  await assert.rejects(first!.read, GAVE_WAY);
  await Promise.all(rest);
});

test('what gives way and sends too much is answered at once', async () => {
  const begin = fixture();
  const [first, ...others] = ['10.0.0.66', '10.0.0.66', '10.0.0.66'].map(begin);
  first!.body.write('x'.repeat(101));
  await assert.rejects(first!.read, GAVE_WAY);
  for (const other of others) await assertRead(other);
});
