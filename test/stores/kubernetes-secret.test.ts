/** The store over a fake API; test/cluster has the real one. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { KubeConfig } from '@kubernetes/client-node';
import * as v from 'valibot';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { limitTime } from '../../src/stores/deadline.ts';
import { config, open } from '../../src/stores/kubernetes-secret.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { keyStoreSuite, refusal } from '../conformance/key-store.ts';
import {
  type Fault,
  garbage,
  hangUp,
  loseAnswer,
  type SecretsApi,
  startSecretsApi,
  status,
} from '../fakes/secrets-api.ts';

const BLOCK = { name: 'mintmark-keys' };
const ISSUER = 'https://id.example.com';

async function fakeApi(t: TestContext): Promise<SecretsApi> {
  const api = await startSecretsApi();
  t.after(() => api.close());
  return api;
}

async function openOn(t: TestContext, api: SecretsApi, block: v.InferOutput<typeof config> = BLOCK) {
  const warnings: string[] = [];
  const store = await open(block, {
    kubernetes: async () => api.config,
    warn: (message) => void warnings.push(message),
  });
  t.after(() => store.close());
  return Object.assign(store, { warnings });
}

keyStoreSuite('kubernetes secret', async (t) => openOn(t, await fakeApi(t)));
keyStoreSuite('sealed in a kubernetes secret', async (t) =>
  limitTime(sealStore(await openOn(t, await fakeApi(t)), randomBytes(32), ISSUER)),
);

const until = async (isSo: () => boolean, what: string) => {
  for (let waited = 0; !isSo(); waited += 5) {
    assert.ok(waited < 5000, `waited in vain for ${what}`);
    await sleep(5);
  }
};

suite('kubernetes secret: one Secret for all documents', () => {
  test('its settings are a name and perhaps a namespace', () => {
    assert.deepEqual(v.parse(config, { name: 'a.b-c' }), { name: 'a.b-c' });
    for (const block of [
      {},
      { name: '' },
      { name: 'A' },
      { name: 'a', namespace: 'a.b' },
      { name: 'a', x: 1 },
    ])
      assert.ok(!v.safeParse(config, block).success, JSON.stringify(block));
  });

  test('the namespace is that of the service account where none is set', async (t) => {
    const api = await fakeApi(t);
    await (await openOn(t, api)).read('ring');
    await (await openOn(t, api, { ...BLOCK, namespace: 'other' })).read('ring');
    assert.deepEqual(api.requests, [
      'GET /api/v1/namespaces/ns/secrets/mintmark-keys',
      'GET /api/v1/namespaces/other/secrets/mintmark-keys',
    ]);
    const nowhere = { getContextObject: () => null, getCurrentContext: () => '' } as unknown as KubeConfig;
    const opening = open(BLOCK, { kubernetes: async () => nowhere, warn: () => undefined });
    await assert.rejects(opening, refusal('server_error', /namespace must be set/));
  });

  test('a Secret that lacks our key has no document, and keeps what it has', async (t) => {
    const api = await fakeApi(t);
    for (const data of [undefined, { other: 'eA==' }]) {
      api.put(BLOCK.name, data);
      const store = await openOn(t, api);
      assert.equal(await store.read('ring'), undefined);
      await store.write('ring', Buffer.from('one'), undefined);
      const { ring, ...rest } = api.secrets.get(BLOCK.name)!.data!;
      assert.ok(ring);
      assert.deepEqual(rest, data ?? {});
    }
  });

  test('a write is tried again where only another document was changed', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    const version = await store.write('ring', Buffer.from('one'), undefined);
    const other = await openOn(t, api);
    let meddled = 0;
    api.onPatch = () => {
      if (meddled++ < 3) api.put(BLOCK.name, { ...api.secrets.get(BLOCK.name)!.data, other: `${meddled}` });
    };
    await store.write('ring', Buffer.from('two'), version);
    assert.deepEqual(Buffer.from((await other.read('ring'))!.bytes), Buffer.from('two'));
    assert.equal(api.secrets.get(BLOCK.name)!.data!.other, '3');
  });

  test('a write that others are always faster than gives up', { timeout: 20_000 }, async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    const version = await store.write('ring', Buffer.from('one'), undefined);
    api.onPatch = () => api.put(BLOCK.name, api.secrets.get(BLOCK.name)!.data);
    await assert.rejects(
      store.write('ring', Buffer.from('two'), version),
      refusal('temporarily_unavailable', /all the time/),
    );
  });

  test('of two that make the Secret one wins; the other has a conflict only over the same document', async (t) => {
    const api = await fakeApi(t);
    const stores = await Promise.all(['ring', 'ring', 'ca'].map(() => openOn(t, api)));
    const results = await Promise.allSettled(
      ['ring', 'ring', 'ca'].map((name, at) => stores[at]!.write(name, Buffer.from('x'), undefined)),
    );
    const states = results.map((result) => result.status);
    assert.equal(states.filter((state) => state === 'rejected').length, 1);
    assert.equal(states[2], 'fulfilled');
    for (const result of results) if (result.status === 'rejected') refusal('conflict')(result.reason);
  });

  test('all documents together have no more bytes than a Secret takes', async (t) => {
    const store = await openOn(t, await fakeApi(t));
    await store.write('ring', Buffer.alloc(700 * 1024), undefined);
    await assert.rejects(
      store.write('ca', Buffer.alloc(400 * 1024), undefined),
      refusal('server_error', /Secret ns\/mintmark-keys would have \d+ bytes/),
    );
  });
});

suite('kubernetes secret: faults', () => {
  const rights: readonly (readonly [
    string,
    (store: KeyStore, version: string) => Promise<unknown>,
    RegExp,
  ])[] = [
    [
      'GET',
      (store) => store.read('ring'),
      /may not get .* needs the verb "get" on "secrets" with .*mintmark-keys/,
    ],
    [
      'PATCH',
      (store, version) => store.write('ring', Buffer.of(1), version),
      /needs the verb "patch" on "secrets"/,
    ],
  ];

  test('a missing right is named with its verb, resource, namespace and name', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    const creating = { method: 'POST', fault: status(403, 'User "x" cannot create resource "secrets"') };
    api.faults.push(creating);
    await assert.rejects(
      store.write('ring', Buffer.of(1), undefined),
      refusal(
        'temporarily_unavailable',
        /^the Secret ns\/mintmark-keys is not there; put it back, .*may not create the Secret ns\/mintmark-keys: its Role in the namespace ns needs the verb "create" on "secrets" \(.*User "x"/,
      ),
    );
    const version = await store.write('ring', Buffer.of(0), undefined);
    for (const [method, act, detail] of rights) {
      api.faults.push({ method, fault: status(403) });
      await assert.rejects(act(store, version), refusal('temporarily_unavailable', detail));
    }
  });

  const passing: readonly Fault[] = [status(500), status(503), status(429), status(401), hangUp, garbage];
  test('what may pass is temporarily_unavailable, and the document stays', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    const version = await store.write('ring', Buffer.from('one'), undefined);
    for (const fault of passing) {
      api.faults.push({ method: 'GET', fault });
      await assert.rejects(store.read('ring'), refusal('temporarily_unavailable', /^(?!.*secret-looking)/));
    }
    for (const fault of passing.filter((each) => each !== garbage)) {
      api.faults.push({ method: 'PATCH', fault });
      await assert.rejects(
        store.write('ring', Buffer.from('two'), version),
        refusal('temporarily_unavailable'),
      );
    }
    assert.equal((await store.read('ring'))?.version, version);
  });

  test('what does not pass by itself is server_error with what the API server says', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    for (const [code, message] of [
      [404, 'namespaces "ns" not found'],
      [422, 'data: Forbidden: field is immutable'],
      [413, 'too large'],
    ] as const) {
      api.faults.push({ method: 'POST', fault: status(code, message) });
      await assert.rejects(
        store.write('ring', Buffer.of(1), undefined),
        refusal('server_error', new RegExp(message)),
      );
    }
  });

  test('after an answer that is lost the document is the old or the new one', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    api.faults.push({ method: 'POST', fault: loseAnswer });
    await assert.rejects(
      store.write('ring', Buffer.from('one'), undefined),
      refusal('temporarily_unavailable'),
    );
    const found = await store.read('ring');
    assert.deepEqual(Buffer.from(found!.bytes), Buffer.from('one'));
    api.faults.push({ method: 'PATCH', fault: loseAnswer });
    await assert.rejects(
      store.write('ring', Buffer.from('two'), found!.version),
      refusal('temporarily_unavailable'),
    );
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), Buffer.from('two'));
    await assert.rejects(store.write('ring', Buffer.from('three'), found!.version), refusal('conflict'));
  });

  test('a document that is damaged is server_error and not written over', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    await store.write('ring', Buffer.from('one'), undefined);
    const whole = Buffer.from(api.secrets.get(BLOCK.name)!.data!.ring!, 'base64');
    const flipped = Buffer.from(whole);
    flipped[50]! ^= 1;
    for (const bytes of [Buffer.from('text'), Buffer.alloc(0), whole.subarray(0, 30), flipped]) {
      api.put(BLOCK.name, { ring: bytes.toString('base64') });
      const detail = /Secret ns\/mintmark-keys, key ring, (?:is|was)/;
      await assert.rejects(store.read('ring'), refusal('server_error', detail));
      await assert.rejects(store.write('ring', Buffer.of(1), undefined), refusal('server_error', detail));
    }
  });

  test('an older Secret that is put back, or one that lost the document, takes a restart to be accepted', async (t) => {
    const api = await fakeApi(t);
    const store = await openOn(t, api);
    const first = await store.write('ring', Buffer.from('one'), undefined);
    const old = api.secrets.get(BLOCK.name)!.data!;
    await store.write('ring', Buffer.from('two'), first);
    for (const [data, detail] of [
      [old, /has version 1 of ring, but version 2 was seen: an older copy was put back/],
      [{}, /has lost its key ring/],
    ] as const) {
      api.put(BLOCK.name, data);
      await assert.rejects(store.read('ring'), refusal('server_error', detail));
      for (const expected of [undefined, first])
        await assert.rejects(store.write('ring', Buffer.of(1), expected), refusal('server_error', detail));
    }
    api.put(BLOCK.name, old);
    assert.equal((await (await openOn(t, api)).read('ring'))?.version, first);
  });
});

suite('kubernetes secret: the watch', () => {
  const watching = async (t: TestContext) => {
    const api = await fakeApi(t);
    const [mine, theirs] = [await openOn(t, api), await openOn(t, api)];
    const heard = { count: 0 };
    const version = await mine.write('ring', Buffer.from('one'), undefined);
    await theirs.read('ring');
    const stop = mine.watch!('ring', () => heard.count++);
    await until(() => api.watches() === 1, 'the watch');
    return { api, mine, theirs, version, heard, stop };
  };

  test('tells of what others write, not of our own writes and not of other documents', async (t) => {
    const { mine, theirs, version, heard } = await watching(t);
    const second = await theirs.write('ring', Buffer.from('two'), version);
    await until(() => heard.count === 1, 'the change');
    await mine.read('ring');
    await mine.write('ring', Buffer.from('three'), second);
    await theirs.write('ca', Buffer.from('ca'), undefined);
    await sleep(100);
    // The event of our own write may come before its answer.
    assert.ok(heard.count <= 2, `${heard.count}`);
  });

  test('tells of a document that is gone or damaged', async (t) => {
    const { api, heard } = await watching(t);
    api.put(BLOCK.name, { ring: 'eA==' });
    await until(() => heard.count === 1, 'the damage');
    api.put(BLOCK.name, {});
    await until(() => heard.count === 2, 'the loss');
  });

  test('is begun anew when it ends, and what changed in between is told', async (t) => {
    const { api, mine, theirs, version, heard } = await watching(t);
    for (const method of ['WATCH', 'WATCH']) api.faults.push({ method, fault: status(500) });
    api.dropWatches();
    await until(() => api.watches() === 0, 'the end of the watch');
    await theirs.write('ring', Buffer.from('two'), version);
    await until(() => heard.count === 1, 'the change');
    assert.equal(api.watches(), 1);
    assert.equal(mine.warnings.length, 1, mine.warnings.join('\n'));
    assert.match(mine.warnings[0]!, /watch the Secret ns\/mintmark-keys.*until it is watched again/);
  });

  test('a missing right is told once and calls for no storm of requests', async (t) => {
    const api = await fakeApi(t);
    for (let count = 0; count < 50; count++) api.faults.push({ method: 'WATCH', fault: status(403) });
    const store = await openOn(t, api);
    store.watch!('ring', () => undefined);
    await sleep(1500);
    assert.equal(store.warnings.length, 1);
    assert.match(
      store.warnings[0]!,
      /needs the verb "watch" on "secrets" with the resourceNames \["mintmark-keys"\]/,
    );
    assert.ok(api.requests.length <= 5, `${api.requests.length} requests`);
  });

  test('ends when it is stopped, or with the store, and leaves no connection', async (t) => {
    const { api, mine, stop, heard, theirs, version } = await watching(t);
    stop();
    await until(() => api.watches() === 0, 'the end');
    mine.watch!('ring', () => heard.count++);
    mine.watch!('other', () => undefined)();
    await until(() => api.watches() === 1, 'the second watch, which is one for all');
    await mine.close();
    await until(() => api.watches() === 0, 'the end');
    await theirs.write('ring', Buffer.from('two'), version);
    await sleep(600);
    assert.equal(api.watches(), 0);
    assert.equal(heard.count, 0);
    assert.deepEqual(mine.warnings, []);
    assert.throws(() => mine.watch!('ring', () => undefined), refusal('temporarily_unavailable'));
  });

  test('passes through the seal and the deadline', async (t) => {
    const store = limitTime(sealStore(await openOn(t, await fakeApi(t)), randomBytes(32), ISSUER));
    store.watch!('ring', () => undefined)();
    assert.ok(!('watch' in limitTime({ ...store, watch: undefined } as unknown as KeyStore)));
  });
});
