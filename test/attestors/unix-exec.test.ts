/** Callers that change what they run, or hide it. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { start, startActor } from '../attack/actor.ts';
import { copyPython, EXE, EXECUTABLE, parse, ROOT_NEEDED, run } from '../attack/caller.ts';
import { isRoot, SERVE, serveIn } from '../attack/program.ts';
import { createDirectory, startServer } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const CONNECTED = 'drop(1234)\nsock = connect(sys.argv[1])\nsock.set_inheritable(True)';
const EXEC = 'os.execv(sys.argv[2], ["x", "-c", sys.argv[3], str(sock.fileno())])';
const GOES_ON = 'from kit import *\nsock = socket.socket(fileno=int(sys.argv[1]))\nsay("executed")\nwait()';

test('a caller that executes the allowed program after it was accepted is refused', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t, { wanted: EXECUTABLE });
  const allowed = copyPython(t, 'allowed');
  const next = `${GOES_ON}\nsay(ask(sock, "${EXE}"))\nwait()`;
  // It is accepted for certain once something was answered.
  const script = `${CONNECTED}\nsay(ask(sock, "/?wanted=none"))\n${EXEC}`;
  const actor = run(t, '/usr/bin/python3', script, [path, allowed, next]);
  assert.equal(parse(await actor.hear()).status, 200);
  assert.equal(await actor.hear(), 'executed');
  actor.go();
  const { status, body } = parse(await actor.hear());
  assert.deepEqual([status, body.error], [403, 'peer_changed']);
});

test('a caller that executes another program while it is being answered is refused', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const attested = Promise.withResolvers<void>();
  const executed = Promise.withResolvers<void>();
  const beforeConfirm = () => {
    attested.resolve();
    return executed.promise;
  };
  const { path } = await startServer(t, { wanted: EXECUTABLE, beforeConfirm });
  const next = `${GOES_ON}\nsay(reply(sock))\nwait()`;
  const script = `${CONNECTED}\nsock.sendall(request("${EXE}"))\nwait()\n${EXEC}`;
  const actor = run(t, copyPython(t, 'allowed'), script, [path, '/usr/bin/python3', next]);
  await attested.promise;
  actor.go();
  assert.equal(await actor.hear(), 'executed');
  executed.resolve();
  actor.go();
  const { status, body } = parse(await actor.hear());
  assert.deepEqual([status, body.error], [403, 'peer_changed']);
});

test('known limit: an executable that was swapped before the connection was accepted cannot be told', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const path = join(createDirectory(t), 'run', 'api.sock');
  mkdirSync(join(path, '..'), { mode: 0o755 });
  const server = start(t, [...SERVE, path]);
  await server.hear();
  // A child keeps the connection while its maker becomes the allowed program.
  const script = `
drop(1234)
sock = connect(sys.argv[1])
def child():
    wait()
    say(ask(sock, "${EXE}"))
fork(child, orphan=True)
os.execv("/bin/sleep", ["sleep", "60"])`;
  server.process.kill('SIGSTOP');
  const attacker = startActor(t, script, path);
  while (basename(readlinkSync(`/proc/${attacker.pid}/exe`)) !== 'sleep') await setTimeout(5);
  server.process.kill('SIGCONT');
  attacker.go();
  const { status, body } = parse(await attacker.hear());
  assert.equal(status, 200);
  assert.equal(basename(body.facts['unix.path']), 'sleep');
});

test('a process that may not be looked at says so, and is served by its ids', async (t) => {
  if (isMissing(t, isRoot && existsSync('/usr/bin/setpriv'), 'takes root and setpriv')) return;
  const as1234 = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups'];
  const path = await serveIn(t, as1234, 1234);
  const script = `set_dumpable(0)\nsay(ask(connect(sys.argv[1]), "${EXE}"))\nwait()`;
  const { status, body } = parse(await run(t, '/usr/bin/python3', script, [path], as1234).hear());
  assert.equal(status, 200);
  assert.equal(body.uid, 1234);
  for (const kind of EXECUTABLE) assert.equal(body.unproven[kind], 'exe_unreadable');
});

test('a caller that hides its executable, or shows it, between two looks is refused', async (t) => {
  if (isMissing(t, isRoot && existsSync('/usr/bin/setpriv'), 'takes root and setpriv')) return;
  const as1234 = ['setpriv', '--reuid=1234', '--regid=1234', '--clear-groups'];
  const path = await serveIn(t, as1234, 1234);
  for (const first of [0, 1]) {
    const script = `
set_dumpable(${first})
sock = connect(sys.argv[1])
say(ask(sock, "${EXE}"))
set_dumpable(${1 - first})
say(ask(sock, "${EXE}"))
wait()`;
    const actor = run(t, '/usr/bin/python3', script, [path], as1234);
    assert.equal(parse(await actor.hear()).status, 200);
    const { status, body } = parse(await actor.hear());
    assert.deepEqual([status, body.error], [403, 'peer_changed']);
  }
});
