import assert from 'node:assert/strict';
import { chmodSync, closeSync, copyFileSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { capturePeer, peerOfPid } from '../../src/net/peer.ts';
import { startActor } from '../attack/actor.ts';
import { fails, isCode, openDescriptors, openServer } from '../attack/capture.ts';
import { isRoot } from '../attack/program.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const ROOT_NEEDED = 'takes root: it makes processes of other users';

test('a peer is who connected, with the groups it had then', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path, accepted } = await openServer(t);
  const actor = startActor(
    t,
    'drop(1234, 2345, [7, 9])\ns = connect(sys.argv[1])\nsay("connected")\nwait()',
    path,
  );
  await actor.hear();
  const peer = (await accepted()).capture();
  assert.deepEqual(
    [peer.kind, peer.pid, peer.uid, peer.gid, [...peer.supplementaryGids].sort()],
    ['unix', actor.pid, 1234, 2345, [7, 9]],
  );
  assert.equal(readlinkSync(`${peer.proc}/cwd`), readlinkSync(`/proc/${actor.pid}/cwd`));
  peer.assertSame();
});

test('a peer with hundreds of groups has them all', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path, accepted } = await openServer(t);
  const actor = startActor(
    t,
    'drop(1234, 2345, range(1, 301))\ns = connect(sys.argv[1])\nsay("ok")\nwait()',
    path,
  );
  await actor.hear();
  assert.equal((await accepted()).capture().supplementaryGids.length, 300);
});

test('a peer that ended is refused, as a zombie and when it is reaped', async (t) => {
  const { path, accepted } = await openServer(t);
  const script = `
def caller():
    sock = connect(sys.argv[1])
    time.sleep(60)
pid = fork(caller)
wait()
kill(pid)
say("zombie")
wait()
reap(pid)
say("reaped")
wait()`;
  const actor = startActor(t, script, path);
  const { capture } = await accepted();
  const pinned = capture();
  const byStatus = capture(true, { pidfdIds: fails('ENOTTY') });
  const byDirectory = capture(false, { peerPidfd: fails('ENOPROTOOPT') });
  for (const peer of [pinned, byStatus, byDirectory]) peer.assertSame();
  for (const state of ['zombie', 'reaped']) {
    actor.go();
    assert.equal(await actor.hear(), state);
    for (const peer of [pinned, byStatus, byDirectory])
      assert.throws(() => peer.assertSame(), isCode('peer_changed'));
    assert.throws(() => capture(), isCode('peer_unproven'));
  }
});

test('a peer that changes any of its ids after it connected is refused', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const changes = ['setresuid(1, 1, 1)', 'setresuid(1, 0, 0)', 'setresuid(0, 0, 1)', 'setresgid(0, 1, 0)'];
  for (const change of [...changes, 'seteuid(1)']) {
    const { path, accepted } = await openServer(t);
    const actor = startActor(t, `s = connect(sys.argv[1])\nwait()\nos.${change}\nsay("ok")\nwait()`, path);
    const { capture } = await accepted();
    const pinned = capture();
    const byStatus = capture(true, { pidfdIds: fails('EINVAL') });
    const byDirectory = capture(false, { peerPidfd: fails('ENOPROTOOPT') });
    for (const peer of [pinned, byStatus, byDirectory]) peer.assertSame();
    actor.go();
    await actor.hear();
    for (const peer of [pinned, byStatus, byDirectory])
      assert.throws(() => peer.assertSame(), isCode('peer_changed'), change);
    assert.throws(() => capture(), isCode('peer_unproven'), change);
  }
});

test('a caller that executes a setuid program after it connected is refused', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path, accepted } = await openServer(t);
  const setuid = join(createDirectory(t), 'sleep');
  copyFileSync('/bin/sleep', setuid);
  chmodSync(setuid, 0o4755);
  const script = `
drop(1234)
sock = connect(sys.argv[1])
sock.set_inheritable(True)
wait()
os.execv(sys.argv[2], ["sleep", "60"])`;
  const actor = startActor(t, script, path, setuid);
  const peer = (await accepted()).capture();
  assert.equal(peer.uid, 1234);
  peer.assertSame();
  actor.go();
  while (!readlinkSync(`/proc/${actor.pid}/exe`).endsWith('sleep')) await setTimeout(5);
  assert.throws(() => peer.assertSame(), isCode('peer_changed'));
});

test('a connection that was passed on stays that of the process that made it', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path, accepted } = await openServer(t);
  const script = `
ours, theirs = socket.socketpair()
def caller():
    drop(1234)
    sock = connect(sys.argv[1])
    socket.send_fds(theirs, [b"x"], [sock.fileno()])
    time.sleep(60)
pid = fork(caller)
_, fds, _, _ = socket.recv_fds(ours, 1, 1)
say(pid)
wait()
kill(pid)
say("ended")
wait()`;
  const actor = startActor(t, script, path);
  const peer = (await accepted()).capture();
  assert.equal(peer.pid, Number(await actor.hear()));
  assert.equal(peer.uid, 1234);
  peer.assertSame();
  actor.go();
  await actor.hear();
  assert.throws(() => peer.assertSame(), isCode('peer_changed'));
});

test('a closed peer gives its descriptors back and is refused from then on', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const { capture } = await accepted();
  const before = openDescriptors();
  const peer = capture();
  assert.equal(openDescriptors(), before + 2);
  peer.close();
  peer.close();
  assert.equal(openDescriptors(), before);
  assert.throws(() => peer.assertSame(), isCode('peer_changed'));
  assert.throws(() => peer.proc, isCode('peer_changed'));
});

test('a descriptor that is no connected UNIX socket has no peer', () => {
  const before = openDescriptors();
  assert.throws(() => capturePeer(0x7fff, { strict: true }), isCode('peer_unproven'));
  const directory = openSync('/', 'r');
  assert.throws(() => capturePeer(directory, { strict: true }), isCode('peer_unproven'));
  closeSync(directory);
  assert.equal(openDescriptors(), before);
});

test('a process can be pinned by its number', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const actor = startActor(t, 'drop(1234, 2345, [7, 9])\nsay("ready")\nwait()');
  await actor.hear();
  const peer = peerOfPid(actor.pid);
  t.after(() => peer.close());
  const { pid, uid, gid, supplementaryGids } = peer;
  assert.deepEqual([pid, uid, gid, [...supplementaryGids].sort()], [actor.pid, 1234, 2345, [7, 9]]);
  peer.assertSame();
  actor.process.kill('SIGKILL');
  await actor.ended();
  assert.throws(() => peer.assertSame(), isCode('peer_changed'));
  assert.throws(() => peerOfPid(actor.pid), isCode('not_found'));
});

test('what is no process cannot be pinned', () => {
  const before = openDescriptors();
  const thread = readdirSync('/proc/self/task')
    .map(Number)
    .find((tid) => tid !== process.pid);
  assert.throws(() => peerOfPid(thread ?? -1), isCode('not_found'));
  assert.throws(() => peerOfPid(2 ** 22 + 1), isCode('not_found'));
  for (const pid of [0, -1, 1.5, Number.NaN]) assert.throws(() => peerOfPid(pid), isCode('peer_unproven'));
  assert.equal(openDescriptors(), before);
});
