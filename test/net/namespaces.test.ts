/** Peers and servers in namespaces of their own, with the server as a program of its own. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { start, startActor } from '../attack/actor.ts';
import { canUnshare, SERVE, serveIn } from '../attack/program.ts';
import { createDirectory, startServer } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const canRun = canUnshare && existsSync('/usr/bin/setpriv');
const WHY = 'takes root, unshare and setpriv';
const EVERYTHING = '/?wanted=unix:path,unix:sha256,systemd:unit';
const ASK = `say(ask(connect(sys.argv[1]), "${EVERYTHING}"))\nwait()`;

async function askAs(t: TestContext, path: string, script: string) {
  const [status, ...words] = (await startActor(t, script, path).hear()).split(' ');
  return { status: Number(status), body: JSON.parse(words.join(' ')) };
}

test('a peer in a pid namespace below ours is an ordinary one', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const { path } = await startServer(t, { strict: true });
  const script = `from kit import *\ndrop(1234)\n${ASK}`;
  const actor = start(t, ['unshare', '-p', '-f', '--kill-child', '/usr/bin/python3', '-c', script, path]);
  const answer = await actor.hear();
  assert.match(answer, /^200 /);
  const { uid, pid, facts } = JSON.parse(answer.slice(4));
  assert.equal(uid, 1234);
  assert.ok(pid > 0);
  assert.match(facts['unix.path'], /python/);
});

test('a server in a pid namespace of its own knows the ids of a peer outside, and nothing else', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const wrapper = ['unshare', '-p', '-f', '--mount-proc', '--kill-child'];
  const lax = await askAs(t, await serveIn(t, wrapper, 0), `drop(1234)\n${ASK}`);
  assert.equal(lax.status, 200);
  assert.deepEqual([lax.body.pid, lax.body.uid], [0, 1234]);
  assert.deepEqual(lax.body.unproven, {
    'unix:user': 'no_name',
    'unix:group': 'no_name',
    'unix:path': 'no_process',
    'unix:sha256': 'no_process',
    'systemd:unit': 'no_process',
  });
  const strict = await askAs(t, await serveIn(t, wrapper, 0, 'strict'), ASK);
  assert.deepEqual([strict.status, strict.body.error], [403, 'peer_unproven']);
});

test('a peer outside of our pid namespace that ends is refused all the same', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const path = await serveIn(t, ['unshare', '-p', '-f', '--mount-proc', '--kill-child'], 0);
  const script = `
sock = connect(sys.argv[1])
say(ask(sock))
parent = os.getpid()
def child():
    while os.getppid() == parent: time.sleep(0.01)
    say(ask(sock))
fork(child, orphan=True)
wait()
os._exit(0)`;
  const actor = startActor(t, script, path);
  assert.match(await actor.hear(), /^200 /);
  actor.go();
  assert.match(await actor.hear(), /^403 .*peer_changed/);
});

test('a server that sees the /proc of another pid namespace does not read it', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const directory = join(createDirectory(t), 'run');
  mkdirSync(directory, { mode: 0o755 });
  // Both in one new pid namespace, where the old /proc names strangers by their numbers.
  const script = `
from kit import *
import subprocess
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdout.readline()
def caller():
    drop(1234)
    say(ask(connect(sys.argv[1]), "${EVERYTHING}"))
reap(fork(caller))`;
  const path = join(directory, 'api.sock');
  const wrapper = ['unshare', '-p', '-f', '--kill-child', '/usr/bin/python3', '-c', script];
  const actor = start(t, [...wrapper, path, ...SERVE, path]);
  const answer = await actor.hear();
  assert.match(answer, /^200 /);
  const body = JSON.parse(answer.slice(4));
  assert.equal(body.uid, 1234);
  assert.equal(body.unproven['unix:path'], 'no_process');
});

test('a server in a user namespace refuses callers that it has no id for', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const wrapper = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups', 'unshare', '-U', '-r'];
  const path = await serveIn(t, wrapper, 1234);
  const mapped = await askAs(t, path, `drop(1234)\n${ASK}`);
  assert.deepEqual([mapped.status, mapped.body.uid], [200, 0]);
  for (const uid of [2000, 65534, 0]) {
    const { status, body } = await askAs(t, path, `drop(${uid})\n${ASK}`);
    assert.deepEqual([status, body.error], [403, 'peer_unproven'], `uid ${uid}`);
  }
});

test('a server without privileges attests its own user, and of others only the ids and the unit', async (t) => {
  if (isMissing(t, canRun, WHY)) return;
  const path = await serveIn(t, ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups'], 1234);
  // setpriv executes, so that this caller may be looked at by its own user.
  const script = `from kit import *\n${ASK}`;
  const own = start(t, [
    'setpriv',
    '--reuid=1234',
    '--regid=1234',
    '--clear-groups',
    '/usr/bin/python3',
    '-c',
    script,
    path,
  ]);
  const answer = await own.hear();
  assert.match(answer, /^200 .*unix:sha256:[0-9a-f]{64}/);
  const other = await askAs(t, path, `drop(2000)\n${ASK}`);
  assert.equal(other.status, 200);
  assert.equal(other.body.uid, 2000);
  assert.equal(other.body.unproven['unix:path'], 'exe_unreadable');
  assert.equal(other.body.unproven['unix:sha256'], 'exe_unreadable');
});

test('a process number used again is never taken for the one that connected', async (t) => {
  const available = canRun && existsSync('/proc/sys/kernel/ns_last_pid');
  if (isMissing(t, available, `${WHY}, and CONFIG_CHECKPOINT_RESTORE`)) return;
  const directory = join(createDirectory(t), 'run');
  mkdirSync(directory, { mode: 0o755 });
  const path = join(directory, 'api.sock');
  const script = `
from kit import *
import subprocess
server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdout.readline()
ours, theirs = socket.socketpair()

def attacker():
    drop(1234)
    sock = connect(sys.argv[1])
    socket.send_fds(theirs, [b"x"], [sock.fileno()])
    wait_for_end.recv(1)

def attack(before_accept):
    global wait_for_end
    if before_accept: server.send_signal(signal.SIGSTOP)
    wait_for_end, end = socket.socketpair()
    pid = fork(attacker)
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    sock = socket.socket(fileno=fds[0])
    if not before_accept: say(ask(sock))
    end.send(b"x")
    reap(pid)
    victim = fork_as(pid, lambda: (drop(1234), time.sleep(60)))
    if before_accept: server.send_signal(signal.SIGCONT)
    say(victim == pid, ask(sock))
    os.kill(victim, signal.SIGKILL)
    reap(victim)

attack(before_accept=False)
attack(before_accept=True)`;
  const wrapper = ['unshare', '-p', '-f', '--mount-proc', '--kill-child', '/usr/bin/python3', '-c', script];
  const actor = start(t, [...wrapper, path, ...SERVE, path]);
  assert.match(await actor.hear(), /^200 /);
  assert.match(await actor.hear(), /^True 403 .*peer_changed/);
  assert.match(await actor.hear(), /^True 403 .*peer_unproven/);
});

test('when descriptors run out, calls fail for a while and the server recovers', async (t) => {
  if (isMissing(t, canRun && existsSync('/usr/bin/prlimit'), `${WHY}, and prlimit`)) return;
  const path = await serveIn(t, ['prlimit', '--nofile=60:60'], 0);
  const script = `
socks = [connect(sys.argv[1]) for _ in range(100)]
answers = [ask(sock) for sock in socks]
say(any(a.startswith("200") for a in answers), all(a.startswith("200") for a in answers))
for sock in socks: sock.close()
while not all(ask(connect(sys.argv[1]), "${EVERYTHING}").startswith("200") for _ in range(20)): time.sleep(0.01)
say("recovered")`;
  const actor = startActor(t, script, path);
  assert.equal(await actor.hear(), 'True False');
  assert.equal(await actor.hear(), 'recovered');
});
