/** Tokens of external issuers exchanged at a provider. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { basic } from '../oauth/server.ts';
import { scopeOf } from '../system/suite.ts';
import { API, type Api, adminCall, EXCHANGE, JWT_TYPE, startVultr } from './api.ts';
import { type Idp, newKey, startIdp, tokenOf } from './idp.ts';

suite('vultr: token exchange', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let api: Api;
  let idp: Idp;
  let one: string;
  let other: string;
  const identifier = (id: string) => `${api.base}/provider/${id}`;
  before(async () => {
    [api, idp] = await Promise.all([startVultr(scope), startIdp(scope)]);
    [one, other] = [await api.create('one'), await api.create('other')];
  });

  const exchange = async (provider: string, token: string, more: object = {}, key?: string) =>
    api.call(
      'POST',
      `/provider/${provider}/token`,
      { grant_type: EXCHANGE, subject_token: token, subject_token_type: JWT_TYPE, ...more },
      key,
    );

  test('nobody is trusted before an issuer is made', async () => {
    const { status, body } = await exchange(one, await tokenOf(idp, identifier(one)));
    assert.deepEqual([status, body.error], [400, 'invalid_request']);
  });

  test('the keys of an issuer are trusted at its provider alone', async () => {
    const made = await api.call('POST', '/issuer', { source: 'external', uri: idp.uri, source_id: one });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    assert.equal(idp.asked, 1);
    const { id } = made.body.issuer;
    const { status, body } = await exchange(one, await tokenOf(idp, identifier(one)));
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(body.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token');
    const keys = createRemoteJWKSet(new URL(`${identifier(one)}/.well-known/jwks`));
    const { payload } = await jwtVerify(body.access_token, keys, {
      issuer: identifier(one),
      audience: identifier(one),
    });
    assert.equal(payload.sub, `${id}:job-7`);
    assert.equal(payload.client_id, 'api-key');
    assert.ok((payload.exp ?? 0) <= Date.now() / 1000 + 301, 'no longer than what was shown');
    for (const aud of [identifier(other), identifier(one)]) {
      const refused = await exchange(other, await tokenOf(idp, aud));
      assert.deepEqual([refused.status, refused.body.error], [400, 'invalid_request']);
    }
    const self = await exchange(other, body.access_token);
    assert.deepEqual([self.status, self.body.error], [400, 'invalid_request']);
  });

  test('by a client with a secret, for a resource; not by a public one, nor by nobody', async () => {
    const form = {
      ...{ grant_type: EXCHANGE, subject_token: await tokenOf(idp, identifier(one)) },
      ...{ subject_token_type: JWT_TYPE, audience: API },
    };
    const done = await api.form(`/provider/${one}/token`, form, basic('shop', 'shop'));
    assert.equal(done.status, 201, JSON.stringify(done.body));
    const none = await api.form(`/provider/${one}/token`, form);
    assert.deepEqual([none.status, none.body.error], [401, 'invalid_client']);
    const open = await api.form(`/provider/${one}/token`, { ...form, client_id: 'applet' });
    assert.equal(open.body.error, 'unauthorized_client');
    const api2 = await api.form(`/provider/${one}/token`, { ...form, client_id: 'keyed' });
    assert.equal(api2.body.error, 'invalid_client');
    const far = await exchange(one, form.subject_token, { audience: 'https://elsewhere.example.com' });
    assert.equal(far.body.error, 'invalid_target');
  });

  test('every other refusal of the token endpoint', async () => {
    const token = await tokenOf(idp, identifier(one));
    const both = { client_id: 'shop', client_secret: 'shop' };
    const cases: readonly (readonly [number, string, object])[] = [
      [400, 'invalid_request', {}],
      [400, 'invalid_request', { grant_type: 7 }],
      [400, 'unsupported_grant_type', { grant_type: 'client_credentials' }],
      [400, 'unsupported_grant_type', { grant_type: 'urn:ietf:params:oauth:grant-type:device_code' }],
      [400, 'unsupported_grant_type', { grant_type: 'password', username: 'a', password: 'b' }],
      [400, 'invalid_request', { grant_type: 'refresh_token', refresh_token: 'x', ...both }],
      [
        400,
        'invalid_request',
        { grant_type: 'authorization_code', code: 'x', redirect_url: 'a', redirect_uri: 'b' },
      ],
      [400, 'invalid_request', { grant_type: EXCHANGE }],
      [400, 'invalid_request', { grant_type: EXCHANGE, subject_token: token }],
      [400, 'invalid_request', { grant_type: EXCHANGE, subject_token: token, subject_token_type: 'other' }],
      [400, 'invalid_request', { grant_type: EXCHANGE, subject_token: 'x', subject_token_type: JWT_TYPE }],
      [
        400,
        'invalid_request',
        { grant_type: EXCHANGE, subject_token: `${token}x`, subject_token_type: JWT_TYPE },
      ],
      [401, 'invalid_client', { grant_type: 'refresh_token', refresh_token: 'x', client_id: 'nobody' }],
    ];
    for (const [status, error, body] of cases) {
      const found = await api.call('POST', `/provider/${one}/token`, body);
      assert.deepEqual([found.status, found.body.error], [status, error], JSON.stringify([body, found.body]));
      assert.equal(found.body.status, status);
    }
    const wrong = await api.call('POST', `/provider/${one}/token`, { grant_type: 'refresh_token' }, 'wrong');
    assert.deepEqual([wrong.status, wrong.body.error], [401, 'invalid_client']);
  });

  test('a new key of the issuer is fetched when a token names it', async () => {
    idp.keys.unshift(newKey('b'));
    const { status, body } = await exchange(one, await tokenOf(idp, identifier(one)));
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(idp.asked, 2);
    idp.keys.unshift(newKey('c'));
    const soon = await exchange(one, await tokenOf(idp, identifier(one)));
    assert.deepEqual(
      [soon.status, soon.body.error],
      [400, 'invalid_request'],
      'not more often than every 30 s',
    );
    assert.equal(idp.asked, 2);
    idp.isAway = true;
    assert.equal((await exchange(one, await tokenOf(idp, identifier(one), {}, 1))).status, 201);
    idp.isAway = false;
  });

  test('an issuer that a provider was made with is trusted there alone, and ends with its removal', async () => {
    const second = await startIdp(scope);
    const { id } = (await api.call('POST', '/issuer', { source: 'external', uri: second.uri })).body.issuer;
    const tried = async (provider: string) =>
      (await exchange(provider, await tokenOf(second, identifier(provider)))).status;
    assert.deepEqual([await tried(one), await tried(other)], [201, 201], 'everybody trusts it yet');
    const third = await api.create('third', { issuer_id: id });
    assert.equal((await api.call('GET', `/provider/${third}`)).body.provider.issuer_id, id);
    assert.deepEqual([await tried(one), await tried(other), await tried(third)], [400, 400, 201]);
    assert.equal((await api.call('DELETE', `/issuer/${id}`)).status, 204);
    assert.equal(await tried(third), 400);
  });

  test('an issuer of one provider is taken by another one that was made with it', async () => {
    const idp = await startIdp(scope);
    const fields = { source: 'external', uri: idp.uri, source_id: one };
    const { id } = (await api.call('POST', '/issuer', fields)).body.issuer;
    const made = await api.create('made with it', { issuer_id: id });
    const tried = async (provider: string) =>
      (await exchange(provider, await tokenOf(idp, identifier(provider)))).status;
    assert.deepEqual([await tried(one), await tried(made), await tried(other)], [201, 201, 400]);
  });

  test('source_id is shown, and empty it lifts the restriction', async () => {
    const idp = await startIdp(scope);
    const fields = { source: 'external', uri: idp.uri, source_id: one };
    const { id, source_id: shown } = (await api.call('POST', '/issuer', fields)).body.issuer;
    assert.equal(shown, one);
    const tried = async () => (await exchange(other, await tokenOf(idp, identifier(other)))).status;
    const key = (await adminCall(api.admin, '/v1/api-keys/add', { name: 'of-one', providers: [one] })).body
      .key;
    const empty = await api.call('PATCH', `/issuer/${id}`, { source_id: '' }, key);
    assert.equal(empty.status, 403, 'not by a key that is for one');
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { kid: null, n: '' })).status, 204);
    assert.equal(await tried(), 400);
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { source_id: null })).status, 204);
    assert.equal((await api.call('GET', `/issuer/${id}`)).body.issuer.source_id, null);
    assert.equal(await tried(), 201);
  });
});
