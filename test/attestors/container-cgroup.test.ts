import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { locateContainer, parseStartTime } from '../../src/attestors/container-cgroup.ts';
import { UNPROVEN_REASONS } from '../../src/attestors/reasons.ts';

const PARENTS = ['/system.slice', '/docker'];
const ID = '0123456789abcdef'.repeat(4);
const FAKE = 'f'.repeat(64);
const POD = '8b1f0c9e-7d33-4c51-9a5e-0d1c4f0e7a11';

const locate = (text: string) => locateContainer(text, PARENTS);
const at = (path: string) => locate(`0::${path}\n`);

test('the container is the outermost component with an id, right below where the runtime puts them', () => {
  for (const [path, place] of Object.entries({
    [`/system.slice/docker-${ID}.scope`]: `/system.slice/docker-${ID}.scope`,
    [`/docker/${ID}`]: `/docker/${ID}`,
    [`/system.slice/docker-${ID}.scope/init.scope`]: `/system.slice/docker-${ID}.scope`,
    [`/system.slice/docker-${ID}.scope/system.slice/cron.service`]: `/system.slice/docker-${ID}.scope`,
    // From inside of a cgroup namespace, such as that of a container beside it.
    [`/../docker-${ID}.scope`]: `/../docker-${ID}.scope`,
    [`/../${ID}`]: `/../${ID}`,
  }))
    assert.deepEqual(at(path), { id: ID, path: place }, path);
  const podmans = locateContainer(`0::/machine.slice/libpod-${ID}.scope/container\n`, ['/machine.slice']);
  assert.deepEqual(podmans, { id: ID, path: `/machine.slice/libpod-${ID}.scope` });
});

test('a process outside of containers has none', () => {
  for (const path of [
    '/',
    '/init.scope',
    '/system.slice/docker.service',
    '/system.slice/docker-0123abcd.scope',
    '/docker',
    `/docker/${ID.slice(1)}`,
    `/system.slice/docker-${POD}.scope`,
    '/batch/0123456789abcdef0123456789abcdef',
    '/user.slice/user-1000.slice/user@1000.service/app.slice/web.service',
  ])
    assert.deepEqual(at(path), { unproven: 'no_container' }, path);
  assert.deepEqual(locate(''), { unproven: 'no_container' });
  assert.deepEqual(at('/..'), { unproven: 'cgroup_outside' });
  assert.deepEqual(at('/../../system.slice/web.service'), { unproven: 'cgroup_outside' });
});

test('a cgroup that others than the runtime could have named is no container', () => {
  for (const path of [
    `/user.slice/user-1000.slice/user@1000.service/docker-${ID}.scope`,
    `/user.slice/user-1000.slice/user@1000.service/app.slice/docker-${ID}.scope`,
    `/user.slice/docker-${ID}.scope`,
    `/system.slice/web.service/docker-${ID}.scope`,
    `/lxc.payload.web/docker/${ID}`,
    `/lxc.payload.web/system.slice/docker-${ID}.scope`,
    `/${ID}`,
    `/docker-${ID}.scope`,
    `/docker/x/${ID}`,
    `/Docker/${ID}`,
    `//docker/${ID}`,
    `/../../docker/${ID}`,
    `/../docker/${ID}`,
    `/../user@1000.service/docker-${ID}.scope`,
    `/kubepods.slice/kubepods-pod${POD.replaceAll('-', '_')}.slice/cri-containerd-${ID}.scope`,
    `/kubepods/besteffort/pod${POD}/${ID}`,
  ])
    assert.deepEqual(at(path), { unproven: 'container_elsewhere' }, path);
});

test('a name that only resembles that of a container is none', () => {
  for (const name of [
    ID.toUpperCase(),
    `${ID}0`,
    `docker-${ID}.service`,
    `docker-${ID}.scope.d`,
    `docker--${ID}.scope`,
    `docker-${ID}.scope (deleted)`,
    `${ID} (deleted)`,
    `docker-${ID}-${FAKE}.scope`,
  ])
    assert.deepEqual(at(`/system.slice/${name}`), { unproven: 'container_elsewhere' }, name);
});

test('what a container makes below itself is not believed, whichever it names first', () => {
  for (const inner of [
    `docker-${FAKE}.scope`,
    FAKE,
    `docker/${FAKE}`,
    `system.slice/docker-${FAKE}.scope`,
    `kubepods-podFAKE.slice/cri-containerd-${FAKE}.scope`,
    `kubepods-pod${POD}.slice`,
    `a/b/c/pod${POD.replaceAll('-', '_')}/d`,
    ID,
    FAKE.toUpperCase(),
    FAKE.slice(32),
    '..',
    `../${FAKE}`,
  ]) {
    for (const container of [`/system.slice/docker-${ID}.scope`, `/docker/${ID}`, `/../${ID}`])
      assert.deepEqual(at(`${container}/${inner}`), { unproven: 'container_nested' }, inner);
  }
});

const line = (number: number, controllers: string, path: string) => `${number}:${controllers}:${path}\n`;

test('all hierarchies that are not at their root must name the same place', () => {
  const path = `/docker/${ID}`;
  const all = (...paths: string[]) =>
    ['name=systemd', 'cpu,cpuacct', 'memory', 'pids']
      .map((name, n) => line(n + 2, name, paths[n] ?? '/'))
      .join('');
  assert.deepEqual(locate(all(path, path, path, path)), { id: ID, path });
  assert.deepEqual(locate(`${all(path, path, path, path)}0::${path}\n`), { id: ID, path });
  assert.deepEqual(locate(`${all(path, path)}0::/\n`), { id: ID, path });
  assert.deepEqual(locate(all(`${path}/init.scope`, path, path, path)), { id: ID, path });
  for (const other of [
    `/docker/${FAKE}`,
    `/system.slice/docker-${ID}.scope`,
    `/user.slice/docker-${ID}.scope`,
    `${path}/${FAKE}`,
    '/system.slice/web.service',
  ]) {
    for (const paths of [
      [path, path, other],
      [other, path, path, path],
    ])
      assert.throws(() => locate(all(...paths)), { code: 'peer_unproven' }, other);
    assert.throws(() => locate(`${all(path, path, path, path)}0::${other}\n`), { code: 'peer_unproven' });
  }
  assert.deepEqual(locate(all('/user.slice', '/batch', '/')), { unproven: 'no_container' });
  assert.deepEqual(locate(all('/user.slice', `/kubepods/pod${POD}/${ID}`)), {
    unproven: 'container_elsewhere',
  });
});

const component = fc.oneof(
  fc.string({ minLength: 1 }).filter((name) => !/[/\n]/.test(name)),
  fc.constantFrom('docker', 'system.slice', 'user@1000.service', '..', 'docker-x.scope', FAKE, ID, POD),
  fc.constantFrom(`docker-${FAKE}.scope`, `docker-${ID}.scope`, `pod${POD}`, `cri-containerd-${FAKE}.scope`),
);
const inner = fc.array(component, { maxLength: 5 });

test('whatever a process may name below its container, it never becomes another', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(`/system.slice/docker-${ID}.scope`, `/docker/${ID}`),
      inner,
      (path, below) => {
        const found = at([path, ...below].join('/'));
        if ('id' in found) assert.deepEqual(found, { id: ID, path });
        else assert.equal(found.unproven, 'container_nested');
      },
    ),
  );
});

test('whatever a user may name below his own part of the tree, it is no container', () => {
  const delegated = fc.constantFrom(
    '/user.slice/user-1000.slice/user@1000.service',
    '/system.slice/web.service',
    '/x',
  );
  fc.assert(
    fc.property(delegated, inner, (path, below) => {
      assert.ok('unproven' in at([path, ...below].join('/')));
    }),
  );
});

test('no text makes anything but a place below its parent, a known reason or a refusal', () => {
  const text = fc.array(
    fc.oneof(
      fc.constantFrom(
        '0::',
        '1:name=systemd:',
        '4:memory:',
        '/',
        '/docker/',
        '/system.slice/',
        '\n',
        ':',
        '..',
      ),
      component,
    ),
  );
  fc.assert(
    fc.property(text, (parts) => {
      try {
        const found = locate(parts.join(''));
        if ('id' in found)
          assert.match(
            found.path,
            /^\/(?:docker|system\.slice|\.\.)\/(?:cri-containerd-|[a-z]+-)?[0-9a-f]{64}(?:\.scope)?$/,
          );
        else assert.ok(found.unproven in UNPROVEN_REASONS);
      } catch (error) {
        assert.equal((error as { code: string }).code, 'peer_unproven');
      }
    }),
    { numRuns: 1000 },
  );
});

test('the start time is read behind whatever the process calls itself', () => {
  const fields = (comm: string) =>
    `4711 (${comm}) S 1 4711 4711 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 11 0 987654 1000000 200 18446744073709551615\n`;
  for (const comm of ['node', 'a b', ') R 0 0', 'x\n(', '))) 1 1 1 1', '']) {
    assert.equal(parseStartTime(fields(comm)), 987654, comm);
  }
  fc.assert(fc.property(fc.string(), (comm) => assert.equal(parseStartTime(fields(comm)), 987654)));
  assert.ok(parseStartTime(readFileSync('/proc/self/stat', 'latin1')) > 0);
  for (const text of ['', '4711 (node) S 1', fields('node').replace('987654', '-1')])
    assert.throws(() => parseStartTime(text));
});
