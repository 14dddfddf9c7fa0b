import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { V1ContainerState, V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { assertLive, createAttestor } from '../../src/attestors/kubernetes.ts';
import { imagesOf } from '../../src/attestors/kubernetes-images.ts';
import { compilePolicy } from '../../src/core/policy.ts';
import { refusal } from '../conformance/key-store.ts';
import { ruleOf } from '../fakes/policy.ts';

const REVIEWED = {
  namespace: 'prod',
  serviceAccount: 'web',
  serviceAccountUid: 'sa-uid',
  podName: 'web-1',
  podUid: 'pod-uid',
};
const DIGEST = `sha256:${'a'.repeat(64)}`;
const OURS = ['registry:5000/mintmark:1'];
const OTHER = `sha256:${'b'.repeat(64)}`;

const statusOf = (name: string, digest: string, state: V1ContainerState = { running: {} }) => ({
  name,
  image: 'x',
  imageID: digest === '' ? '' : `x@${digest}`,
  ready: true,
  restartCount: 0,
  state,
});

function podOf(parts: Partial<V1Pod> = {}): V1Pod {
  return {
    metadata: { name: 'web-1', namespace: 'prod', uid: 'pod-uid', labels: { app: 'web', secret: 'x' } },
    spec: {
      serviceAccountName: 'web',
      nodeName: 'node-1',
      containers: [{ name: 'web', image: `web@${DIGEST}` }],
      initContainers: [{ name: 'mintmark', image: 'registry:5000/mintmark:2', restartPolicy: 'Always' }],
    },
    status: { phase: 'Running', initContainerStatuses: [statusOf('mintmark', OTHER)] },
    ...parts,
  };
}

function attestorOf(pod: V1Pod | undefined, changed: readonly string[] = []) {
  const source = {
    pod: async () => pod,
    namespaceUid: async () => 'ns-uid',
    changedIn: () => new Set(changed),
    close: async () => undefined,
  };
  return createAttestor(
    { labels: ['app'], annotations: [], sidecarImages: OURS },
    async () => REVIEWED,
    source,
    () => undefined,
  );
}

const bearer = (...claimed: string[]) => ({ kind: 'bearer' as const, token: 't', claimed });

suite('a pod', () => {
  test('is described by the live pod, and labels by the list', async () => {
    const attestor = attestorOf(podOf());
    const { selectors, facts, unproven } = await attestor.attest(
      bearer('sidecar:unix-uid:1000', 'sidecar:unknown:1', 'k8s:ns:kube-system'),
      new Set(),
    );
    assert.deepEqual([...selectors].sort(), [
      `k8s:image-digest:${DIGEST}`,
      `k8s:image:web@${DIGEST}`,
      'k8s:node:node-1',
      'k8s:ns-uid:ns-uid',
      'k8s:ns:prod',
      'k8s:pod-label:app:web',
      'k8s:pod-name:web-1',
      'k8s:pod-uid:pod-uid',
      'k8s:sa-uid:sa-uid',
      'k8s:sa:web',
      'sidecar:unix-uid:1000',
    ]);
    assert.equal(facts['k8s.pod-uid'], 'pod-uid');
    assert.equal(facts['sidecar.unix-uid'], '1000');
    assert.deepEqual(unproven, {});
  });

  for (const [title, pod, why] of [
    ['that is gone', undefined, /gone/],
    ['of the same name made anew', podOf({ metadata: { uid: 'another' } }), /gone/],
    [
      'being deleted',
      podOf({ metadata: { uid: 'pod-uid', deletionTimestamp: new Date() } }),
      /being deleted/,
    ],
    [
      'of another service account',
      podOf({ spec: { serviceAccountName: 'db', containers: [] } }),
      /another service/,
    ],
    ['that has ended', podOf({ status: { phase: 'Succeeded' } }), /has ended/],
  ] as const)
    test(`${title} proves nothing`, () => {
      assert.throws(() => assertLive(pod, REVIEWED), refusal('peer_unproven', why));
    });

  test('asks while its init containers run', () => {
    assert.equal(assertLive(podOf({ status: { phase: 'Pending' } }), REVIEWED).metadata?.name, 'web-1');
  });
});

suite('the image of a pod', () => {
  test('counts a container that only has the name of the sidecar', () => {
    const image = `evil@${OTHER}`;
    const pod = podOf();
    pod.spec!.containers.push({ name: 'mintmark', image });
    assert.equal(imagesOf(pod, OURS).digest, undefined);
    const init = podOf();
    init.spec!.initContainers = [{ name: 'mintmark', image }];
    assert.equal(imagesOf(init, OURS).digest, undefined);
  });

  test('counts a sidecar by its name of another image than ours', () => {
    const pod = podOf();
    for (const image of [
      'evil',
      'registry:5000/evil/mintmark:1',
      'registry:5000/mintmark/x',
      'mintmark',
      undefined,
    ]) {
      pod.spec!.initContainers = [{ name: 'mintmark', restartPolicy: 'Always', ...(image && { image }) }];
      assert.equal(imagesOf(pod, OURS).digest, undefined, String(image));
    }
    for (const image of ['registry:5000/mintmark', `registry:5000/mintmark:3@${OTHER}`]) {
      pod.spec!.initContainers = [{ name: 'mintmark', restartPolicy: 'Always', image }];
      assert.equal(imagesOf(pod, OURS).digest, DIGEST);
      assert.equal(imagesOf(pod, []).digest, undefined);
    }
  });

  test('is not known by a pin alone, before anything has started', () => {
    const pending = podOf({ status: { phase: 'Pending' } });
    assert.equal(imagesOf(pending, OURS).unproven['k8s:image-digest'], 'not_started');
    const bare = podOf({ spec: { containers: [{ name: 'web', image: `web@${DIGEST}` }] } });
    assert.equal(imagesOf(bare, OURS).unproven['k8s:image-digest'], 'not_started');
    assert.equal(
      imagesOf({ ...bare, status: { containerStatuses: [statusOf('web', DIGEST)] } }, OURS).digest,
      DIGEST,
    );
  });

  test('is what runs, whatever the specification says since', () => {
    const status = { containerStatuses: [statusOf('web', OTHER)] };
    assert.equal(imagesOf(podOf({ status }), OURS).digest, OTHER);
  });

  const withContainers = (...images: string[]) =>
    podOf({
      spec: { ...podOf().spec, containers: images.map((image, index) => ({ name: `c${index}`, image })) },
    });

  test('is that of all its containers', () => {
    assert.equal(imagesOf(withContainers(`a@${DIGEST}`, `b@${DIGEST}`), OURS).digest, DIGEST);
    const mixed = imagesOf(withContainers(`a@${DIGEST}`, `b@${OTHER}`), OURS);
    assert.equal(mixed.digest, undefined);
    assert.equal(mixed.unproven['k8s:image-digest'], 'several_images');
  });

  test('is not known before an image without a digest has started', () => {
    const pod = withContainers('web:1');
    assert.equal(imagesOf(pod, OURS).unproven['k8s:image-digest'], 'not_started');
    const started = statusOf('c0', DIGEST);
    assert.equal(imagesOf({ ...pod, status: { containerStatuses: [started] } }, OURS).digest, DIGEST);
  });

  test('an init container and a debugger count too', () => {
    const pod = withContainers(`a@${DIGEST}`);
    pod.spec!.ephemeralContainers = [{ name: 'debug', image: `b@${OTHER}` }];
    assert.equal(imagesOf(pod, OURS).digest, undefined);
  });
});

suite('the digest after a restart', () => {
  const ENDED = { terminated: { exitCode: 0 } };
  const WAITS = { waiting: { reason: 'CrashLoopBackOff' } };
  const withStatus = (image: string, state: V1ContainerState, spec: Partial<V1PodSpec> = {}) =>
    podOf({
      spec: { ...podOf().spec, containers: [{ name: 'web', image }], ...spec },
      status: { containerStatuses: [statusOf('web', DIGEST, state)] },
    });
  const unproven = (pod: V1Pod) => imagesOf(pod, OURS).unproven['k8s:image-digest'];

  test('is not what ran before, as long as nobody says what runs now', () => {
    assert.equal(unproven(withStatus('web:1', ENDED)), 'restarting');
    assert.equal(unproven(withStatus('web:1', { waiting: { reason: 'ContainerCreating' } })), 'restarting');
    assert.equal(unproven(withStatus('web:1', WAITS)), 'not_running');
    assert.equal(unproven(withStatus(`web@${OTHER}`, ENDED)), 'restarting');
  });

  test('is that of the specification where it names the very digest', () => {
    assert.equal(imagesOf(withStatus(`web@${DIGEST}`, ENDED), OURS).digest, DIGEST);
  });

  test('is that of a container which has run for the last time', () => {
    const job = withStatus('web:1', ENDED, { restartPolicy: 'Never' });
    assert.equal(imagesOf(job, OURS).digest, DIGEST);
    const failed = { terminated: { exitCode: 1 } };
    assert.equal(imagesOf(withStatus('web:1', failed, { restartPolicy: 'Never' }), OURS).digest, DIGEST);
    assert.equal(unproven(withStatus('web:1', failed, { restartPolicy: 'OnFailure' })), 'restarting');
    const own = (state: V1ContainerState, container: object, restartPolicy: string) =>
      withStatus('web:1', state, {
        restartPolicy,
        containers: [{ name: 'web', image: 'web:1', ...container }],
      });
    assert.equal(unproven(own(failed, { restartPolicy: 'OnFailure' }, 'Never')), 'restarting');
    const rules = [{ action: 'Restart', exitCodes: { operator: 'In', values: [1] } }];
    const ruled = { restartPolicy: 'Never', restartPolicyRules: rules };
    assert.equal(unproven(own(failed, ruled, 'Never')), 'restarting');
    assert.equal(imagesOf(own(ENDED, { restartPolicy: 'Never' }, 'Always'), OURS).digest, DIGEST);
    const init = withStatus('web:1', { running: {} });
    init.spec!.initContainers = [{ name: 'setup', image: 'setup:1' }];
    init.status!.initContainerStatuses = [statusOf('setup', DIGEST, ENDED)];
    assert.equal(imagesOf(init, []).digest, DIGEST);
    init.status!.initContainerStatuses = [statusOf('setup', DIGEST, failed)];
    assert.equal(imagesOf(init, []).digest, undefined);
    const debug = withStatus('web:1', { running: {} });
    debug.spec!.ephemeralContainers = [{ name: 'debug', image: 'debug:1' }];
    debug.status!.ephemeralContainerStatuses = [statusOf('debug', DIGEST, failed)];
    assert.equal(imagesOf(debug, OURS).digest, DIGEST);
  });

  test('is nobody’s after the image was changed, and neither is the name', async () => {
    const pod = withStatus('web:2', { running: {} });
    const images = imagesOf(pod, OURS, new Set(['web']));
    assert.deepEqual([images.digest, images.image], [undefined, undefined]);
    assert.deepEqual(images.unproven, { 'k8s:image': 'image_changed', 'k8s:image-digest': 'image_changed' });
    const { selectors } = await attestorOf(pod, ['web']).attest(bearer(), new Set());
    assert.deepEqual(
      [...selectors].filter((selector) => selector.startsWith('k8s:image')),
      [],
    );
  });

  test('is of the container that asks, where the sidecar sees it', async () => {
    const id = 'a'.repeat(64);
    const pod = withStatus('web:1', { running: {} }, { shareProcessNamespace: true });
    pod.status!.containerStatuses![0]!.containerID = `containerd://${id}`;
    const attest = async (claimed: string) =>
      (await attestorOf(pod).attest(bearer(`sidecar:container-id:${claimed}`), new Set())).facts[
        'k8s.image-digest'
      ];
    assert.equal(await attest(id), DIGEST);
    assert.equal(await attest('b'.repeat(64)), undefined);
  });

  test('is waited for where a rule wants it', async () => {
    const pod = withStatus('web:1', ENDED);
    let looks = 0;
    const source = {
      pod: async () => (looks++ === 0 ? pod : withStatus('web:1', { running: {} })),
      namespaceUid: async () => 'ns-uid',
      changedIn: () => new Set<string>(),
      close: async () => undefined,
    };
    const settings = { labels: [], annotations: [], sidecarImages: OURS };
    const attestor = createAttestor(
      settings,
      async () => REVIEWED,
      source,
      () => undefined,
    );
    const { facts } = await attestor.attest(bearer(), new Set(['k8s:image-digest']));
    assert.equal(facts['k8s.image-digest'], DIGEST);
  });
});

test('a rule may not rest on what a sidecar says of its caller', () => {
  const context = {
    issuer: 'https://id.example.com',
    constants: {},
    kinds: ['k8s:sa', 'sidecar:unix-uid'],
    claimedKinds: ['sidecar:unix-uid'],
  };
  const problems = (...match: string[]) => compilePolicy([ruleOf({ match, subject: 'x' })], context).problems;
  assert.match(problems('sidecar:unix-uid:0')[0]?.message ?? '', /name the pod too/);
  assert.deepEqual(problems('k8s:sa:web', 'sidecar:unix-uid:0'), []);
  const subject = 'u:{sidecar.unix-uid}';
  const open = compilePolicy([ruleOf({ match: ['k8s:sa:web'], subject })], context).problems;
  assert.ok(open.some(({ message }) => /is what a sidecar says/.test(message)));
  const pinned = ruleOf({ match: ['k8s:sa:web', 'sidecar:unix-uid:0'], subject: 'u-{sidecar.unix-uid}' });
  assert.deepEqual(compilePolicy([pinned], context).problems, []);
});
