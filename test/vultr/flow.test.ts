/** A person who signs in at a provider, and what comes of it. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import * as client from 'openid-client';
import { openBrowser } from '../oauth/browser.ts';
import { basic } from '../oauth/server.ts';
import { scopeOf } from '../system/suite.ts';
import { API, APP, type Api, addUser, CALLBACK, startVultr } from './api.ts';
import { authorize, signIn } from './people.ts';

suite('vultr: people', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let api: Api;
  let one: string;
  let other: string;
  before(async () => {
    api = await startVultr(scope);
    [one, other] = [await api.create('one'), await api.create('other')];
    await addUser(api, one);
  });

  const verify = (token: string, provider: string, audience: string) =>
    jwtVerify(token, createRemoteJWKSet(new URL(`${api.base}/provider/${provider}/.well-known/jwks`)), {
      issuer: `${api.base}/provider/${provider}`,
      audience,
    });

  test('the example of the API: a code, redirect_url and the API key alone', async () => {
    const code = await signIn(api, one, { client_id: 'shop' });
    const redeem = { grant_type: 'authorization_code', code, redirect_url: CALLBACK };
    const { status, body, headers } = await api.call('POST', `/provider/${one}/token`, redeem);
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(body.token_type, 'Bearer');
    assert.equal(body.scope, 'openid profile email orders.read offline_access');
    assert.deepEqual(
      ['access_token', 'expires_in', 'id_token', 'refresh_token', 'scope', 'token_type'],
      Object.keys(body).sort(),
    );
    const { payload } = await verify(body.id_token, one, 'shop');
    const access = await verify(body.access_token, one, API);
    assert.equal(access.payload.sub, payload.sub);
    assert.equal(access.payload.client_id, 'shop');
    await assert.rejects(verify(body.id_token, other, 'shop'));
    const again = await api.call('POST', `/provider/${one}/token`, redeem);
    assert.deepEqual([again.status, again.body.error, again.body.status], [400, 'invalid_grant', 400]);
  });

  test('the authorization endpoint takes a form too', async () => {
    const path = `/provider/${one}/authorize`;
    const answer = await fetch(`${api.base}${path}`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'shop' }),
      redirect: 'manual',
    });
    assert.equal(answer.status, 303);
    assert.ok(answer.headers.get('location')?.endsWith(`${path}?client_id=shop`));
  });

  test('what the OAuth server answers by itself has the form of the API too', async () => {
    const code = await signIn(api, one, { client_id: 'shop' });
    const redeem = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK };
    const { body } = await api.form(`/provider/${one}/token`, redeem, basic('shop', 'shop'));
    const at = (name: string, fields: Record<string, string>, proof: Record<string, string>) =>
      api.form(`/provider/${one}/${name}`, fields, proof); // which asserts the type
    const refused = [
      await at('userinfo', {}, { Authorization: 'Bearer x' }),
      await at('introspect', { token: 'x' }, basic('shop', 'wrong')),
      await at('revocation', { token: 'x' }, basic('shop', 'wrong')),
      await at('revocation', {}, basic('shop', 'shop')),
    ];
    for (const { status, body: shown } of refused) {
      assert.ok(status >= 400);
      assert.equal(shown.status, status);
      assert.equal(typeof shown.error, 'string');
    }
    const revoked = await at('revocation', { token: body.refresh_token }, basic('shop', 'shop'));
    assert.deepEqual([revoked.status, revoked.body], [200, {}]);
    assert.equal(revoked.headers.get('content-type'), 'application/json');
  });

  test('by Basic and by the body; a refresh token is used once', async () => {
    const code = await signIn(api, one, { client_id: 'shop' });
    const redeem = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK };
    const wrong = await api.form(`/provider/${one}/token`, redeem, basic('shop', 'wrong'));
    assert.deepEqual([wrong.status, wrong.body.error], [401, 'invalid_client']);
    const { status, body } = await api.form(`/provider/${one}/token`, redeem, basic('shop', 'shop'));
    assert.equal(status, 201, JSON.stringify(body));
    const refresh = { grant_type: 'refresh_token', refresh_token: body.refresh_token };
    const secret = { client_id: 'shop', client_secret: 'shop' };
    const elsewhere = await api.form(`/provider/${other}/token`, { ...refresh, ...secret });
    assert.deepEqual([elsewhere.status, elsewhere.body.error], [400, 'invalid_grant']);
    const renewed = await api.form(`/provider/${one}/token`, { ...refresh, ...secret });
    assert.equal(renewed.status, 201, JSON.stringify(renewed.body));
    const next = { grant_type: 'refresh_token', refresh_token: renewed.body.refresh_token };
    assert.equal((await api.call('POST', `/provider/${one}/token`, next)).status, 201);
    const reused = await api.form(`/provider/${one}/token`, { ...refresh, ...secret });
    assert.deepEqual([reused.status, reused.body.error], [400, 'invalid_grant']);
  });

  test('a client without a secret is spoken for by API keys alone', async () => {
    const code = await signIn(api, one, { client_id: 'keyed' });
    const redeem = { grant_type: 'authorization_code', code, redirect_url: CALLBACK, client_id: 'keyed' };
    const alone = await api.form(`/provider/${one}/token`, redeem);
    assert.deepEqual([alone.status, alone.body.error], [401, 'invalid_client']);
    assert.equal((await api.call('POST', `/provider/${one}/token`, redeem)).status, 201);
  });

  test('a public client needs PKCE and no secret', async () => {
    const refused = await authorize(api, one, { client_id: 'applet' });
    assert.match(refused.url, /error=invalid_request/);
    const verifier = client.randomPKCECodeVerifier();
    const challenge = await client.calculatePKCECodeChallenge(verifier);
    const code = await signIn(api, one, {
      ...{ client_id: 'applet', code_challenge: challenge, code_challenge_method: 'S256' },
    });
    const redeem = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, client_id: 'applet' };
    const done = await api.form(`/provider/${one}/token`, { ...redeem, code_verifier: verifier });
    assert.equal(done.status, 201, JSON.stringify(done.body));
  });

  test('codes and people of one provider are nothing at another', async () => {
    const code = await signIn(api, one, { client_id: 'shop' });
    const redeem = { grant_type: 'authorization_code', code, redirect_url: CALLBACK };
    for (const by of [basic('shop', 'shop'), { Authorization: `Bearer ${api.key}` }]) {
      const { status, body } = await api.form(`/provider/${other}/token`, redeem, by);
      assert.deepEqual([status, body.error], [400, 'invalid_grant']);
    }
    assert.equal((await api.form(`/provider/${one}/token`, redeem, basic('shop', 'shop'))).status, 201);
    const page = await authorize(api, other, { client_id: 'shop' });
    assert.match(page.html, /password/i, 'the user of one is not known at the other');
    assert.equal(page.url.startsWith(APP), false);
  });

  test('openid-client finds its way by discovery', async () => {
    const config = await client.discovery(
      new URL(`${api.base}/provider/${one}`),
      'shop',
      undefined,
      client.ClientSecretBasic('shop'),
      { execute: [client.allowInsecureRequests] },
    );
    const claims = await fetch(config.serverMetadata().userinfo_endpoint ?? '', {
      headers: { Authorization: 'Bearer nonsense' },
    });
    assert.equal(claims.status, 401);
    assert.equal(claims.headers.get('content-type'), 'application/json');
    const code = await signIn(api, one, { client_id: 'shop', scope: 'openid profile', nonce: 'n-1' });
    // It takes 200 alone, as RFC 6749 section 5.1 has it; the API answers 201.
    const tokens = await api.form(
      `/provider/${one}/token`,
      { grant_type: 'authorization_code', code, redirect_uri: CALLBACK },
      basic('shop', 'shop'),
    );
    const user = await client.fetchUserInfo(config, tokens.body.access_token, client.skipSubjectCheck);
    assert.equal(user.name, 'Ada');
    const { payload } = await verify(tokens.body.id_token, one, 'shop');
    assert.equal(payload.nonce, 'n-1');
  });

  test('a browser keeps its sessions at two providers apart', async () => {
    await addUser(api, other, 'bob');
    const browser = openBrowser(APP);
    await authorize(api, one, { client_id: 'shop' }, browser);
    const there = await authorize(api, other, { client_id: 'shop' }, browser, 'bob');
    assert.match(there.url, /code=/);
    const here = await browser.open(
      `${api.base}/provider/${one}/authorize?${new URLSearchParams({
        ...{ client_id: 'shop', response_type: 'code', redirect_uri: CALLBACK },
      })}`,
    );
    assert.match(here.url, /code=/, 'still signed in');
  });
});
