/** The attestor against real processes, through the accept point. */
import assert from 'node:assert/strict';
import { accessSync, constants, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { UNPROVEN_REASONS } from '../../src/attestors/reasons.ts';
import { open } from '../../src/attestors/unix.ts';
import { IssuerError } from '../../src/core/errors.ts';
import type { UnixPeer } from '../../src/core/ports.ts';
import { startActor } from '../attack/actor.ts';
import { DEFAULTS, parse, ROOT_NEEDED } from '../attack/caller.ts';
import { isRoot } from '../attack/program.ts';
import { clock, startServer } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

function isWritableCgroup(directory: string): boolean {
  try {
    accessSync(`${directory}/cgroup.procs`, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

test('ids, names and groups are selectors and facts', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const { body } = parse(
    await startActor(t, 'drop(1, 2, [3, 4])\nsay(ask(connect(sys.argv[1])))', path).hear(),
  );
  assert.deepEqual(body.selectors.sort(), [
    'unix:gid:2',
    'unix:group:bin',
    'unix:supplementary-gid:3',
    'unix:supplementary-gid:4',
    'unix:uid:1',
    'unix:user:daemon',
  ]);
  assert.deepEqual(body.facts, {
    'unix.uid': '1',
    'unix.user': 'daemon',
    'unix.gid': '2',
    'unix.group': 'bin',
  });
  assert.deepEqual(body.unproven, {});
});

test('an id without a name says so', async (t) => {
  if (isMissing(t, isRoot, ROOT_NEEDED)) return;
  const { path } = await startServer(t);
  const { body } = parse(await startActor(t, 'drop(54321)\nsay(ask(connect(sys.argv[1])))', path).hear());
  assert.deepEqual(body.unproven, { 'unix:user': 'no_name', 'unix:group': 'no_name' });
});

test('what is not wanted is not looked at, and costs no new answer', async (t) => {
  const attestor = open(DEFAULTS, { clock });
  t.after(() => attestor.close());
  let checks = 0;
  const peer: UnixPeer = {
    kind: 'unix',
    pid: 7,
    uid: 0,
    gid: 0,
    supplementaryGids: [],
    get proc(): string {
      throw new Error('/proc was looked at');
    },
    assertSame: () => {
      checks += 1;
    },
  };
  const wanted = new Set(['unix:uid', 'unix:user', 'unix:gid', 'unix:group', 'docker:image']);
  attestor.meet(peer, wanted);
  const workload = await attestor.attest(peer, wanted);
  assert.equal(await attestor.attest(peer, wanted), workload);
  attestor.confirm(peer, workload);
  assert.equal(checks, 1, 'confirm asks the kernel, attest has nothing to hold against it');
  await assert.rejects(attestor.attest(peer, new Set(['unix:path'])));
  await assert.rejects(attestor.attest(peer, new Set(['systemd:unit'])));
});

test('a peer that changes while it is being read is refused', async (t) => {
  const attestor = open(DEFAULTS, { clock });
  t.after(() => attestor.close());
  for (const kind of ['systemd:unit', 'unix:path', 'unix:sha256']) {
    let checks = 0;
    const peer: UnixPeer = {
      kind: 'unix',
      pid: process.pid,
      uid: 0,
      gid: 0,
      supplementaryGids: [],
      proc: '/proc/self',
      assertSame: () => {
        checks += 1;
        if (checks > 1) throw new IssuerError('peer_changed', 'it has ended');
      },
    };
    await assert.rejects(attestor.attest(peer, new Set([kind])), { code: 'peer_changed' });
  }
});

test('a unit is read from the cgroup, and hierarchies that disagree are refused', async (t) => {
  const roots = ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup/unified', '/sys/fs/cgroup'].filter(
    isWritableCgroup,
  );
  if (isMissing(t, isRoot && roots.length > 0, 'takes root and a cgroup file system to write to')) return;
  const unit = `mintmark-test-${process.pid}.service`;
  const cgroups = roots.map((root) => join(root, unit));
  for (const cgroup of cgroups) mkdirSync(cgroup);
  const { path } = await startServer(t);
  const script = `
for directory in sys.argv[2:]:
    with open(directory + "/cgroup.procs", "w") as procs: procs.write(str(os.getpid()))
say(ask(connect(sys.argv[1]), "/?wanted=systemd:unit"))`;
  const ask = async (...moveTo: string[]) => {
    const actor = startActor(t, script, path, ...moveTo);
    const answer = parse(await actor.hear());
    await actor.ended();
    return answer;
  };
  try {
    assert.equal((await ask(...cgroups)).body.facts['systemd.unit'], unit);
    if (cgroups.length < 2) return;
    const { status, body } = await ask(cgroups[1] ?? '');
    assert.deepEqual([status, body.error], [403, 'peer_unproven']);
  } finally {
    for (const cgroup of cgroups) rmdirSync(cgroup);
  }
});

test('every reason has its sentence', () => {
  for (const [reason, sentence] of Object.entries(UNPROVEN_REASONS)) {
    assert.match(reason, /^[a-z_]+$/);
    assert.match(sentence, /^[A-Z].*\.$/);
  }
});
