/** Whether the status of a container is of the image that its pod names, as a watch sees it. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { V1Pod } from '@kubernetes/client-node';
import { createImageChanges } from '../../src/attestors/kubernetes-changes.ts';

const DIGEST = `sha256:${'a'.repeat(64)}`;

type Parts = { readonly image?: string; readonly id?: string; readonly own?: string; readonly uid?: string };

function podOf({ image = 'web:1', id = 'one', own = image, uid = 'uid' }: Parts, generation?: number): V1Pod {
  const metadata = { name: 'web-1', namespace: 'prod', uid, ...(generation && { generation }) };
  const started = { name: 'web', image: own, imageID: `x@${DIGEST}`, ready: true, restartCount: 0 };
  return {
    metadata,
    spec: { containers: [{ name: 'web', image }] },
    status: id === '' ? {} : { containerStatuses: [{ ...started, containerID: id }] },
  };
}

/** What is said of the last of these changes. */
function changedAfter(...pods: readonly V1Pod[]): readonly string[] {
  const changes = createImageChanges();
  for (const pod of pods) changes.note(pod);
  return [...changes.changedIn(pods.at(-1)!)];
}

suite('the image of a running pod', () => {
  test('that stays needs no new container', () => {
    assert.deepEqual(changedAfter(podOf({ id: '' }), podOf({})), []);
    assert.deepEqual(changedAfter(podOf({}), podOf({ id: 'two' })), []);
    assert.deepEqual(changedAfter(podOf({ id: '' }), podOf({ own: 'alias:9' })), []);
  });

  test('that is changed counts once another container is there', () => {
    const changed = podOf({ image: 'web:2', own: 'web:1' });
    assert.deepEqual(changedAfter(podOf({}), changed), ['web']);
    assert.deepEqual(changedAfter(podOf({}), changed, podOf({ image: 'web:2', id: 'two' })), []);
  });

  test('that is changed and changed back is not that of the container before', () => {
    assert.deepEqual(changedAfter(podOf({}), podOf({ image: 'evil:1', own: 'web:1' }), podOf({})), ['web']);
  });

  test('that was changed while nobody looked is told by the container itself', () => {
    const gap = (own: string) => podOf({ image: 'web:2', id: 'two', own });
    assert.deepEqual(changedAfter(podOf({}), gap('web:2')), []);
    assert.deepEqual(changedAfter(podOf({}), gap('web:1')), ['web']);
  });

  test('is as the container says where the pod is seen for the first time', () => {
    assert.deepEqual(changedAfter(podOf({ image: 'web:2', own: 'web:1' })), ['web']);
    assert.deepEqual(changedAfter(podOf({ image: 'web:2', own: 'web:1' }, 2)), ['web']);
    // Nobody has changed anything of it: the runtime knows the image by another name.
    assert.deepEqual(changedAfter(podOf({ image: 'web:2', own: 'web:1' }, 1)), []);
    for (const [image, own] of [
      ['busybox', 'docker.io/library/busybox:latest'],
      ['grafana/grafana:1', 'docker.io/grafana/grafana:1'],
      ['localhost/web', 'localhost/web:latest'],
      ['registry:5000/web', 'registry:5000/web:latest'],
      [`web:1@${DIGEST}`, 'web:other'],
    ])
      assert.deepEqual(changedAfter(podOf({ image: image!, own: own! })), [], String(image));
    assert.deepEqual(changedAfter(podOf({ image: `web:1@sha256:${'b'.repeat(64)}`, own: 'web:1' })), ['web']);
  });

  test('is looked at also where only a read has it, and nothing is kept of that', () => {
    const changes = createImageChanges();
    changes.note(podOf({}));
    assert.deepEqual([...changes.changedIn(podOf({ image: 'web:2', own: 'web:1' }))], ['web']);
    assert.deepEqual([...changes.changedIn(podOf({}))], []);
  });

  test('of another pod of that name is another matter, and so is one that is forgotten', () => {
    const changes = createImageChanges();
    changes.note(podOf({}));
    const other = podOf({ image: 'web:2', id: 'two', uid: 'another' });
    changes.note(other);
    assert.deepEqual([...changes.changedIn(other)], []);
    changes.note(podOf({ image: 'web:3', own: 'web:2', id: 'two', uid: 'another' }));
    changes.forget(other);
    assert.deepEqual([...changes.changedIn(podOf({ image: 'web:3', id: 'two', uid: 'another' }))], []);
  });
});
