/** Makings and removals that a fault cuts short, as the store shows them then and as the API does. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { suite, test } from 'node:test';
import Koa from 'koa';
import { absent } from '../../src/doors/vultr/fields.ts';
import { issuerRoutes } from '../../src/doors/vultr/issuer-routes.ts';
import { openIssuers } from '../../src/doors/vultr/issuers.ts';
import type { HostedSpec, IssuerHost, Vultr } from '../../src/doors/vultr/parts.ts';
import type { RouteParts } from '../../src/doors/vultr/provider-routes.ts';
import { openProviders } from '../../src/doors/vultr/providers.ts';
import { fakeClock } from '../fakes/clock.ts';
import { fakeRecords } from '../fakes/records.ts';
import { defer, type Scope, start, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type Api, addUser, apiOf, startVultr } from './api.ts';

const NOT_SAVED = "BEFORE UPDATE ON records WHEN new.model = 'Provider'";
const NOT_REMOVED = "BEFORE DELETE ON records WHEN old.model = 'User'";

suite('vultr: what is made or removed, half way', { concurrency: 1 }, () => {
  const scope: Scope = scopeOf();

  async function startKept() {
    const directory = mkdtempSync('/tmp/mintmark-vultr-halfway-');
    defer(scope, () => rmSync(directory, { recursive: true, force: true }));
    const api = await startVultr(scope, {}, { keys: { store: { file: directory } } });
    const database = new DatabaseSync(join(directory, 'records.db'), { timeout: 5_000 });
    defer(scope, () => database.close());
    const rings = () => readdirSync(directory).filter((name) => /^issuer-.*(?<!counter)$/.test(name));
    return { api, database, rings };
  }
  const fail = (database: DatabaseSync, when: string, how = "ABORT, 'stuck'") => {
    database.exec(`CREATE TRIGGER stuck ${when} BEGIN SELECT RAISE(${how}); END`);
    return () => database.exec('DROP TRIGGER stuck');
  };
  const managed = async (api: Api): Promise<string> =>
    (await api.call('POST', '/issuer', { source: 'managed' })).body.issuer.id;
  const keysOf = async (api: Api, issuer: string) => (await api.call('GET', `/issuer/${issuer}/jwks`)).body;
  const total = async (api: Api, path: string) => (await api.call('GET', path)).body.meta.total;

  for (const { name, how, status } of [
    { name: 'is not ready for a fault', how: "ABORT, 'stuck'", status: 503 },
    { name: 'was given up by another replica', how: 'IGNORE', status: 409 },
  ])
    test(`a provider that ${name} is none, and its issuer is what it was`, async () => {
      const { api, database, rings } = await startKept();
      const issuer = await managed(api);
      const keys = await keysOf(api, issuer);
      const work = fail(database, NOT_SAVED, how);
      for (const issuer_id of [issuer, undefined])
        assert.equal((await api.call('POST', '/provider', { name: 'never', issuer_id })).status, status);
      work();
      assert.deepEqual([await total(api, '/provider'), await total(api, '/issuer')], [0, 1]);
      assert.equal((await api.call('GET', `/issuer/${issuer}`)).body.issuer.source_id, null);
      assert.deepEqual(await keysOf(api, issuer), keys);
      assert.equal(rings().length, 1);
      const id = await api.create('at last', { issuer_id: issuer });
      assert.deepEqual((await api.call('GET', `/provider/${id}/.well-known/jwks`)).body, keys);
    });

  test('a making that a stop has cut short gives back the issuer that it took', async () => {
    const { api, database } = await startKept();
    const issuer = await managed(api);
    const keys = await keysOf(api, issuer);
    const id = await api.create('cut', { issuer_id: issuer });
    await api.stop();
    database
      .prepare(
        `UPDATE records SET payload = json_set(payload, '$.state', 'making', '$.createdAt', 0) WHERE id = ?`,
      )
      .run(id);
    const again = await apiOf(await start(scope, api));
    assert.equal((await again.call('GET', `/provider/${id}`)).status, 404);
    assert.deepEqual(await keysOf(again, issuer), keys);
    await again.create('anew', { issuer_id: issuer });
  });

  test('an issuer whose making a stop has cut short is in no list, and is removed', async () => {
    const { api, database, rings } = await startKept();
    const issuer = await managed(api);
    const making = (since: string) =>
      database
        .prepare(`UPDATE records SET payload = json_set(payload, '$.makingSince', ${since}) WHERE id = ?`)
        .run(issuer);
    making('unixepoch()');
    assert.equal(await total(api, '/issuer'), 0);
    assert.equal((await api.call('GET', `/issuer/${issuer}`)).status, 404);
    assert.equal((await api.call('POST', '/provider', { name: 'x', issuer_id: issuer })).status, 404);
    making('0');
    await api.stop();
    await start(scope, api);
    const left = () => database.prepare('SELECT 1 FROM records WHERE id = ?').all(issuer);
    await until(
      () => (left().length === 0 && rings().length === 0) || undefined,
      () => 'its removal',
    );
  });

  test('one that is being removed is in no list, nor is its issuer, whose keys are gone', async () => {
    const { api, database } = await startKept();
    const [id, other] = [await api.create('going'), await api.create('staying')];
    const { issuer_id: issuer } = (await api.call('GET', `/provider/${id}`)).body.provider;
    await addUser(api, id);
    const work = fail(database, NOT_REMOVED);
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 503);
    const { providers, meta } = (await api.call('GET', '/provider')).body;
    assert.deepEqual([providers.map((each: { id: string }) => each.id), meta.total], [[other], 1]);
    const listed = await api.call('GET', '/issuer');
    assert.deepEqual([listed.status, listed.body.issuers.length, listed.body.meta.total], [200, 1, 1]);
    for (const path of [`/issuer/${issuer}`, `/issuer/${issuer}/jwks`]) {
      const { status, body } = await api.call('GET', path);
      assert.deepEqual([status, body.error], [404, 'There is no such issuer.'], path);
    }
    assert.equal((await api.call('GET', `/provider/${id}/.well-known/jwks`)).status, 404);
    work();
  });

  test('the audit log tells once who began a removal, and once that it is done', async () => {
    const { api, database } = await startKept();
    const id = await api.create('told');
    await addUser(api, id);
    const told = (message: string) =>
      api.lines().filter((line) => line.msg === message && line.provider === id);
    const work = fail(database, NOT_REMOVED);
    for (let asked = 0; asked < 2; asked++)
      assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 503);
    const [begun, ...more] = told('a provider is being removed');
    assert.match(String(begun?.apiKey), /^test-/);
    assert.deepEqual([more, told('a provider was removed')], [[], []]);
    work();
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 204);
    await api.line('a provider was removed');
    const [done, ...others] = told('a provider was removed');
    assert.deepEqual([done?.name, others], ['told', []]);
    assert.equal(told('a provider is being removed').length, 1);
  });
});

test('vultr: an issuer that goes between the list and the look at its keys is left out', async () => {
  const look = async ({ ring }: HostedSpec) => {
    if (ring === 'gone') throw absent('provider');
    return { jwks: { keys: [{}] } };
  };
  const issuers = { list: async () => ['gone', 'stays'].map((id) => ({ id, source: 'managed' })) };
  const { issuers: shown } = await callWith({ issuers, host: { look } }, 'GET');
  assert.deepEqual(
    shown.map(({ id }: { readonly id: string }) => id),
    ['stays'],
  );
});

test('vultr: an issuer is in no list until its keys are made, nor where that fails', async () => {
  const vultr = { ...VULTR, records: fakeRecords() } as unknown as Vultr;
  const issuers = openIssuers(vultr);
  const [making, made] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const removed: string[] = [];
  const host = {
    async make() {
      making.resolve();
      await made.promise;
    },
    look: async () => ({ jwks: { keys: [{}] } }),
    remove: async ({ ring }: HostedSpec) => void removed.push(ring),
  };
  const providers = openProviders(vultr, issuers, () => host as unknown as IssuerHost);
  const parts = { vultr, issuers, providers, host };
  const answered = callWith(parts, 'POST', { source: 'managed' });
  await making.promise;
  assert.deepEqual((await callWith(parts, 'GET')).issuers, []);
  made.resolve();
  const { issuer } = await answered;
  assert.deepEqual((await callWith(parts, 'GET')).issuers, [issuer]);
  const failing = { ...host, make: () => Promise.reject(absent('key')) };
  await assert.rejects(callWith({ ...parts, host: failing }, 'POST', { source: 'managed' }));
  assert.deepEqual((await callWith(parts, 'GET')).issuers, [issuer]);
  assert.equal(removed.length, 1);
});

const VULTR = {
  ...{ base: 'https://id.example.com/v2/oidc', realm: 'https://id.example.com/v2/oidc' },
  ...{ cacheForSeconds: 60, clock: fakeClock(), tell: () => undefined },
};

/** What /v2/oidc/issuer answers. */
async function callWith(parts: object, method: 'GET' | 'POST', body?: object) {
  const keys = { require: async () => ({}) };
  const all = { vultr: VULTR, keys, providers: { list: async () => [] }, ...parts };
  const route = issuerRoutes(all as unknown as RouteParts).find((each) => each.method === method);
  const request = Object.assign(new IncomingMessage(new Socket()), { url: '/v2/oidc/issuer', method });
  if (body !== undefined) request.push(JSON.stringify(body));
  request.push(null);
  const context = new Koa().createContext(request, new ServerResponse(request));
  await route?.handle(context);
  return JSON.parse(String(context.body));
}
