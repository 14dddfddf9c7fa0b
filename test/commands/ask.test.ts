import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { adminSocket, ask, parseAnswer, workloadSocket } from '../../src/commands/ask.ts';
import { CommandError, EXIT, type Io, Values } from '../../src/commands/command.ts';
import { mintmark } from '../system/start.ts';

const answer = (status: number, body: string) => ({ status, body: Buffer.from(body) });

suite('asking a running issuer', () => {
  test('an empty variable says nothing', () => {
    const env = { MINTMARK_SOCKET: '', MINTMARK_ADMIN: '', XDG_RUNTIME_DIR: '' };
    const invocation = { io: { env, uid: 7 } as unknown as Io, values: new Values({}), words: [] };
    assert.ok(workloadSocket(invocation).path.startsWith('/'));
    assert.match(adminSocket(invocation).path, /^\/.*\/admin\.sock$/);
  });

  test('an empty option is a mistake, and MINTMARK_CONFIG= names no file', async () => {
    for (const args of [
      ['token', '--aud', 'x', '--socket', ''],
      ['keys', 'list', '--admin='],
    ]) {
      const { code, stderr } = await mintmark(args);
      assert.equal(code, EXIT.usage);
      assert.match(stderr, /^mintmark: --(?:socket|admin) is empty/);
    }
    const { stderr } = await mintmark(['check'], { env: { MINTMARK_CONFIG: '' } });
    assert.doesNotMatch(stderr, /ENOENT|cannot read/);
  });

  test('a socket that is not there: what names another one', async () => {
    for (const [args, option] of [
      [['users', 'list', '--admin'], 'MINTMARK_ADMIN or --admin'],
      [['explain', '--pid', '1', '--aud', 'x', '--admin'], 'MINTMARK_ADMIN or --admin'],
      [['token', '--aud', 'x', '--socket'], 'MINTMARK_SOCKET or --socket'],
    ] as const) {
      const { code, stderr } = await mintmark([...args, '/nowhere/some.sock']);
      assert.equal(code, EXIT.unreachable);
      assert.ok(stderr.includes(`${option} names another socket`), stderr);
    }
  });

  test('never goes by TCP', async () => {
    await assert.rejects(
      ask({ path: '', namedBy: '' }, { path: '/' }),
      (error: CommandError) => error.exitCode === EXIT.usage,
    );
  });

  test('what is no answer of an issuer is said to be none', () => {
    for (const [status, body] of [
      [200, '<html>'],
      [200, 'null'],
      [200, ''],
      [404, '<html>'],
      [404, '{}'],
    ] as const)
      assert.throws(
        () => parseAnswer(answer(status, body)),
        (error: CommandError) => error instanceof CommandError && /is no issuer/.test(error.message),
      );
    assert.throws(() => parseAnswer(answer(409, '{"error":"conflict","reason":"why"}')), /^.*conflict: why$/);
  });
});
