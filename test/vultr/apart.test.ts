/** Providers kept apart through rotation, removal and restart. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { suite, test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { openBrowser } from '../oauth/browser.ts';
import { basic } from '../oauth/server.ts';
import { defer, mintmark, start, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { APP, type Api, addUser, adminCall, apiOf, CALLBACK, keyIds, PASSWORD, startVultr } from './api.ts';
import { authorize, signIn } from './people.ts';

const redeemed = (api: Api, provider: string, code: string) =>
  api.form(
    `/provider/${provider}/token`,
    { grant_type: 'authorization_code', code, redirect_uri: CALLBACK },
    basic('shop', 'shop'),
  );

suite('vultr: apart', { concurrency: 1 }, () => {
  const scope = scopeOf();

  test("one's ring rotates while another signs", async () => {
    const api = await startVultr(scope);
    const [one, other] = [await api.create('one'), await api.create('other')];
    await Promise.all([addUser(api, one), addUser(api, other)]);
    const [mine, theirs] = [await keyIds(api, one), await keyIds(api, other)];
    const set = async (id: string) =>
      createLocalJWKSet((await api.call('GET', `/provider/${id}/.well-known/jwks`)).body);
    const old = await redeemed(api, one, await signIn(api, one, { client_id: 'shop' }));
    const signing = Promise.all(
      Array.from({ length: 6 }, async () =>
        redeemed(api, other, await signIn(api, other, { client_id: 'shop' })),
      ),
    );
    const code = await signIn(api, one, { client_id: 'shop' });
    const rotated = await adminCall(api.admin, `/v1/issuers/${one}/keys/rotate`, { force: true });
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    for (const { status, body } of await signing) {
      assert.equal(status, 201);
      await jwtVerify(body.id_token, await set(other), { issuer: `${api.base}/provider/${other}` });
    }
    assert.deepEqual(await keyIds(api, other), theirs);
    assert.equal((await keyIds(api, one)).length, mine.length + 1);
    const { body } = await redeemed(api, one, code);
    const { protectedHeader } = await jwtVerify(body.id_token, await set(one));
    assert.equal(protectedHeader.kid, mine[1], 'the next key signs');
    await jwtVerify(old.body.id_token, await set(one));
    await assert.rejects(jwtVerify(body.id_token, await set(other)));
    const listed = await mintmark(['keys', 'list', '--issuer', one, '--admin', api.admin]);
    assert.match(listed.stdout, /retired/);
  });

  test('a removed provider signs nothing more, wherever its flow is, and leaves nothing', async () => {
    const directory = mkdtempSync('/tmp/mintmark-vultr-removed-');
    defer(scope, () => rmSync(directory, { recursive: true, force: true }));
    const api = await startVultr(scope, {}, { keys: { store: { file: directory } } });
    const [one, other] = [await api.create('one'), await api.create('other')];
    await Promise.all([addUser(api, one), addUser(api, other)]);
    const code = await signIn(api, one, { client_id: 'shop' });
    const tokens = await redeemed(api, one, await signIn(api, one, { client_id: 'shop' }));
    const browser = openBrowser(APP);
    const { body: found } = await api.call('GET', `/provider/${one}/.well-known/openid-configuration`);
    const query = new URLSearchParams({ client_id: 'shop', response_type: 'code', redirect_uri: CALLBACK });
    const page = await browser.open(`${found.authorization_endpoint}?${query}`);
    const flows = Array.from({ length: 10 }, () => redeemed(api, one, code));
    const removal = api.call('DELETE', `/provider/${one}`);
    const answers = await Promise.all(flows);
    assert.ok(answers.filter(({ status }) => status === 201).length <= 1, 'a code is good once');
    for (const { status, body } of answers)
      assert.ok(status === 201 || status === 404 || body.error === 'invalid_grant', JSON.stringify(body));
    assert.equal((await removal).status, 204);
    const records = new DatabaseSync(join(directory, 'records.db'), { readOnly: true });
    defer(scope, () => records.close());
    const left = records.prepare('SELECT realm, model, id FROM records WHERE realm LIKE ? OR payload LIKE ?');
    assert.deepEqual(left.all(`%${one}%`, `%${one}%`), []);
    assert.equal(records.prepare("SELECT * FROM records WHERE model = 'Provider'").all().length, 1);
    const rings = readdirSync(directory).filter((name) => name.startsWith('issuer-'));
    assert.equal(rings.length, 2, 'the document and the counter of the other');
    const refresh = { grant_type: 'refresh_token', refresh_token: tokens.body.refresh_token };
    assert.equal((await api.call('POST', `/provider/${one}/token`, refresh)).status, 404);
    assert.equal((await redeemed(api, one, code)).status, 404);
    const action = new URL(`${new URL(page.url).pathname}/login`, api.base).href;
    const submitted = await fetch(action, { method: 'POST', body: new URLSearchParams({ username: 'ada' }) });
    assert.equal(submitted.status, 404);
    const seen = await fetch(action, { headers: { Accept: 'text/html,*/*;q=0.8' } });
    assert.equal(seen.status, 404);
    assert.match(seen.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(await seen.text(), /is not here any more/);
    assert.equal((await api.call('GET', `/provider/${one}/.well-known/jwks`)).status, 404);
    assert.equal((await adminCall(api.admin, `/v1/issuers/${one}/keys`)).status, 404);
    assert.equal((await adminCall(api.admin, `/v1/issuers/${one}/users`)).status, 404);
    assert.equal((await redeemed(api, other, await signIn(api, other, { client_id: 'shop' }))).status, 201);
  });

  test('a restart in the middle of a flow: the code, the page and the session still count; no key is new', async () => {
    const directory = `/tmp/mintmark-vultr-${process.pid}`;
    const store = { keys: { store: { file: directory } } };
    const api = await startVultr(scope, {}, store);
    defer(scope, () => rmSync(directory, { recursive: true, force: true }));
    const one = await api.create('one');
    const gone = await api.create('gone');
    await addUser(api, one);
    const keys = await keyIds(api, one);
    const code = await signIn(api, one, { client_id: 'shop' });
    const tokens = await redeemed(api, one, await signIn(api, one, { client_id: 'shop' }));
    const browser = openBrowser(APP);
    const query = new URLSearchParams({ client_id: 'shop', response_type: 'code', redirect_uri: CALLBACK });
    const page = await browser.open(`${api.base}/provider/${one}/authorize?${query}`);
    assert.equal((await api.call('DELETE', `/provider/${gone}`)).status, 204);
    assert.equal(await api.stop(), 0);

    const again = await apiOf(await start(scope, api));
    assert.deepEqual(await keyIds(again, one), keys);
    assert.equal((await redeemed(again, one, code)).status, 201);
    const refresh = { grant_type: 'refresh_token', refresh_token: tokens.body.refresh_token };
    assert.equal((await again.call('POST', `/provider/${one}/token`, refresh, api.key)).status, 201);
    const back = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    assert.match(back.url, /code=/);
    assert.equal((await again.call('GET', `/provider/${gone}`)).status, 404);
    const files = readdirSync(directory).filter((name) => name.startsWith('issuer-'));
    assert.equal(files.length, 2, 'one document and its counter');
    for (const name of files) assert.doesNotMatch(readFileSync(`${directory}/${name}`, 'latin1'), /PRIVATE/);
  });

  test('the ring of a provider that nobody uses rotates too', async () => {
    const directory = `/tmp/mintmark-vultr-idle-${process.pid}`;
    defer(scope, () => rmSync(directory, { recursive: true, force: true }));
    const keys = { store: { file: directory }, rotateEvery: '4s', publishAtLeast: '2s' };
    const api = await startVultr(scope, {}, { keys });
    await api.create('idle');
    assert.equal(await api.stop(), 0);
    const [counter = ''] = readdirSync(directory).filter((name) => /^issuer-.*counter$/.test(name));
    const writes = () => Number(readFileSync(`${directory}/${counter}`, 'utf8'));
    const before = writes();
    await start(scope, api);
    await until(
      () => writes() > before || undefined,
      () => 'a rotation',
    );
  });

  test('shared users sign in everywhere, and are still others at each provider', async () => {
    const api = await startVultr(scope, { users: 'shared' });
    const [one, other] = [await api.create('one'), await api.create('other')];
    const ada = { username: 'ada', password: PASSWORD };
    assert.equal((await adminCall(api.admin, '/v1/users/add', ada)).status, 200);
    for (const provider of [one, other]) {
      const page = await authorize(api, provider, { client_id: 'shop' });
      assert.match(page.url, /code=/, page.html);
    }
    const code = await signIn(api, one, { client_id: 'shop' });
    assert.equal((await redeemed(api, other, code)).body.error, 'invalid_grant');
    const atOne = (action: string, body?: object) =>
      adminCall(api.admin, `/v1/issuers/${one}/users${action}`, body);
    for (const action of ['add', 'set', 'password', 'totp', 'remove']) {
      const { status, body } = await atOne(`/${action}`, ada);
      assert.equal(status, 409, action);
      assert.match(body.reason, /leave --issuer out$/);
    }
    assert.deepEqual(
      (await atOne('')).body.users.map(({ username }: typeof ada) => username),
      ['ada'],
    );
    assert.notEqual((await atOne('/forget', { sub: 'nobody' })).status, 409);
  });
});
