import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listenForAnswer } from '../../src/compose/first-answer.ts';
import { type ErrorCode, IssuerError } from '../../src/core/errors.ts';
import type { Authority } from '../../src/core/ports.ts';

/** What it answers with is for each test to say; undefined: an answer. */
function fixture(answer: () => ErrorCode | undefined) {
  let asked = 0;
  const call = async () => {
    asked++;
    const code = answer();
    if (code !== undefined) throw new IssuerError(code, 'why');
    return {} as never;
  };
  const authority: Authority = { issueToken: call, explain: call, close: async () => undefined };
  return { ...listenForAnswer({ authority, random: Math.random, waitMs: 1 }), asked: () => asked };
}

const REQUEST = { audience: ['a'] };

test('it is not ready before the authority has answered, and ready for ever after', async () => {
  let code: ErrorCode | undefined = 'temporarily_unavailable';
  const { authority, notReady } = fixture(() => code);
  assert.deepEqual(notReady(), ['no answer of the authority yet']);
  await assert.rejects(authority.issueToken([], REQUEST));
  assert.deepEqual(notReady(), ['no answer of the authority yet: why']);
  code = undefined;
  await authority.issueToken([], REQUEST);
  code = 'temporarily_unavailable';
  await assert.rejects(authority.issueToken([], REQUEST));
  assert.deepEqual(notReady(), []);
});

for (const [code, isReady] of [
  ['access_denied', true],
  ['invalid_target', true],
  ['too_many_requests', true],
  ['peer_unproven', false],
  ['server_error', false],
] as const)
  test(`${code} is ${isReady ? 'an answer' : 'none'}`, async () => {
    const { authority, notReady } = fixture(() => code);
    await assert.rejects(authority.issueToken([], REQUEST));
    assert.equal(notReady().length === 0, isReady);
  });

test('where nobody asks it does so itself, again and again until there is an answer', async () => {
  let left = 3;
  const { seek, asked, notReady } = fixture(() => (left-- > 0 ? 'temporarily_unavailable' : undefined));
  seek();
  while (notReady().length > 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal(asked(), 4);
});

test('closed, it asks no more', async () => {
  const { seek, close, asked } = fixture(() => 'temporarily_unavailable');
  seek();
  close();
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(asked(), 1);
});
