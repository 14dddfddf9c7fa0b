/** The paths and hashes of what real callers run. */
import assert from 'node:assert/strict';
import { copyFileSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { open } from '../../src/attestors/unix.ts';
import { start, startActor } from '../attack/actor.ts';
import { ASK, copyPython, DEFAULTS, EXE, parse, ROOT_NEEDED, run, sha256 } from '../attack/caller.ts';
import { canUnshare, isRoot, mountFuse, SERVE } from '../attack/program.ts';
import { clock, createDirectory, startServer } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

test('an executable has its path and its hash, only where they are wanted', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'workload');
  const script = `drop(1234)\nsock = connect(sys.argv[1])\nsay(ask(sock, "${EXE}"))\nsay(ask(sock, "/?wanted=unix:path"))\nsay(ask(sock))`;
  const actor = run(t, python, script, [path]);
  const { facts } = parse(await actor.hear()).body;
  assert.equal(facts['unix.path'], python);
  assert.equal(facts['unix.sha256'], sha256(python));
  const onlyPath = parse(await actor.hear()).body;
  assert.ok(onlyPath.selectors.includes(`unix:path:${python}`));
  assert.equal(onlyPath.facts['unix.sha256'], undefined);
  assert.equal(parse(await actor.hear()).body.facts['unix.path'], undefined);
});

test('a binary that was replaced while it runs has the hash of what runs, and no path', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'workload');
  const expected = sha256(python);
  const actor = run(t, python, `wait()\n${ASK}`, [path]);
  copyFileSync('/bin/sleep', `${python}.new`);
  renameSync(`${python}.new`, python);
  actor.go();
  const { body } = parse(await actor.hear());
  assert.equal(body.facts['unix.sha256'], expected);
  assert.deepEqual(body.unproven['unix:path'], 'exe_deleted');
});

test('a binary that is replaced while its caller is connected keeps its hash and loses its path', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'workload');
  const expected = sha256(python);
  const script = `drop(1234)\nsock = connect(sys.argv[1])\nfor _ in range(2):\n  say(ask(sock, "${EXE}"))\n  wait()`;
  const actor = run(t, python, script, [path]);
  assert.equal(parse(await actor.hear()).body.facts['unix.path'], python);
  copyFileSync('/bin/sleep', `${python}.new`);
  renameSync(`${python}.new`, python);
  actor.go();
  const { status, body } = parse(await actor.hear());
  assert.equal(status, 200);
  assert.equal(body.facts['unix.sha256'], expected);
  assert.equal(body.unproven['unix:path'], 'exe_deleted');
});

test('a path that ends like a deleted one never matches', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const { body } = parse(await run(t, copyPython(t, 'workload (deleted)'), ASK, [path]).hear());
  assert.equal(body.unproven['unix:path'], 'exe_deleted');
});

test('a path that is no text is not proven', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'workload');
  const script = `
odd = sys.executable.encode() + b"\\xff"
os.rename(sys.executable, odd)
os.environ["PYTHONHOME"] = "/usr"
os.execv(odd, [odd, "-c", sys.argv[2], sys.argv[1]])`;
  const { body } = parse(await run(t, python, script, [path, `from kit import *\n${ASK}`]).hear());
  assert.equal(body.unproven['unix:path'], 'exe_path_not_text');
  assert.match(body.facts['unix.sha256'], /^[0-9a-f]{64}$/);
});

test('an executable over the limit is not hashed, and still has its path', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t, {
    attestor: open({ ...DEFAULTS, executableLimitMiB: 1 }, { clock }),
  });
  const { body } = parse(await startActor(t, ASK, path).hear());
  assert.equal(body.unproven['unix:sha256'], 'exe_too_large');
  assert.match(body.facts['unix.path'], /python/);
});

test('an executable on FUSE is refused before it is touched, even while the file system hangs', async (t) => {
  if (isMissing(t, canUnshare && existsSync('/dev/fuse'), 'takes root, the right to mount and /dev/fuse'))
    return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'allowed');
  const { prog, daemon } = await mountFuse(t, python);
  const script = `drop(1234)\nsock = connect(sys.argv[1])\nsay(ask(sock, "${EXE}"))\nwait()\nsay(ask(sock, "${EXE}"))\nwait()`;
  const actor = run(t, prog, script, [path]);
  for (const hangs of [false, true]) {
    if (hangs) {
      daemon.process.kill('SIGSTOP');
      actor.go();
    }
    const { status, body } = parse(await actor.hear());
    assert.equal(status, 200);
    assert.equal(body.unproven['unix:sha256'], 'unsupported_filesystem');
  }
  daemon.process.kill('SIGCONT');
});

test('in a mount namespace of its own a caller has no path, and the hash tells the truth', async (t) => {
  if (isMissing(t, canUnshare, 'takes root and the right to mount')) return;
  const { path } = await startServer(t);
  const evil = copyPython(t, 'evil');
  const allowed = copyPython(t, 'allowed');
  copyFileSync('/bin/sleep', allowed);
  const wrapper = [
    'unshare',
    '-m',
    'sh',
    '-c',
    'mount --bind "$0" "$1" && shift && exec "$@"',
    evil,
    allowed,
  ];
  const actor = start(t, [...wrapper, allowed, '-c', `from kit import *\n${ASK}`, path]);
  const { body } = parse(await actor.hear());
  assert.equal(body.unproven['unix:path'], 'other_mount_namespace');
  assert.equal(body.facts['unix.sha256'], sha256(evil));
});

test('a server with a mount namespace of its own, as a hardened unit has, knows the paths of the init', async (t) => {
  if (isMissing(t, canUnshare, 'takes root and the right to mount')) return;
  const python = copyPython(t, 'workload');
  const path = join(createDirectory(t), 'api.sock');
  // The shell is the init of a pid namespace; the server leaves the shell's mounts, the caller does not.
  const machine =
    'socket=$1; shift; exec 3<&0; unshare -m "$@" "$socket" <&3 & while [ ! -S "$socket" ]; do sleep 0.05; done; "$0" -c "$ASK" "$socket"';
  process.env.ASK = `from kit import *\n${ASK}`;
  t.after(() => delete process.env.ASK);
  const actor = start(t, [
    'unshare',
    '-p',
    '-f',
    '--kill-child',
    '--mount-proc',
    'sh',
    '-c',
    machine,
    python,
    path,
    ...SERVE,
  ]);
  assert.equal(await actor.hear(), 'ready');
  const { body } = parse(await actor.hear());
  assert.equal(body.facts['unix.path'], python);
});

test('an overlay counts in our own user namespace only', async (t) => {
  if (isMissing(t, canUnshare, 'takes root and the right to mount')) return;
  const { path } = await startServer(t);
  const directory = createDirectory(t);
  const prepare = `mount -t tmpfs none ${directory} && cd ${directory} && mkdir l u w m && cp /usr/bin/python3 l/prog && mount -t overlay none -o lowerdir=l,upperdir=u,workdir=w m && exec "$@"`;
  const ask = `from kit import *\nsay(ask(connect(sys.argv[1]), "${EXE}"))\nwait()`;
  const overlay = ['sh', '-c', prepare, 'sh', `${directory}/m/prog`, '-c', ask, path];
  const tmpfs = ['sh', '-c', prepare, 'sh', `${directory}/l/prog`, '-c', ask, path];
  const ours = parse(await start(t, ['unshare', '-m', ...overlay]).hear());
  assert.equal(ours.body.facts['unix.sha256'], sha256('/usr/bin/python3'));
  const theirs = ['unshare', '-U', '-r', '-m'];
  const refused = parse(await start(t, [...theirs, ...overlay]).hear());
  assert.equal(refused.body.unproven['unix:sha256'], 'unsupported_filesystem');
  const memory = parse(await start(t, [...theirs, ...tmpfs]).hear());
  assert.equal(memory.body.facts['unix.sha256'], sha256('/usr/bin/python3'));
});

test('a hundred callers of one executable at once are all answered', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const python = copyPython(t, 'workload');
  const script = `
drop(1234)
socks = [connect(sys.argv[1]) for _ in range(100)]
for sock in socks: sock.sendall(request("${EXE}"))
answers = [reply(sock) for sock in socks]
say(len([a for a in answers if a.startswith("200") and sys.argv[2] in a]))`;
  assert.equal(await run(t, python, script, [path, sha256(python)]).hear(), '100');
});
