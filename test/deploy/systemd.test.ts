/** The units: systemd's own checks of them, and its protocols spoken by its own tools. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { isMissing } from '../stores/requires.ts';
import { askToken, createDirectory, hasCommand, ROOT, run, SOURCE, writeConfig } from './program.ts';

const UNITS = join(ROOT, 'deploy/systemd');
const NO_SYSTEMD = 'systemd-analyze or systemd-socket-activate is missing: apt-get install systemd';
const hasSystemd = (await hasCommand('systemd-analyze')) && (await hasCommand('systemd-socket-activate'));
const dropIns = readdirSync(UNITS).filter((name) => /^mintmark-.*\.conf$/.test(name));

/** The units as an operator would lay them down, but with a program that is there to be run. */
function installUnits(t: TestContext, withDropIns: readonly string[]): string {
  const directory = createDirectory(t);
  const put = (source: string, name: string) => {
    const text = readFileSync(join(UNITS, source), 'utf8');
    writeFileSync(
      join(directory, name),
      text.replace('ExecStart=mintmark ', `ExecStart=${process.execPath} ${SOURCE} `),
    );
  };
  mkdirSync(join(directory, 'mintmark.service.d'));
  put('mintmark.service', 'mintmark.service');
  put('mintmark.socket', 'mintmark.socket');
  for (const name of withDropIns) put(name, `mintmark.service.d/${name}`);
  return directory;
}

for (const withDropIns of [[], dropIns]) {
  const title = ['the units', ...withDropIns].join(' with ');

  test(`systemd-analyze verify finds nothing wrong in ${title}`, async (t) => {
    if (isMissing(t, hasSystemd, NO_SYSTEMD)) return;
    const directory = installUnits(t, withDropIns);
    const found = await run(
      'systemd-analyze',
      ['verify', './mintmark.service', './mintmark.socket'],
      directory,
    );
    assert.deepEqual(found, { code: 0, stdout: '', stderr: '' });
  });
}

test('systemd-analyze security gives the service an exposure of at most 2 of 10', async (t) => {
  if (isMissing(t, hasSystemd, NO_SYSTEMD)) return;
  const args = ['security', '--offline=true', '--threshold=20', '--no-pager', './mintmark.service'];
  const { code, stdout, stderr } = await run('systemd-analyze', args, installUnits(t, []));
  assert.equal(code, 0, stdout + stderr);
  t.diagnostic(stdout.trim().split('\n').at(-1)!);
});

/** A datagram socket like the service manager's; yields each message. */
async function openNotifySocket(t: TestContext, path: string): Promise<AsyncIterator<string>> {
  const receiver = spawn('python3', ['-uc', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => receiver.kill());
  const messages = createInterface(receiver.stdout)[Symbol.asyncIterator]();
  assert.equal((await messages.next()).value, 'bound');
  return messages;
}

const RECEIVER = `import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound")
while True: print(receiver.recv(4096).decode())`;

async function startActivated(t: TestContext, notifySocket: string): Promise<[ChildProcess, string]> {
  const { file, socket } = writeConfig(
    createDirectory(t),
    `issuer: http://127.0.0.1:1
keys: { store: memory }
status: off
rules:
  - { name: own, match: ["unix:uid:${process.getuid?.()}"], subject: own, audiences: [sts.amazonaws.com] }
`,
  );
  const args = [
    '--listen',
    socket,
    '--listen',
    `${socket}.second`,
    '--setenv',
    `NOTIFY_SOCKET=${notifySocket}`,
  ];
  const program = [process.execPath, SOURCE, 'serve', '--config', file];
  const child = spawn('systemd-socket-activate', [...args, ...program], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  while (!existsSync(socket)) await new Promise((resolve) => setTimeout(resolve, 10));
  return [child, socket];
}

test('the first caller starts the issuer, waits for it and gets a token; systemd is told of each state', async (t) => {
  if (isMissing(t, hasSystemd && (await hasCommand('python3')), `${NO_SYSTEMD}; or python3 is`)) return;
  const notifySocket = join(createDirectory(t), 'notify.sock');
  const messages = await openNotifySocket(t, notifySocket);
  const [child, socket] = await startActivated(t, notifySocket);

  assert.match((await askToken(socket, 'sts.amazonaws.com')).text, /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  assert.equal((await messages.next()).value, 'READY=1');
  assert.match((await askToken(`${socket}.second`, 'sts.amazonaws.com')).text, /^eyJ[\w-]+\./);

  child.kill('SIGHUP');
  assert.equal((await messages.next()).value, 'RELOADING=1');
  assert.equal((await messages.next()).value, 'READY=1');

  child.kill('SIGTERM');
  assert.equal((await messages.next()).value, 'STOPPING=1');
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  assert(existsSync(socket), 'the socket is its maker’s and stays');
});
