/** Containers of a pod by their cgroups: as texts of the kernel, and with real processes in real control groups. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { kinds, open } from '../../src/attestors/pod-container.ts';
import type { UnixPeer } from '../../src/core/ports.ts';
import { peerOfPid } from '../../src/net/peer.ts';
import { start, startActor } from '../attack/actor.ts';
import { CGROUPS_NEEDED, hasCgroups, makeCgroup } from '../attack/cgroups.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const OWN = 'a'.repeat(64);
const ID = '0123456789abcdef'.repeat(4);
const POD = '/kubepods/burstable/pod8b1f0c9e-7d33-4c51-9a5e-0d1c4f0e7a11';
const SLICE = '/kubepods.slice/kubepods-pod8b1f0c9e_7d33_4c51_9a5e_0d1c4f0e7a11.slice';
const WANTED = new Set<string>(kinds);

/** A peer whose cgroup file says what the test says. */
function fakePeer(t: TestContext, cgroup: string | undefined): UnixPeer & { says(text: string): void } {
  const proc = cgroup === undefined ? undefined : createDirectory(t);
  const says = (text: string) => writeFileSync(join(proc ?? '', 'cgroup'), text);
  if (cgroup !== undefined) says(cgroup);
  const ids = { pid: 7, uid: 1, gid: 1, supplementaryGids: [] };
  return { kind: 'unix', ...ids, proc, assertSame: () => undefined, says };
}

const v2 = (path: string) => `0::${path}\n`;
const v1 = (path: string) => `4:memory:${path}\n2:cpu:${path}\n1:name=systemd:${path}\n0::/\n`;

async function found(t: TestContext, own: string, peer: string | undefined) {
  const { facts, unproven } = await open(own).attest(fakePeer(t, peer), WANTED);
  return facts['pod.container-id'] ?? unproven['pod:container-id'];
}

test('a container beside ours is named, in every form of the runtimes', async (t) => {
  for (const [own, peer] of [
    // Cgroup v2 gives each container a namespace of its own: ours is the root.
    [v2('/'), v2(`/../cri-containerd-${ID}.scope`)],
    [v2('/'), v2(`/../${ID}`)],
    [v2('/'), v2(`/../crio-${ID}.scope`)],
    [v2('/'), v2(`/../${ID}/inner/group`)],
    [v2('/'), v2(`/../../crio-${ID}.scope/container`)],
    // Cgroup v1, and containerd with the host's namespace.
    [v1(`${POD}/${OWN}`), v1(`${POD}/${ID}`)],
    [v2(`${SLICE}/cri-containerd-${OWN}.scope`), v2(`${SLICE}/cri-containerd-${ID}.scope`)],
    [v1(`${POD}/${ID}`), v1(`${POD}/${ID}`)],
  ] as const)
    assert.equal(await found(t, own, peer), ID, peer);
});

test('what is not beside ours, or inside of another, is not named', async (t) => {
  const other = POD.replace('8b1f', '0000');
  for (const [own, peer, reason] of [
    [v2('/'), undefined, 'no_process'],
    [v2('/'), v2('/'), 'no_container'],
    [v2('/'), v2('/..'), 'cgroup_outside'],
    [v2('/'), v2(`/../../../kubepods/pod/${ID}`), 'container_elsewhere'],
    [v2('/'), v2(`/../../pod-1/${ID}`), 'container_elsewhere'],
    [v2('/'), v2(`/${ID}`), 'container_elsewhere'],
    [v2('/'), v2(`/../${OWN}/${ID}`), 'container_nested'],
    [v2('/'), v2(`/../crio-conmon-${ID}.scope`), 'container_elsewhere'],
    [v1(`${POD}/${OWN}`), v1(`${other}/${ID}`), 'container_elsewhere'],
    [v1(`${POD}/${OWN}`), v1(`${POD}/${OWN}/${ID}`), 'container_nested'],
    [v1('/user.slice'), v1(`/user.slice/${ID}`), 'container_elsewhere'],
    // The pod's own token is not refused for that.
    [v2('/'), `2:memory:/../${ID}\n1:name=systemd:/../${OWN}\n`, 'cgroup_unreadable'],
    [v2('/'), '', 'no_container'],
  ] as const)
    assert.equal(await found(t, own, peer), reason, peer ?? 'hidden');
});

test('nothing is looked at where nobody wants it', async () => {
  const untouched = {
    get proc(): string {
      throw new Error('/proc was looked at');
    },
  } as UnixPeer;
  const { facts, unproven } = await open().attest(untouched, new Set(['unix:uid']));
  assert.deepEqual([facts, unproven], [{}, {}]);
});

test('a process that leaves its container is refused, on the same connection too', async (t) => {
  const attestor = open(v2('/'));
  const peer = fakePeer(t, v2(`/../${ID}`));
  const workload = await attestor.attest(peer, WANTED);
  attestor.confirm(peer, workload);
  peer.says(v2(`/../${ID}/deeper`));
  attestor.confirm(peer, workload);
  for (const elsewhere of [`/../${OWN}`, '/']) {
    peer.says(v2(elsewhere));
    assert.throws(() => attestor.confirm(peer, workload), { code: 'peer_changed' });
  }
  peer.says(v2(`/../${OWN}`));
  await assert.rejects(attestor.attest(peer, WANTED), { code: 'peer_changed' });
});

test('processes of the kernel: from beside them, and from a cgroup namespace', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const parent = `/mintmark-pod-${process.pid}`;
  const inside = makeCgroup(t, `${parent}/${ID}`);
  const web = startActor(t, 'say("up")\nwait()');
  await web.hear();
  inside.enter(web.pid);
  const peer = peerOfPid(web.pid);
  t.after(() => peer.close());

  const sidecar = startActor(t, 'say("up")\nwait()');
  await sidecar.hear();
  makeCgroup(t, `${parent}/${OWN}`).enter(sidecar.pid);
  const attestor = open(readFileSync(`/proc/${sidecar.pid}/cgroup`, 'latin1'));
  const workload = await attestor.attest(peer, WANTED);
  assert.equal(workload.facts['pod.container-id'], ID);
  attestor.confirm(peer, workload);

  // What the kernel says of both to whoever has a namespace of that cgroup.
  const look = 'cat /proc/self/cgroup; echo --; cat "/proc/$0/cgroup"; echo --; read -r line';
  const entered = ['unshare', '--cgroup', 'sh', '-c', look, String(web.pid)];
  const enter = 'echo up; read -r line; exec "$@"';
  const apart = start(t, ['sh', '-c', enter, 'sh', ...entered]);
  await apart.hear();
  makeCgroup(t, `${parent}/${OWN}`).enter(apart.pid);
  apart.go();
  const [own, said] = [await linesOf(apart), await linesOf(apart)];
  assert.match(said, new RegExp(`:/\\.\\./${ID}$`, 'm'));
  assert.equal(await found(t, own, said), ID);
});

async function linesOf(actor: { hear(): Promise<string> }): Promise<string> {
  const lines: string[] = [];
  for (let line = await actor.hear(); line !== '--'; line = await actor.hear()) lines.push(line);
  return `${lines.join('\n')}\n`;
}
