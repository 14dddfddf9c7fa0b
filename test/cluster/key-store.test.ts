/** The keys' Secret on a real API server: rights, races, a server that hangs or is started anew. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KubeConfig } from '@kubernetes/client-node';
import { IssuerError } from '../../src/core/errors.ts';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { limitTime } from '../../src/stores/deadline.ts';
import { open } from '../../src/stores/kubernetes-secret.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { keyStoreSuite, refusal } from '../conformance/key-store.ts';
import {
  apply,
  cluster,
  createNamespace,
  deleteNamespace,
  eventually,
  freeze,
  get,
  kubectl,
  startCluster,
} from './cluster.ts';

let admin: KubeConfig;
let namespace: string;

before(async () => {
  admin = await startCluster();
  namespace = await createNamespace('keys');
});
after(() => deleteNamespace(namespace));

let count = 0;
const freshName = () => `keys-${++count}`;

async function openAs(t: TestContext, config: KubeConfig, name: string, inNamespace?: string) {
  const warnings: string[] = [];
  const store = await open(
    { name, namespace: inNamespace ?? namespace },
    { kubernetes: async () => config, warn: (message) => void warnings.push(message) },
  );
  t.after(() => store.close());
  return Object.assign(store, { warnings });
}

const openFresh = (t: TestContext, name = freshName()) => openAs(t, admin, name);

keyStoreSuite('kubernetes secret on a real API server', (t) => openFresh(t));
keyStoreSuite('sealed, with a deadline, on a real API server', async (t) =>
  limitTime(sealStore(await openFresh(t), randomBytes(32), 'https://id.example.com')),
);

/** What the service account of a pod with these rights on Secrets could do. */
async function accountWith(verbs: readonly string[], names: readonly string[]): Promise<KubeConfig> {
  const name = `account-${++count}`;
  const metadata = { name, namespace };
  const api = 'rbac.authorization.k8s.io';
  await apply(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: `${api}/v1`,
      kind: 'Role',
      metadata,
      rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: names, verbs }],
    },
    {
      apiVersion: `${api}/v1`,
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: api, kind: 'Role', name },
      subjects: [{ kind: 'ServiceAccount', name, namespace }],
    },
  );
  const token = await kubectl('-n', namespace, 'create', 'token', name);
  const config = new KubeConfig();
  config.loadFromClusterAndUser(admin.getCurrentCluster()!, { name, token });
  return config;
}

suite('rights', () => {
  test('get, watch and patch on the one Secret are all that it takes where the chart has made it', async (t) => {
    const name = freshName();
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace } });
    const store = await openAs(t, await accountWith(['get', 'watch', 'patch'], [name]), name);
    const theirs = await openFresh(t, name);
    const version = await store.write('ring', Buffer.from('one'), undefined);
    let heard = 0;
    store.watch!('ring', () => heard++);
    await sleep(500);
    await theirs.write('ring', Buffer.from('two'), version);
    await eventually('the change', () => heard === 1, 5);
    assert.deepEqual(store.warnings, []);
  });

  test('a right that is missing is named', async (t) => {
    const name = freshName();
    const detail = (verb: string, rest = '') =>
      new RegExp(
        `RBAC: our service account may not ${verb} the Secret ${namespace}/${name}: its Role in the namespace ${namespace} needs the verb "${verb}" on "secrets"${rest}.*cannot ${verb} resource`,
      );
    const reading = await openAs(t, await accountWith(['patch'], [name]), name);
    await assert.rejects(
      reading.read('ring'),
      refusal('temporarily_unavailable', detail('get', ` with the resourceNames \\["${name}"\\]`)),
    );
    const creating = await openAs(t, await accountWith(['get'], [name]), name);
    await assert.rejects(
      creating.write('ring', Buffer.of(1), undefined),
      refusal('temporarily_unavailable', detail('create')),
    );
    await assert.rejects(
      creating.write('ring', Buffer.of(1), undefined),
      refusal('temporarily_unavailable', /^the Secret .* is not there; put it back/),
    );
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace } });
    await assert.rejects(
      creating.write('ring', Buffer.of(1), undefined),
      refusal('temporarily_unavailable', detail('patch')),
    );
    creating.watch!('ring', () => undefined);
    await eventually('the warning', () => creating.warnings.length === 1, 5);
    assert.match(creating.warnings[0]!, detail('watch'));
  });

  test('a namespace that does not exist, and a Secret that is immutable, are said to be', async (t) => {
    const nowhere = await openAs(t, admin, 'keys', 'does-not-exist');
    assert.equal(await nowhere.read('ring'), undefined);
    const detail = /namespaces "does-not-exist" not found/;
    await assert.rejects(nowhere.write('ring', Buffer.of(1), undefined), refusal('server_error', detail));
    const name = freshName();
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace }, immutable: true });
    const store = await openFresh(t, name);
    await assert.rejects(store.write('ring', Buffer.of(1), undefined), refusal('server_error', /immutable/));
  });
});

suite('replicas', () => {
  test('of those that write at once exactly one wins, in every round', async (t) => {
    const name = freshName();
    const stores = await Promise.all(Array.from({ length: 5 }, () => openFresh(t, name)));
    let version = await stores[0]!.write('ring', Buffer.from('start'), undefined);
    for (let round = 0; round < 20; round++) {
      const results = await Promise.allSettled(
        stores.map((store, index) => store.write('ring', Buffer.from(`${round} ${index}`), version)),
      );
      const won = results.filter((result) => result.status === 'fulfilled');
      assert.equal(won.length, 1);
      for (const result of results) if (result.status === 'rejected') refusal('conflict')(result.reason);
      version = won[0]!.value;
      for (const store of stores) assert.equal((await store.read('ring'))!.version, version);
    }
  });

  test('all hear of a change within a second', async (t) => {
    const name = freshName();
    const writer = await openFresh(t, name);
    let version = await writer.write('ring', Buffer.from('start'), undefined);
    const heard = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const store = await openFresh(t, name);
        await store.read('ring');
        const moments: number[] = [];
        store.watch!('ring', () => {
          moments.push(performance.now());
          store.read('ring').catch(() => undefined);
        });
        return moments;
      }),
    );
    await sleep(1000);
    const latencies: number[] = [];
    for (let round = 1; round <= 20; round++) {
      version = await writer.write('ring', Buffer.from(`${round}`), version);
      const writtenAt = performance.now();
      await eventually('the change', () => heard.every(({ length }) => length >= round), 5);
      latencies.push(...heard.map((moments) => moments.at(-1)! - writtenAt));
    }
    const slowest = Math.max(...latencies);
    t.diagnostic(
      `the slowest of ${latencies.length} heard of it ${slowest.toFixed(1)} ms after it was written`,
    );
    assert.ok(slowest < 1000);
  });

  test('documents of one Secret that are written at once all arrive', async (t) => {
    const name = freshName();
    const stores = await Promise.all(Array.from({ length: 6 }, () => openFresh(t, name)));
    await Promise.all(
      stores.map(async (store, index) => {
        let version: string | undefined;
        for (let round = 0; round < 5; round++)
          version = await store.write(`doc-${index}`, Buffer.from(`${round}`), version);
      }),
    );
    for (let index = 0; index < stores.length; index++)
      assert.equal(Buffer.from((await stores[0]!.read(`doc-${index}`))!.bytes).toString(), '4');
  });
});

suite('an API server in trouble', () => {
  /** The document, once the server answers again; until then nothing but that it does not. */
  const settled = (store: KeyStore) =>
    eventually('the API server', async () => {
      try {
        return Buffer.from((await store.read('ring'))!.bytes).toString();
      } catch (error) {
        assert.ok(error instanceof IssuerError && error.code === 'temporarily_unavailable', `${error}`);
        return undefined;
      }
    });

  test('that hangs: calls end in time, the document is the old or the new one', async (t) => {
    const store = limitTime(await openFresh(t));
    let version = await store.write('ring', Buffer.from('0'), undefined);
    for (let round = 1; round <= 3; round++) {
      const resume = await freeze('kube-apiserver');
      const begunAt = performance.now();
      try {
        await assert.rejects(
          store.write('ring', Buffer.from(`${round}`), version),
          refusal('temporarily_unavailable', /did not answer|has not answered/),
        );
      } finally {
        resume();
      }
      assert.ok(performance.now() - begunAt < 11_000);
      const found = await settled(store);
      assert.ok(found === `${round}` || found === `${round - 1}`, found);
      version = (await store.read('ring'))!.version;
      version = await store.write('ring', Buffer.from(`${round}`), version);
    }
  });

  test('that is killed in the middle of writes: what was confirmed is there', async (t) => {
    const store = limitTime(await openFresh(t));
    let version = await store.write('ring', Buffer.from('0'), undefined);
    for (let round = 0, confirmed = 0; round < 3; round++) {
      let isBack = false;
      const writing = (async () => {
        while (!isBack) {
          version = await store.write('ring', Buffer.from(`${confirmed + 1}`), version);
          confirmed++;
        }
      })();
      // One that waited for its connection may get through once the server is back.
      const ended = writing.catch((error: unknown) => {
        assert.ok(error instanceof IssuerError && error.code === 'temporarily_unavailable', `${error}`);
      });
      await sleep(100 + Math.random() * 100);
      await cluster(['restart', 'kube-apiserver']);
      isBack = true;
      await ended;
      const found = Number(await settled(store));
      assert.ok(found === confirmed || found === confirmed + 1, `${found} after ${confirmed}`);
      confirmed = found;
      version = (await store.read('ring'))!.version;
    }
  });

  test('that is started anew: the watch is back by itself, and misses nothing', async (t) => {
    const name = freshName();
    const [mine, theirs] = [await openFresh(t, name), await openFresh(t, name)];
    const version = await theirs.write('ring', Buffer.from('one'), undefined);
    await mine.read('ring');
    let heard = 0;
    mine.watch!('ring', () => heard++);
    await sleep(500);
    await cluster(['restart', 'kube-apiserver']);
    await eventually('the API server', () => theirs.read('ring'));
    await theirs.write('ring', Buffer.from('two'), version);
    await eventually('the change', () => heard > 0, 20);
    assert.ok(mine.warnings.length <= 1, mine.warnings.join('\n'));
  });

  test('what is written to the Secret is sealed and leaves everything else in it alone', async (t) => {
    const name = freshName();
    const labels = { team: 'a' };
    const data = { other: 'eA==' };
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace, labels }, data });
    const store = sealStore(await openFresh(t, name), randomBytes(32), 'https://id.example.com');
    await store.write('ring', Buffer.from('a private key'), undefined);
    const found = await get<{ metadata: { labels: object }; data: Record<string, string> }>(
      namespace,
      'secret',
      name,
    );
    assert.deepEqual(found!.metadata.labels, labels);
    assert.equal(found!.data.other, data.other);
    assert.ok(!Buffer.from(found!.data.ring!, 'base64').includes('private'));
  });
});
