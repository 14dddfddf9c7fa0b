/** The attestor with real processes in real control groups, and a Docker that says what the test says. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import * as v from 'valibot';
import { config, createAttestor, kinds } from '../../src/attestors/docker.ts';
import type { Container, DockerApi, Image } from '../../src/attestors/docker-api.ts';
import { IssuerError } from '../../src/core/errors.ts';
import type { UnixPeer } from '../../src/core/ports.ts';
import { peerOfPid } from '../../src/net/peer.ts';
import { type Actor, startActor } from '../attack/actor.ts';
import { CGROUPS_NEEDED, hasCgroups, leaveCgroups, makeCgroup } from '../attack/cgroups.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const ID = '0123456789abcdef'.repeat(4);
const OTHER = 'f'.repeat(64);
const ALL = new Set<string>(kinds);
const CONTAINER: Container = {
  id: ID,
  name: 'web',
  imageId: `sha256:${'1'.repeat(64)}`,
  image: 'web:1',
  labels: { team: 'payments' },
  isRunning: true,
  pid: 1,
};
let count = 0;

type World = {
  readonly parent: string;
  readonly asked: string[];
  /** What Docker says of the container from now on: one answer after the other, the last one for ever. */
  says(...answers: (Partial<Container> | undefined | Error)[]): void;
  readonly attestor: ReturnType<typeof createAttestor>;
  /** A process of the test's own, in a control group below the parent. */
  start(path?: string): Promise<Actor>;
  peerOf(actor: Actor): UnixPeer;
  enter(actor: Actor, path: string): void;
};

function createWorld(t: TestContext, ...more: string[]): World {
  count += 1;
  const parent = `/mintmark-test-${process.pid}-${count}`;
  const asked: string[] = [];
  let answers: (Partial<Container> | undefined | Error)[] = [undefined];
  const image: Image = { repoDigests: [], labels: {} };
  const api: DockerApi = {
    async container(id, fresh) {
      asked.push(fresh === true ? `${id} again` : id);
      const answer = answers.length > 1 ? answers.shift() : answers[0];
      if (answer instanceof Error) throw answer;
      return answer && { ...CONTAINER, ...answer };
    },
    async image() {
      return image;
    },
    close: () => undefined,
  };
  const cgroupParents = [parent, ...more.map((name) => `${parent}${name}`)];
  const world: World = {
    parent,
    asked,
    says: (...given) => {
      answers = given;
    },
    attestor: createAttestor({ labels: ['team'], cgroupParents }, api),
    async start(path) {
      const actor = startActor(t, 'say("up")\nwait()');
      await actor.hear();
      if (path !== undefined) world.enter(actor, path);
      return actor;
    },
    peerOf(actor) {
      const peer = peerOfPid(actor.pid);
      t.after(() => peer.close());
      return peer;
    },
    enter: (actor, path) => makeCgroup(t, `${parent}${path}`).enter(actor.pid),
  };
  return world;
}

const unprovenAs = (reason: string) => Object.fromEntries(kinds.map((kind) => [kind, reason]));

test('a process in the control group of a container that Docker knows is that container', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  const first = await world.start(`/${ID}`);
  const peer = world.peerOf(await world.start(`/${ID}/deeper/inside`));
  world.says({ pid: first.pid });
  const workload = await world.attestor.attest(peer, ALL);
  assert.ok(workload.selectors.has(`docker:container-id:${ID}`));
  assert.ok(workload.selectors.has('docker:label:team:payments'));
  world.attestor.confirm(peer, workload);
  await world.attestor.attest(peer, ALL);
  await world.attestor.attest(world.peerOf(first), new Set(['docker:image']));
  assert.deepEqual(world.asked, [ID, ID], 'once for each connection');
});

test('a name that somebody else gave to a control group is not believed', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t, '/delegated');
  const first = await world.start(`/${ID}`);
  world.says({ pid: first.pid });
  // Where the runtime puts none: it is not even asked.
  const stranger = world.peerOf(await world.start(`/user@1000.service/docker-${ID}.scope`));
  assert.deepEqual((await world.attestor.attest(stranger, ALL)).unproven, unprovenAs('container_elsewhere'));
  assert.deepEqual(world.asked, []);
  // Where it could, but where it has not put this one.
  const fake = world.peerOf(await world.start(`/delegated/docker-${ID}.scope`));
  const { selectors, unproven } = await world.attestor.attest(fake, ALL);
  assert.deepEqual([selectors.size, unproven], [0, unprovenAs('container_elsewhere')]);
  // A container inside of the container, named as it likes.
  const nested = world.peerOf(await world.start(`/${ID}/docker-${OTHER}.scope`));
  assert.deepEqual((await world.attestor.attest(nested, ALL)).unproven, unprovenAs('container_nested'));
});

test('a process that was there before the container was started is not of it', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  const older = world.peerOf(await world.start(`/${ID}`));
  await new Promise((resolve) => setTimeout(resolve, 30)); // a start is told in steps of 10 ms
  world.says({ pid: (await world.start(`/${ID}`)).pid });
  assert.deepEqual((await world.attestor.attest(older, ALL)).unproven, unprovenAs('container_elsewhere'));
});

test('what Docker said before a restart is asked again, once', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  const ended = await world.start();
  ended.process.kill('SIGKILL');
  await ended.ended();
  const first = await world.start(`/${ID}`);
  const stranger = await world.start();
  for (const stale of [{ pid: ended.pid }, { pid: stranger.pid }, { isRunning: false, pid: 0 }, undefined]) {
    const peer = world.peerOf(first);
    world.asked.length = 0;
    world.says(stale, { pid: first.pid });
    assert.equal((await world.attestor.attest(peer, ALL)).facts['docker.container-id'], ID);
    assert.deepEqual(world.asked, [ID, `${ID} again`]);
  }
  for (const [stale, reason] of [
    [{ pid: ended.pid }, 'container_not_running'],
    [{ pid: stranger.pid }, 'container_elsewhere'],
    [{ isRunning: false, pid: first.pid }, 'container_not_running'],
    [undefined, 'container_unknown'],
  ] as const) {
    world.says(stale);
    const { facts, unproven } = await world.attestor.attest(world.peerOf(first), ALL);
    assert.deepEqual([facts, unproven], [{}, unprovenAs(reason)]);
  }
});

test('a Docker that does not answer refuses containers for the moment, and nobody else', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  world.says(new IssuerError('temporarily_unavailable', 'Docker does not answer'));
  const inside = world.peerOf(await world.start(`/${ID}`));
  await assert.rejects(world.attestor.attest(inside, ALL), { code: 'temporarily_unavailable' });
  const outside = world.peerOf(await world.start('/web.service'));
  assert.deepEqual((await world.attestor.attest(outside, ALL)).unproven, unprovenAs('no_container'));
});

test('a process that leaves its container while it is being answered is refused', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  const actor = await world.start(`/${ID}`);
  const peer = world.peerOf(actor);
  world.says({ pid: actor.pid });
  const workload = await world.attestor.attest(peer, ALL);
  world.enter(actor, `/${OTHER}`);
  assert.throws(() => world.attestor.confirm(peer, workload), { code: 'peer_changed' });
  leaveCgroups(actor.pid);
  assert.throws(() => world.attestor.confirm(peer, workload), { code: 'peer_changed' });
  assert.deepEqual((await world.attestor.attest(peer, ALL)).unproven, unprovenAs('no_container'));
});

test('a process that has ended is refused', async (t) => {
  if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
  const world = createWorld(t);
  const actor = await world.start(`/${ID}`);
  const peer = world.peerOf(actor);
  world.says({ pid: actor.pid });
  const workload = await world.attestor.attest(peer, ALL);
  actor.process.kill('SIGKILL');
  await actor.ended();
  assert.throws(() => world.attestor.confirm(peer, workload), { code: 'peer_changed' });
  await assert.rejects(world.attestor.attest(peer, ALL), { code: 'peer_changed' });
});

test('hierarchies that name different containers are refused', async (t) => {
  const peer = fakePeer(t, `4:memory:/docker/${ID}\n1:name=systemd:/docker/${OTHER}\n`);
  const attestor = createAttestor({ labels: [], cgroupParents: ['/docker'] }, unreachable());
  await assert.rejects(attestor.attest(peer, ALL), { code: 'peer_unproven' });
});

test('nothing is looked at where no rule wants it, nor asked where there is no process', async () => {
  const attestor = createAttestor({ labels: [], cgroupParents: ['/docker'] }, unreachable());
  const peer = { ...OUTSIDE };
  const untouched = {
    ...peer,
    get proc(): string {
      throw new Error('/proc was looked at');
    },
  };
  const workload = await attestor.attest(untouched, new Set(['unix:uid', 'systemd:unit']));
  assert.deepEqual([workload.selectors.size, workload.unproven], [0, {}]);
  attestor.confirm(untouched, workload);
  assert.deepEqual((await attestor.attest(peer, new Set(['docker:image']))).unproven, {
    'docker:image': 'no_process',
  });
});

test('its settings have defaults, and what cannot be meant is refused', () => {
  assert.deepEqual(v.parse(config, {}), {
    socket: '/var/run/docker.sock',
    timeoutSeconds: 5,
    labels: [],
    cgroupParents: ['/system.slice', '/docker'],
  });
  for (const wrong of [
    { socket: 'tcp://127.0.0.1:2375' },
    { socket: '/run/' },
    { timeoutSeconds: 0 },
    { labels: ['team:payments'] },
    { labels: [''] },
    { cgroupParents: [] },
    { cgroupParents: ['system.slice'] },
    { cgroupParents: ['/'] },
    { cgroupParents: ['/docker/'] },
    { lables: ['team'] },
  ])
    assert.equal(v.safeParse(config, wrong).success, false, JSON.stringify(wrong));
});

const OUTSIDE: UnixPeer = {
  kind: 'unix',
  pid: 0,
  uid: 0,
  gid: 0,
  supplementaryGids: [],
  proc: undefined,
  assertSame: () => undefined,
};

/** A peer whose cgroup file says what the test says. */
function fakePeer(t: TestContext, cgroup: string): UnixPeer {
  const proc = createDirectory(t);
  writeFileSync(join(proc, 'cgroup'), cgroup);
  return { ...OUTSIDE, pid: 7, proc };
}

const unreachable = (): DockerApi => ({
  container: () => assert.fail('Docker was asked'),
  image: () => assert.fail('Docker was asked'),
  close: () => undefined,
});
