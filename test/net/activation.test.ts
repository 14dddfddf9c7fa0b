import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import type { IssuerError } from '../../src/core/errors.ts';
import { inheritedSockets, parseActivation } from '../../src/net/activation.ts';
import { isUnixListener } from '../../src/net/kernel.ts';
import { start, startActor } from '../attack/actor.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const ACTIVATED = fileURLToPath(new URL('../attack/activated.ts', import.meta.url));

test('sockets are named in the order of their descriptors', () => {
  const variables = { LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'api:admin' };
  assert.deepEqual(parseActivation(variables, 7), [
    { fd: 3, name: 'api' },
    { fd: 4, name: 'admin' },
  ]);
  assert.deepEqual(parseActivation({ LISTEN_PID: '7', LISTEN_FDS: '1' }, 7), [{ fd: 3, name: '' }]);
  assert.deepEqual(parseActivation({ LISTEN_PID: '7', LISTEN_FDS: '0' }, 7), []);
});

test('variables that are not for this process are ignored', () => {
  for (const LISTEN_PID of [undefined, '', '8', '07', ' 7', '7 ', '7.0', '-7'])
    assert.deepEqual(parseActivation({ LISTEN_PID, LISTEN_FDS: 'nonsense' }, 7), []);
});

test('variables that contradict themselves are an error', () => {
  for (const LISTEN_FDS of [undefined, '', '-1', '1x', '65', '1000000000000'])
    assert.throws(() => parseActivation({ LISTEN_PID: '7', LISTEN_FDS }, 7), { code: 'server_error' });
  assert.throws(() => parseActivation({ LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'a' }, 7), {
    code: 'server_error',
  });
});

test('whatever the variables hold, descriptors from 3 on come out, or a clear error', () => {
  const text = fc.option(fc.oneof(fc.string(), fc.nat(99).map(String), fc.constant('7')), { nil: undefined });
  fc.assert(
    fc.property(text, text, text, (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES) => {
      try {
        const sockets = parseActivation({ LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES }, 7);
        assert.ok(sockets.length <= 64);
        for (const [index, { fd }] of sockets.entries()) assert.equal(fd, 3 + index);
      } catch (error) {
        assert.equal((error as IssuerError).code, 'server_error');
      }
    }),
  );
});

test('only a listening UNIX stream socket is one', async (t) => {
  const path = join(createDirectory(t), 'socket');
  const server = createServer().listen(path);
  t.after(() => server.close());
  const tcp = createServer().listen(0, '127.0.0.1');
  t.after(() => tcp.close());
  await new Promise((resolve) => tcp.once('listening', resolve));
  const descriptorOf = (from: unknown) => (from as { _handle: { fd: number } })._handle.fd;
  assert.equal(isUnixListener(descriptorOf(server)), true);
  assert.equal(isUnixListener(descriptorOf(tcp)), false);
  const file = openSync('/dev/null', 'r');
  assert.equal(isUnixListener(file), false);
  closeSync(file);
  assert.equal(isUnixListener(0x7fff), false);
  assert.throws(() => inheritedSockets({ LISTEN_PID: String(process.pid), LISTEN_FDS: '64' }), {
    code: 'server_error',
    message: /no listening UNIX stream/,
  });
});

test('a socket that systemd opened is served, and left to it', async (t) => {
  const available = existsSync('/usr/bin/systemd-socket-activate');
  if (isMissing(t, available, 'takes systemd-socket-activate')) return;
  const path = join(createDirectory(t), 'run', 'api.sock');
  mkdirSync(join(path, '..'), { mode: 0o755 });
  const command = [
    'systemd-socket-activate',
    '--fdname=api',
    '-l',
    path,
    '-E',
    'PATH',
    process.execPath,
    ACTIVATED,
  ];
  const server = start(t, command);
  while (!existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 5));
  const caller = startActor(t, 'say(ask(connect(sys.argv[1])))\nwait()', path);
  assert.equal(await server.hear(), 'serving api unix:fd/3');
  assert.equal(await caller.hear(), `200 hello ${caller.pid}`);
  server.process.stdin?.end();
  await server.ended();
  assert.ok(existsSync(path));
});

test('a program started without its own LISTEN_PID serves nothing', async (t) => {
  const child = spawn(process.execPath, [ACTIVATED], {
    env: { LISTEN_PID: '1', LISTEN_FDS: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const [said] = await new Promise<[Buffer]>((resolve) =>
    child.stdout.once('data', (data) => resolve([data])),
  );
  assert.equal(String(said), 'serving nothing\n');
});
