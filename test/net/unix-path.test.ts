import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Listener, listen } from '../../src/net/listen.ts';
import type { SocketPath } from '../../src/net/unix-path.ts';
import { start, startActor } from '../attack/actor.ts';
import { isRoot, SERVE } from '../attack/program.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

function choosePath(t: TestContext, name = 'api.sock'): string {
  const path = join(createDirectory(t), 'run', name);
  mkdirSync(dirname(path), { mode: 0o755 });
  return path;
}

async function open(t: TestContext, target: SocketPath): Promise<Listener> {
  const listener = await listen({ target, handler: (_, response) => response.end('hello') });
  t.after(() => listener.close(0));
  return listener;
}

/** A socket that nobody listens on any more. */
async function leaveStale(t: TestContext, path: string): Promise<void> {
  const script = 's = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\nsay("bound")';
  const actor = startActor(t, script, path);
  await actor.hear();
  await actor.ended();
}

const modeOf = (path: string) => (lstatSync(path).mode & 0o7777).toString(8);

test('a socket has its mode and group from the first moment it can be seen', async (t) => {
  const before = process.umask(0);
  t.after(() => process.umask(before));
  const path = choosePath(t);
  const script = `
seen = set()
say("watching")
while True:
    for name in os.listdir(sys.argv[1]):
        if name in ("api.sock.lock", "stop"): continue
        try: stat = os.lstat(os.path.join(sys.argv[1], name))
        except OSError: continue
        seen.add((name == "api.sock", oct(stat.st_mode & 0o7777), stat.st_gid))
    if (True, "0o640", int(sys.argv[2])) in seen and os.path.exists(sys.argv[1] + "/stop"): break
say(sorted(seen))`;
  const gid = isRoot ? 4321 : (process.getgid?.() ?? 0);
  const watcher = startActor(t, script, dirname(path), String(gid));
  await watcher.hear();
  for (let round = 0; round < 20; round++) {
    const listener = await listen({ target: { path, mode: 0o640, gid }, handler: () => {} });
    await listener.close(0);
  }
  const listener = await open(t, { path, mode: 0o640, gid });
  assert.equal(process.umask(), 0);
  writeFileSync(join(dirname(path), 'stop'), '');
  const seen = (await watcher.hear()).match(/\([^)]*\)/g) ?? [];
  const finals = seen.filter((entry) => entry.includes('True'));
  assert.deepEqual(finals, [`(True, '0o640', ${gid})`]);
  // Under its first name it is ours alone, or already final.
  for (const entry of seen) assert.match(entry, /0o600|0o640/);
  assert.equal(listener.address, `unix:${path}`);
});

test('the default mode is 0660', async (t) => {
  const path = choosePath(t);
  await open(t, { path });
  assert.equal(modeOf(path), '660');
});

test('closing removes the socket and keeps the lock file', async (t) => {
  const path = choosePath(t);
  const listener = await open(t, { path });
  await listener.close(0);
  await listener.close(0);
  assert.deepEqual(readdirSync(dirname(path)), [`${basename(path)}.lock`]);
  await open(t, { path });
});

test('closing leaves a socket alone that is not ours any more', async (t) => {
  const path = choosePath(t);
  const listener = await open(t, { path });
  unlinkSync(path);
  const other = createServer().listen(path);
  t.after(() => other.close());
  await new Promise((resolve) => other.once('listening', resolve));
  await listener.close(0);
  assert.ok(existsSync(path));
});

test('a stale socket is taken over', async (t) => {
  const path = choosePath(t);
  await leaveStale(t, path);
  await open(t, { path });
  assert.match(await startActor(t, 'say(ask(connect(sys.argv[1])))', path).hear(), /^200 hello/);
});

test('a socket in use is an error and goes on', async (t) => {
  const path = choosePath(t);
  const other = createServer((socket) => socket.on('error', () => {}).end('other')).listen(path);
  t.after(() => other.close());
  await new Promise((resolve) => other.once('listening', resolve));
  await assert.rejects(open(t, { path }), { code: 'conflict', message: /socket in use/ });
  assert.equal(await startActor(t, 'say(connect(sys.argv[1]).recv(9).decode())', path).hear(), 'other');
});

test('a server that was stopped with a full queue still has its socket', async (t) => {
  const path = choosePath(t);
  const script = `
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(0)
full = []
while True:
    c = socket.socket(socket.AF_UNIX)
    c.setblocking(False)
    full.append(c)
    if c.connect_ex(sys.argv[1]): break
say("full")
wait()`;
  await startActor(t, script, path).hear();
  await assert.rejects(open(t, { path }), { code: 'conflict', message: /EAGAIN/ });
});

test('a second Mintmark on the same path refuses to start, and takes over when the first is killed', async (t) => {
  const path = choosePath(t);
  const first = start(t, [...SERVE, path]);
  assert.equal(await first.hear(), 'ready');
  const second = start(t, [...SERVE, path]);
  await assert.rejects(second.hear(), /another Mintmark serves/);
  await second.ended();
  assert.notEqual(second.process.exitCode, 0);
  first.process.kill('SIGKILL');
  await first.ended();
  const third = start(t, [...SERVE, path]);
  assert.equal(await third.hear(), 'ready');
  assert.match(await startActor(t, 'say(ask(connect(sys.argv[1])))', path).hear(), /^200 /);
});

test('of many that start at once on a stale socket exactly one serves', async (t) => {
  const path = choosePath(t);
  await leaveStale(t, path);
  const starting = Array.from({ length: 8 }, () => listen({ target: { path }, handler: () => {} }));
  const results = await Promise.allSettled(starting);
  const listeners = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  t.after(() => Promise.all(listeners.map((listener) => listener.close(0))));
  assert.equal(listeners.length, 1);
  assert.equal(readdirSync(dirname(path)).length, 2);
});

test('a lock file that was replaced is noticed', async (t) => {
  const path = choosePath(t);
  await open(t, { path });
  renameSync(`${path}.lock`, `${path}.old`);
  writeFileSync(`${path}.lock`, '', { mode: 0o600 });
  // The lock is free, but the socket answers.
  await assert.rejects(open(t, { path }), { code: 'conflict', message: /socket in use/ });
});

test('what is no socket is an error and stays as it is', async (t) => {
  const path = choosePath(t);
  writeFileSync(path, 'precious');
  await assert.rejects(open(t, { path }), { code: 'conflict', message: /no socket/ });
  assert.equal(readFileSync(path, 'utf8'), 'precious');
  unlinkSync(path);
  for (const target of ['elsewhere', '/dev/null', join(dirname(path), 'stale.sock')]) {
    symlinkSync(target, path);
    await assert.rejects(open(t, { path }), { code: 'conflict', message: /no socket/ });
    assert.ok(lstatSync(path).isSymbolicLink());
    unlinkSync(path);
  }
  mkdirSync(path);
  await assert.rejects(open(t, { path }), { code: 'conflict', message: /no socket/ });
  assert.ok(!existsSync(join(dirname(path), 'elsewhere')));
});

test('a lock file that is a symbolic link is not followed', async (t) => {
  const path = choosePath(t);
  const target = join(dirname(path), 'target');
  symlinkSync(target, `${path}.lock`);
  await assert.rejects(open(t, { path }), { code: 'ELOOP' });
  assert.ok(!existsSync(target));
});

test('a directory that others may write to is refused, sticky or not', async (t) => {
  const path = choosePath(t);
  for (const mode of [0o775, 0o757, 0o777, 0o1777]) {
    chmodSync(dirname(path), mode);
    await assert.rejects(open(t, { path }), { code: 'server_error', message: /writable/ }, mode.toString(8));
  }
  assert.deepEqual(readdirSync(dirname(path)), []);
});

test('a volume of its own, as the kubelet mounts it, may be open to all', async (t) => {
  const path = choosePath(t);
  for (const mode of ['0777', '2777', '1777']) {
    const options = ['-t', 'tmpfs', '-o', `mode=${mode}`, 'tmpfs', dirname(path)];
    if (isMissing(t, isRoot && spawnSync('mount', options).status === 0, 'takes root: it mounts')) return;
    try {
      const listener = await open(t, { path });
      assert.ok(lstatSync(path).isSocket());
      await listener.close(0);
    } finally {
      spawnSync('umount', ['--lazy', dirname(path)]);
    }
  }
});

test('a directory of somebody else is refused', async (t) => {
  if (isMissing(t, isRoot, 'takes root: it gives a directory away')) return;
  const path = choosePath(t);
  chownSync(dirname(path), 1234, 0);
  await assert.rejects(open(t, { path }), { code: 'server_error', message: /belongs to uid 1234/ });
});

test('a missing directory, or a symbolic link in its place, is refused', async (t) => {
  const path = choosePath(t);
  const missing = join(dirname(path), 'missing', 'api.sock');
  await assert.rejects(open(t, { path: missing }), { code: 'server_error', message: /no directory/ });
  symlinkSync('/run', dirname(missing));
  await assert.rejects(open(t, { path: missing }), { code: 'server_error', message: /no directory/ });
});

test('a path that the kernel cannot hold, or that is not in normal form, is refused', async (t) => {
  const directory = dirname(choosePath(t));
  const longest = join(directory, 'a'.repeat(107 - directory.length - 1));
  await assert.rejects(open(t, { path: `${longest}a` }), { code: 'server_error', message: /108 bytes/ });
  await assert.rejects(open(t, { path: 'api.sock' }), { code: 'server_error', message: /absolute/ });
  await assert.rejects(open(t, { path: `${directory}/../x/api.sock` }), { code: 'server_error' });
  await assert.rejects(open(t, { path: `${directory}/a\0b` }), { code: 'server_error' });
  await open(t, { path: longest });
});

test('a group that cannot be given leaves nothing behind', async (t) => {
  if (isMissing(t, isRoot, 'takes root: it becomes another user')) return;
  const path = choosePath(t);
  chownSync(dirname(path), 1234, 1234);
  const program = `
import { listen } from '${new URL('../../src/net/listen.ts', import.meta.url)}';
process.setgroups([]); process.setgid(1234); process.setuid(1234);
await listen({ target: { path: '${path}', gid: 0 }, handler() {} }).catch((error) => console.log(error.code));`;
  assert.equal(await start(t, [process.execPath, '--input-type=module', '-e', program]).hear(), 'EPERM');
  assert.deepEqual(readdirSync(dirname(path)), [`${basename(path)}.lock`]);
});
