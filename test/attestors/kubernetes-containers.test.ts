/** The container that a sidecar claims is one of the live pod's, or none. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { createAttestor } from '../../src/attestors/kubernetes.ts';
import { containerOf, podWithContainer } from '../../src/attestors/kubernetes-containers.ts';
import { warnings } from '../../src/attestors/warnings.ts';
import { refusal } from '../conformance/key-store.ts';

const KIND = 'sidecar:container-name';
const WANTED = new Set([KIND]);
const idOf = (digit: string) => digit.repeat(64);
const [WEB, DB, SETUP, OWN, STRANGER] = ['1', '2', '3', '4', '5'].map(idOf);
const claim = (id: string | undefined) => `sidecar:container-id:${id}`;

const statusOf = (name: string, id: string | undefined, state: V1ContainerStatus['state']) => ({
  ...{ name, image: 'x', imageID: '', ready: true, restartCount: 0, state: state ?? {} },
  ...(id === undefined ? {} : { containerID: `containerd://${id}` }),
});
const RUNNING = { running: {} };
const DONE = { terminated: { exitCode: 0 } };

function podOf(web: V1ContainerStatus = statusOf('web', WEB, RUNNING), spec: object = {}): V1Pod {
  return {
    metadata: { name: 'web-1', namespace: 'prod', uid: 'pod-uid' },
    spec: {
      serviceAccountName: 'web',
      shareProcessNamespace: true,
      containers: [{ name: 'web' }, { name: 'db' }],
      initContainers: [{ name: 'mintmark', restartPolicy: 'Always' }, { name: 'setup' }],
      ...spec,
    },
    status: {
      phase: 'Running',
      containerStatuses: [web, statusOf('db', DB, RUNNING)],
      initContainerStatuses: [statusOf('mintmark', OWN, RUNNING), statusOf('setup', SETUP, DONE)],
    },
  };
}

suite('the container of a claim', () => {
  test('is named by the status of the pod', () => {
    assert.deepEqual(containerOf(podOf(), [claim(DB)]), { name: 'db' });
    assert.deepEqual(containerOf(podOf(), ['sidecar:unix-uid:0', claim(OWN)]), { name: 'mintmark' });
    const host = podOf(undefined, { shareProcessNamespace: undefined, hostPID: true });
    assert.deepEqual(containerOf(host, [claim(WEB)]), { name: 'web' });
  });

  for (const [title, pod, claimed, unproven] of [
    ['is none where there is no claim', podOf(), [], 'no_container_claimed'],
    ['is none where there are two', podOf(), [claim(WEB), claim(DB)], 'no_container_claimed'],
    ['is none of another pod', podOf(), [claim(STRANGER)], 'not_a_container_of_the_pod'],
    ['is none that has ended', podOf(), [claim(SETUP)], 'not_a_container_of_the_pod'],
    ['is none by its name', podOf(), [claim('web')], 'not_a_container_of_the_pod'],
    ['is none by nothing', podOf(statusOf('web', '', RUNNING)), [claim('')], 'not_a_container_of_the_pod'],
    ['is none where a name is claimed', podOf(), [`${KIND}:web`], 'no_container_claimed'],
    [
      'is none where the pod does not share its processes',
      podOf(undefined, { shareProcessNamespace: false }),
      [claim(WEB)],
      'processes_not_shared',
    ],
    [
      'is not known yet while one is to start',
      podOf(statusOf('web', undefined, { waiting: {} })),
      [claim(WEB)],
      'container_starting',
    ],
    [
      'nor while one is to start again',
      podOf(statusOf('web', WEB, DONE)),
      [claim(STRANGER)],
      'container_starting',
    ],
    [
      'a pod of one run waits for none that has ended',
      podOf(statusOf('web', WEB, DONE), { restartPolicy: 'Never' }),
      [claim(STRANGER)],
      'not_a_container_of_the_pod',
    ],
    ['nor before there is a status', { ...podOf(), status: {} }, [claim(WEB)], 'container_starting'],
  ] as const)
    test(title, () => assert.deepEqual(containerOf(pod, claimed), { unproven }));

  test('is waited for where a rule wants it, and not otherwise', async () => {
    const starting = podOf(statusOf('web', undefined, { waiting: {} }));
    const pods = [starting, starting, podOf()];
    const look = async () => pods.shift() ?? podOf();
    const pod = await podWithContainer(look, [claim(WEB)], WANTED);
    assert.deepEqual(containerOf(pod, [claim(WEB)]), { name: 'web' });
    assert.equal(await podWithContainer(async () => starting, [claim(WEB)], new Set()), starting);
    assert.equal(await podWithContainer(async () => starting, [claim(DB)], WANTED), starting);
    const begunAt = performance.now();
    const never = podWithContainer(async () => starting, [claim(WEB)], WANTED);
    await assert.rejects(never, refusal('temporarily_unavailable', /has not told the id/));
    assert.ok(performance.now() - begunAt < 1900, 'longer than a sidecar waits');
  });
});

test('a pod is described with the name, never with the id or a name that was claimed', async () => {
  const source = {
    pod: async () => podOf(),
    namespaceUid: async () => 'ns-uid',
    changedIn: () => new Set<string>(),
    close: async () => undefined,
  };
  const reviewed = {
    ...{ namespace: 'prod', serviceAccount: 'web', serviceAccountUid: 'sa-uid' },
    ...{ podName: 'web-1', podUid: 'pod-uid' },
  };
  const settings = { labels: [], annotations: [], sidecarImages: [] };
  const attestor = createAttestor(
    settings,
    async () => reviewed,
    source,
    () => undefined,
  );
  const attest = (wanted: ReadonlySet<string>, ...claimed: string[]) =>
    attestor.attest({ kind: 'bearer', token: 't', claimed }, wanted);
  const { selectors, facts, unproven } = await attest(WANTED, claim(DB), `${KIND}:web`);
  assert.deepEqual(
    [...selectors].filter((selector) => selector.startsWith('sidecar:')),
    [`${KIND}:db`],
  );
  assert.equal(facts['sidecar.container-name'], 'db');
  assert.equal(unproven[KIND], undefined);
  assert.equal((await attest(WANTED)).unproven[KIND], 'no_container_claimed');
  assert.equal((await attest(new Set())).unproven[KIND], undefined);
  assert.ok(attestor.claimedKinds?.includes(KIND));
});

test('a pod that is not settled yet is looked at again, and taken as it is in the end', async () => {
  const pods = [podOf(), podOf(), podOf(), podOf(), podOf(), podOf()];
  let looks = 0;
  const look = async () => pods[looks++] ?? assert.fail('looked too often');
  assert.equal(await podWithContainer(look, [], WANTED, () => looks === 2), pods[1]);
  looks = 0;
  assert.equal(await podWithContainer(look, [], WANTED, () => false), pods[5]);
});

test('a name that no container can have is warned of', () => {
  assert.match(warnings(['k8s:sa:web', `${KIND}:Web`]).join(), /never holds/);
  assert.match(warnings(['k8s:sa:web', 'sidecar:unix-uid:web']).join(), /never holds/);
  assert.deepEqual(warnings(['k8s:sa:web', `${KIND}:web-1`, 'sidecar:unix-gid:0']), []);
});
