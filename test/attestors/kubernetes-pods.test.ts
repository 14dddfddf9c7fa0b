import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CoreV1Api } from '@kubernetes/client-node';
import { follow, watchPods } from '../../src/attestors/kubernetes-pods.ts';
import { failure, fakeKubernetes } from '../fakes/kubernetes.ts';

/** As much of an informer of @kubernetes/client-node as `follow` asks for. */
function informer() {
  const listeners = new Map<string, (value: unknown) => void>();
  let starts = 0;
  let fault: Error | undefined;
  return {
    on: (event: string, listener: (value: unknown) => void) => void listeners.set(event, listener),
    /** The library's own: a fault is told by an event, and the call resolves all the same. */
    async start() {
      starts++;
      if (fault !== undefined) listeners.get('error')?.(fault);
    },
    stop: async () => undefined,
    get: (name: string) => ({ metadata: { name } }),
    breaks(error: Error | undefined) {
      fault = error;
      if (error !== undefined) listeners.get('error')?.(error);
    },
    starts: () => starts,
  };
}

test('a watch that broke is believed again once it has started, though no object changes', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const library = informer();
  const told: unknown[] = [];
  const watched = follow(library, (error) => told.push(error));
  await turn();
  assert.equal(watched.get('prod')?.metadata?.name, 'prod');
  library.breaks(new Error('ECONNREFUSED'));
  assert.equal(watched.get('prod'), undefined);
  for (const starts of [2, 3]) {
    t.mock.timers.tick(2_000);
    await turn();
    assert.deepEqual([library.starts(), watched.get('prod')], [starts, undefined]);
  }
  library.breaks(undefined);
  t.mock.timers.tick(2_000);
  await turn();
  assert.equal(watched.get('prod')?.metadata?.name, 'prod');
  assert.equal(told.length, 1);
  library.breaks(new Error('ECONNREFUSED'));
  assert.equal(told.length, 2);
  await watched.stop();
});

for (const [missing, told] of [
  ['list', 'may not list pods;'],
  ['watch', 'may not watch pods;'],
] as const)
  test(`a missing right to ${missing} pods is named by its verb`, async (t) => {
    const list = { apiVersion: 'v1', kind: 'PodList', metadata: { resourceVersion: '1' }, items: [] };
    const { config } = await fakeKubernetes(t, ({ path }) => {
      const verb = /[?&]watch=true/.test(path) ? 'watch' : 'list';
      if (path.startsWith('/api/v1/pods') && verb === missing) return failure(403, 'Forbidden');
      return verb === 'list' ? { status: 200, body: list } : undefined;
    });
    const { promise, resolve } = Promise.withResolvers<string>();
    const source = watchPods(config, config.makeApiClient(CoreV1Api), resolve);
    const said = await promise;
    await source.close();
    assert.ok(said.includes(told), said);
  });
