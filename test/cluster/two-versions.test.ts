/**
 * Replicas of two versions beside each other on one ring. The later one says more in what it stores, of keys
 * and of the ring, as a release to come might; see images.ts and signers/ring-bytes.ts.
 */
import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import { open } from '../../src/stores/kubernetes-secret.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { deleteNamespace, eventually, get, kubectl, startCluster } from './cluster.ts';
import { MINTMARK, MINTMARK_NEXT } from './images.ts';
import { callsOf, createAccount, freshAfter, podOf, startLoad, workloadNamespace } from './pods.ts';
import { fullName, ISSUER, install, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const ROUNDS = 3;

type Header = {
  readonly release?: number;
  readonly keys: readonly { readonly keyId: string; readonly state: string; readonly madeBy?: string }[];
};

/** What is stored, opened with the KEK. */
async function storedHeader(
  t: TestContext,
  admin: KubeConfig,
  { name, namespace }: Release,
): Promise<Header> {
  const full = fullName(name);
  const kek = await get<{ data: { kek: string } }>(namespace, 'secret', `${full}-kek`);
  const key = Buffer.from(kek?.data.kek ?? '', 'base64');
  const secret = { name: `${full}-keys`, namespace };
  const store = sealStore(await open(secret, { kubernetes: async () => admin, warn: () => {} }), key, ISSUER);
  t.after(() => store.close());
  const bytes = Buffer.from((await store.read('key-ring'))?.bytes ?? []);
  return JSON.parse(bytes.toString('utf8', 4, 4 + bytes.readUInt32BE(0)));
}

suite('two versions', () => {
  test('rotate one ring together under load: one winner each time, and no published key is lost', {
    timeout: 300_000,
  }, async (t) => {
    const admin = await startCluster();
    const namespace = await workloadNamespace();
    t.after(() => deleteNamespace(namespace));
    await createAccount(namespace, 'web');
    const release = await install({
      replicas: 3,
      rules: [ruleFor(namespace)],
      keys: { keepOnUninstall: false },
    });
    t.after(() => release.uninstall());
    const inRelease = (...args: string[]) => kubectl('-n', release.namespace, ...args);
    const deployment = `deployment/${fullName(release.name)}`;
    const replaceBy = (image: string) => inRelease('set', 'image', deployment, `*=${image}`);
    const replicasOf = async (image: string) => {
      const names = await release.authorities();
      const pods = await Promise.all(names.map((name) => podOf({ namespace: release.namespace, name })));
      return names.filter((_, index) => pods[index]?.spec.containers[0]?.image === image);
    };
    const load = await startLoad(namespace, 'load-1', AWS, 50, { serviceAccount: 'web' });

    await replaceBy(MINTMARK_NEXT);
    await eventually(
      'a replica of the later version',
      async () => (await replicasOf(MINTMARK_NEXT)).length > 0,
    );
    await inRelease('rollout', 'pause', deployment);
    await inRelease(
      'wait',
      'pod',
      ...(await replicasOf(MINTMARK_NEXT)),
      '--for=condition=Ready',
      '--timeout=60s',
    );
    const both = [(await replicasOf(MINTMARK))[0] ?? '', (await replicasOf(MINTMARK_NEXT))[0] ?? ''] as const;
    const [older, later] = both;
    assert.ok(older !== '' && later !== '');

    const published = new Set(await release.jwks());
    for (let round = 1; round <= ROUNDS; round++) {
      await Promise.all(both.map((pod) => release.mintmark(pod, 'keys', 'rotate', '--force')));
      const { keys } = await storedHeader(t, admin, release);
      // Each of the two has added one key, so that no write went over another.
      assert.equal(keys.length, 2 + 2 * round);
      assert.equal(keys.filter(({ state }) => state === 'active').length, 1);
      for (const pod of both) {
        const listed = JSON.parse(await release.mintmark(pod, 'keys', 'list', '--json')).keys;
        assert.deepEqual(
          listed.map(({ keyId }: { readonly keyId: string }) => keyId).sort(),
          keys.map(({ keyId }) => keyId).sort(),
        );
      }
      const now = await release.jwks();
      for (const kid of published) assert.ok(now.includes(kid), `${kid} is published no more`);
      for (const kid of now) published.add(kid);
    }
    await release.mintmark(later, 'keys', 'rotate', '--force');
    const byLater = await storedHeader(t, admin, release);
    assert.equal(byLater.release, 2);
    assert.deepEqual([...new Set(byLater.keys.map(({ madeBy }) => madeBy))], ['release 2']);
    await release.mintmark(
      older,
      'keys',
      'revoke',
      byLater.keys.find(({ state }) => state === 'next')?.keyId ?? '',
    );
    const byOlder = await storedHeader(t, admin, release);
    assert.equal(byOlder.release, undefined);
    assert.deepEqual(
      byOlder.keys.filter(({ state }) => state !== 'next').map(({ madeBy }) => madeBy),
      byLater.keys.filter(({ state }) => state !== 'next').map(({ madeBy }) => madeBy),
    );

    await inRelease('rollout', 'resume', deployment);
    await release.available();
    assert.deepEqual(await replicasOf(MINTMARK), []);
    await replaceBy(MINTMARK);
    await release.available();
    await sleep(1000);
    const calls = await callsOf(load);
    assert.deepEqual(calls.filter(({ status }) => status !== 200).slice(0, 5), []);
    await freshAfter(load, Date.now());
    const kids = await release.jwks();
    for (const kid of new Set(calls.flatMap((call) => call.kid ?? []))) {
      assert.ok(kids.includes(kid), `${kid} is not published`);
      await release.verify(calls.find((call) => call.kid === kid)?.token ?? '', AWS);
    }
  });
});
