/** A digest is that of what runs now: a pod whose image is changed gets nothing by the image that it had. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteNamespace, eventually, kubectl, startCluster } from './cluster.ts';
import { MINTMARK, MINTMARK_NEXT } from './images.ts';
import {
  callsOf,
  deletePod,
  freshAfter,
  type Pod,
  podOf,
  startLoad,
  startPod,
  workloadNamespace,
} from './pods.ts';
import { install, type Release, ruleFor } from './release.ts';

const AUDIENCE = 'https://image.example.com';
const EVERY_MS = 20;

suite('the image of a running pod', { timeout: 300_000 }, () => {
  let release: Release;
  let namespace: string;

  before(async () => {
    await startCluster();
    namespace = await workloadNamespace();
    // A pod without the label needs no authority; its digest is that of the image.
    const plain = { image: MINTMARK, command: ['node', '-e', 'setInterval(() => {}, 1000)'] };
    const labels = { 'mintmark.io/inject': 'false' };
    const known = await startPod(namespace, 'known', { ...plain, labels });
    const digest = /sha256:[0-9a-f]{64}$/.exec((await stateOf(known)).imageID)?.[0];
    assert.ok(digest);
    const match = [`k8s:ns:${namespace}`, `k8s:image-digest:${digest}`];
    release = await install({
      rules: [ruleFor(namespace, { match, subject: 'image', audiences: [AUDIENCE] })],
      keys: { keepOnUninstall: false },
    });
  });
  after(async () => {
    await deleteNamespace(namespace);
    await release.uninstall();
  });

  const stateOf = async (pod: Pod) => {
    const [state] = (await podOf(pod)).status.containerStatuses ?? [];
    assert.ok(state);
    return state;
  };

  test('is changed: the new container gets no token in the place of the old one', async (t) => {
    const pod = await startLoad(namespace, 'swapped', AUDIENCE, EVERY_MS);
    t.after(() => deletePod(pod));
    await freshAfter(pod, 0);
    const { containerID } = await stateOf(pod);
    await kubectl('-n', namespace, 'set', 'image', `pod/${pod.name}`, `app=${MINTMARK_NEXT}`);
    await eventually('the new container', async () => {
      const state = await stateOf(pod);
      return state.containerID !== containerID && 'running' in state.state;
    });
    await sleep(3000);
    // The log is the new container's alone, from its first call on, which comes before the kubelet tells of it.
    const calls = await callsOf(pod);
    assert.ok(calls.length > 10);
    // It asks more often than a pod may.
    assert.deepEqual(calls.filter(({ status }) => status !== 403 && status !== 429).slice(0, 3), []);
    assert.ok(calls.some(({ status }) => status === 403));
  });
});
