/** `mintmark secret`: a secret and its hash, or the hash alone. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { hashOf } from '../oauth/server.ts';
import { mintmark } from '../system/start.ts';

suite('mintmark secret', () => {
  test('makes another secret of 256 bits every time, and its hash', async () => {
    const [one, two] = await Promise.all([mintmark(['secret', '--json']), mintmark(['secret'])]);
    assert.deepEqual([one.code, two.code, one.stderr, two.stderr], [0, 0, '', '']);
    const { secret, hash } = JSON.parse(one.stdout);
    assert.match(secret, /^[\w-]{43}$/);
    assert.equal(hash, hashOf(secret));
    const [, other = '', itsHash] = /^secret {2}(\S+)\nhash {4}(\S+)\n$/.exec(two.stdout) ?? [];
    assert.equal(itsHash, hashOf(other));
    assert.notEqual(other, secret);
  });

  test('the hash of a secret from stdin, without the line end and without the secret', async () => {
    const secret = ' a secret with blanks and +signs ';
    const run = (input: string, ...args: string[]) => mintmark(['secret', '--stdin', ...args], { input });
    for (const end of ['', '\n', '\r\n'])
      assert.equal((await run(secret + end)).stdout, `${hashOf(secret)}\n`);
    assert.deepEqual(JSON.parse((await run(secret, '--json')).stdout), { hash: hashOf(secret) });
    const short = await run('hunter2');
    assert.deepEqual([short.code, short.stdout], [0, `${hashOf('hunter2')}\n`]);
    assert.match(short.stderr, /is short/);
    for (const wrong of ['', '\n', 'two\nlines', 'pässword']) {
      const { code, stdout, stderr } = await run(wrong);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /one line of printable ASCII/);
    }
  });
});
