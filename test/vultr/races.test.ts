/** Changes of an issuer while its keys are fetched, and removals that are cut short. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { before, suite, test } from 'node:test';
import { defer, type Scope, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type Answer, type Api, addKey, addUser, startVultr } from './api.ts';
import { hold, type Idp, startIdp } from './idp.ts';

suite('vultr: an issuer that is changed twice at once', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let api: Api;
  before(async () => {
    api = await startVultr(scope);
  });

  const issuerOf = async (uri: string, more: object = {}): Promise<string> => {
    const made = await api.call('POST', '/issuer', { source: 'external', uri, ...more });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    return made.body.issuer.id;
  };
  /** What `slow` is answered, which asks for the keys of the issuer, once the rest was done meanwhile. */
  async function meanwhile(
    idp: Idp,
    slow: () => Promise<Answer>,
    work: () => Promise<void>,
  ): Promise<Answer> {
    const asked = idp.asked;
    const release = hold(idp);
    const answered = slow();
    await until(
      () => idp.asked > asked || undefined,
      () => 'the call for keys',
    );
    await work();
    release();
    return answered;
  }

  test('one that is removed meanwhile stays away', async () => {
    const [first, second] = [await startIdp(scope), await startIdp(scope)];
    const id = await issuerOf(first.uri);
    const changed = await meanwhile(
      second,
      () => api.call('PATCH', `/issuer/${id}`, { uri: second.uri }),
      async () => assert.equal((await api.call('DELETE', `/issuer/${id}`)).status, 204),
    );
    assert.equal(changed.status, 404);
    assert.equal((await api.call('GET', `/issuer/${id}`)).status, 404);
  });

  test('one that is bound to a provider meanwhile stays bound', async () => {
    const [first, second] = [await startIdp(scope), await startIdp(scope)];
    const id = await issuerOf(first.uri);
    const provider = await api.create('one');
    const changed = await meanwhile(
      second,
      () => api.call('PATCH', `/issuer/${id}`, { uri: second.uri }),
      async () =>
        assert.equal((await api.call('PATCH', `/issuer/${id}`, { source_id: provider })).status, 204),
    );
    assert.equal(changed.status, 204);
    const { issuer } = (await api.call('GET', `/issuer/${id}`)).body;
    assert.deepEqual([issuer.uri, issuer.source_id], [second.uri, provider]);
  });

  test('none stays of a provider that is removed meanwhile', async () => {
    const idp = await startIdp(scope);
    const provider = await api.create('soon gone');
    const made = await meanwhile(
      idp,
      () => api.call('POST', '/issuer', { source: 'external', uri: idp.uri, source_id: provider }),
      async () => assert.equal((await api.call('DELETE', `/provider/${provider}`)).status, 204),
    );
    assert.equal(made.status, 404);
    const { issuers } = (await api.call('GET', '/issuer')).body;
    assert.ok(!issuers.some(({ uri }: { readonly uri: string }) => uri === idp.uri));
  });

  test("one that is given to another provider meanwhile is not its first one's to change", async () => {
    const [first, second] = [await startIdp(scope), await startIdp(scope)];
    const [mine, theirs] = [await api.create('mine'), await api.create('theirs')];
    const id = await issuerOf(first.uri, { source_id: mine });
    const key = await addKey(api, { providers: [mine] });
    const changed = await meanwhile(
      second,
      () => api.call('PATCH', `/issuer/${id}`, { uri: second.uri }, key),
      async () => assert.equal((await api.call('PATCH', `/issuer/${id}`, { source_id: theirs })).status, 204),
    );
    assert.deepEqual([changed.status, changed.body.error], [404, 'There is no such issuer.']);
    const { issuer } = (await api.call('GET', `/issuer/${id}`)).body;
    assert.deepEqual([issuer.uri, issuer.source_id], [first.uri, theirs]);
  });

  test('one whose uri is changed meanwhile does not get its old uri back with the keys of the new one', async () => {
    const [first, second] = [await startIdp(scope), await startIdp(scope)];
    const id = await issuerOf(first.uri);
    const { sent, answered } = await sendSlowly(api, `/issuer/${id}`, { uri: first.uri });
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { uri: second.uri })).status, 204);
    sent();
    assert.equal((await answered).statusCode, 409);
    assert.equal((await api.call('GET', `/issuer/${id}`)).body.issuer.uri, second.uri);
  });

  test('a uri that another one has is refused in the same words as at its making', async () => {
    const [first, second] = [await startIdp(scope), await startIdp(scope)];
    const id = await issuerOf(first.uri);
    await issuerOf(second.uri);
    const { status, body } = await api.call('PATCH', `/issuer/${id}`, { uri: second.uri });
    assert.deepEqual([status, body.error], [409, 'there is an issuer of this uri already']);
    assert.equal((await api.call('GET', `/issuer/${id}`)).body.issuer.uri, first.uri);
  });
});

/** A change whose fields are sent once the server has looked at what it is of. */
async function sendSlowly(api: Api, path: string, fields: object) {
  const headers = { Authorization: `Bearer ${api.key}`, Expect: '100-continue' };
  const change = request(`${api.base}${path}`, { method: 'PATCH', headers });
  const answered = once(change, 'response').then(([response]) => response as IncomingMessage);
  change.flushHeaders();
  await once(change, 'continue');
  assert.equal((await api.call('GET', path)).status, 200); // by then it waits for the fields
  return { answered, sent: () => change.end(JSON.stringify(fields)) };
}

test('vultr: what was published stays so while the records cannot be had', async (t) => {
  const directory = mkdtempSync('/tmp/mintmark-vultr-away-');
  const scope: Scope = { after: (clean) => t.after(clean) };
  defer(scope, () => rmSync(directory, { recursive: true, force: true }));
  const api = await startVultr(scope, {}, { keys: { store: { file: directory } } });
  const id = await api.create('kept');
  const { issuer_id: issuer } = (await api.call('GET', `/provider/${id}`)).body.provider;
  const database = new DatabaseSync(join(directory, 'records.db'));
  defer(scope, () => database.close());
  database.exec('ALTER TABLE records RENAME TO away');
  const paths = [`/provider/${id}/.well-known/openid-configuration`, `/provider/${id}/.well-known/jwks`];
  for (const path of [...paths, `/issuer/${issuer}/jwks`])
    assert.equal((await api.call('GET', path)).status, 200, path);
  for (const path of [`/issuer/${id}/jwks`, `/provider/${issuer}/.well-known/jwks`])
    assert.equal((await api.call('GET', path)).status, 503, `${path}: the id of another thing`);
  assert.equal((await api.call('GET', `/provider/${id}`)).status, 503);
  const browser = { Accept: 'text/html,*/*;q=0.8' };
  const page = await fetch(`${api.base}/provider/${id}/authorize?client_id=shop`, { headers: browser });
  assert.deepEqual([page.status, page.headers.get('content-type')], [503, 'text/html; charset=utf-8']);
  assert.match(await page.text(), /Try again in a moment/);
  database.exec('ALTER TABLE away RENAME TO records');
  assert.equal((await api.call('GET', `/provider/${id}`)).status, 200);
});

suite('vultr: a removal that is cut short', { concurrency: 1 }, () => {
  const scope = scopeOf();

  async function startStuck(more: object = {}) {
    const directory = mkdtempSync('/tmp/mintmark-vultr-stuck-');
    defer(scope as Scope, () => rmSync(directory, { recursive: true, force: true }));
    const api = await startVultr(scope, {}, { keys: { store: { file: directory }, ...more } });
    const id = await api.create('stuck');
    await addUser(api, id);
    const database = new DatabaseSync(join(directory, 'records.db'), { timeout: 5_000 });
    defer(scope as Scope, () => database.close());
    database.exec(`CREATE TRIGGER stuck BEFORE DELETE ON records WHEN old.model = 'User'
      BEGIN SELECT RAISE(ABORT, 'stuck'); END`);
    const realm = `${api.base}/provider/${id}`;
    const left = () =>
      Number(
        database.prepare('SELECT count(*) AS n FROM records WHERE realm = ? OR id = ?').get(realm, id)?.n,
      ) + readdirSync(directory).filter((name) => name.startsWith('issuer-')).length;
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 503);
    assert.equal((await api.call('GET', `/provider/${id}`)).status, 404);
    assert.ok(left() > 0);
    return { api, id, left, free: () => database.exec('DROP TRIGGER stuck') };
  }

  test('is gone on with when it is asked for again', async () => {
    const { api, id, left, free } = await startStuck();
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 503);
    free();
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 204);
    assert.equal(left(), 0);
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 404);
  });

  test('is gone on with by itself', async () => {
    const { left, free } = await startStuck({ rotateEvery: '4s', publishAtLeast: '2s' });
    free();
    await until(
      () => left() === 0 || undefined,
      () => `nothing of it, not ${left()}`,
    );
  });
});
