/** People who sign in to an application, by way of openid-client. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { decodeJwt } from 'jose';
import * as client from 'openid-client';
import { until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type Browser, openBrowser, type Page } from './browser.ts';
import { adminPost } from './people.ts';
import { API, basic, hashOf, OTHER_API, post, startOAuth } from './server.ts';

const APP = 'https://shop.example.com/';
const CALLBACK = `${APP}callback`;
const PASSWORD = 'correct horse battery staple';
const GRANTS = ['authorization_code', 'refresh_token'];
const SCOPES = ['openid', 'profile', 'email', 'offline_access', 'orders.read'];

const WEB = {
  id: 'web',
  name: 'The shop',
  secrets: [hashOf('web')],
  grants: GRANTS,
  scopes: SCOPES,
  redirectUris: [CALLBACK],
  postLogoutRedirectUris: [APP],
};
const TRUSTED = { ...WEB, id: 'trusted', secrets: [hashOf('trusted')], consent: false, scopeAs: 'string' };
const LEGACY = {
  id: 'legacy',
  secrets: [hashOf('legacy')],
  grants: ['password', 'refresh_token'],
  scopes: SCOPES,
};
const ELSEWHERE = {
  ...LEGACY,
  id: 'elsewhere',
  secrets: [hashOf('elsewhere')],
  identityProviders: ['corp'],
};
const TV = { id: 'tv', public: true, grants: ['device_code', 'refresh_token'], scopes: SCOPES };

suite('people', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  let browser: Browser;
  before(async () => {
    server = await startOAuth(scope, {
      clients: [WEB, TRUSTED, LEGACY, ELSEWHERE, TV],
      people: {
        passwords: { cost: 10 },
        identityProviders: { corp: { issuer: 'http://localhost:1', clientId: 'x' } },
      },
    });
    const ada = { username: 'ada', password: PASSWORD, claims: { name: 'Ada', email: 'ada@example.com' } };
    assert.equal(await adminPost(server.admin, '/v1/users/add', ada), 200);
  });

  const configure = (id: string, secret = id) =>
    client.discovery(new URL(server.issuer), id, undefined, client.ClientSecretPost(secret), {
      execute: [client.allowInsecureRequests],
    });

  /** Until the browser is sent back to the application. */
  async function signIn(config: client.Configuration, parameters: Record<string, string> = {}) {
    browser = openBrowser(APP);
    const verifier = client.randomPKCECodeVerifier();
    const state = client.randomState();
    const nonce = client.randomNonce();
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: CALLBACK,
      scope: SCOPES.join(' '),
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      state,
      nonce,
      ...parameters,
    });
    let page = await browser.open(url.href);
    page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    return { page, checks: { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce } };
  }

  const redeem = (config: client.Configuration, page: Page, checks: client.AuthorizationCodeGrantChecks) =>
    client.authorizationCodeGrant(config, new URL(page.url), checks);

  test('sign in, consent, tokens, userinfo, refresh, and a used refresh token ends the family', async () => {
    const config = await configure('web');
    const { page: asked, checks } = await signIn(config, { acr_values: 'tenant:acme' });
    assert.match(asked.html, /The shop/);
    const page = await browser.submit(asked, /\/consent$/, { decision: 'allow' });
    const first = await redeem(config, page, checks);
    assert.equal(first.claims()?.sub.length !== 0, true);
    const claims = decodeJwt(first.access_token);
    assert.equal(claims.aud, API);
    assert.equal(claims.idp, 'local');
    assert.equal(claims.tenant, 'acme');
    assert.deepEqual(claims.amr, ['pwd']);
    assert.equal(typeof claims.auth_time, 'number');
    assert.deepEqual([...(claims.scope as string[])].sort(), [...SCOPES].sort());
    const info = await client.fetchUserInfo(config, first.access_token, first.claims()?.sub ?? '');
    assert.equal(info.email, 'ada@example.com');
    assert.equal(info.name, 'Ada');

    const second = await client.refreshTokenGrant(config, String(first.refresh_token));
    assert.notEqual(second.refresh_token, first.refresh_token);
    assert.equal(decodeJwt(second.access_token).tenant, 'acme');
    await assert.rejects(client.refreshTokenGrant(config, String(first.refresh_token)), {
      error: 'invalid_grant',
    });
    await assert.rejects(client.refreshTokenGrant(config, String(second.refresh_token)), {
      error: 'invalid_grant',
    });
    assert.deepEqual(await client.tokenIntrospection(config, second.access_token), { active: false });
    await assert.rejects(client.fetchUserInfo(config, second.access_token, info.sub));
  });

  /** Whoever lost was given nothing, and is told as refused. */
  async function assertIssuedOnce(from: number) {
    const told = (word: string) =>
      server
        .lines()
        .slice(from)
        .filter(({ msg }) => msg === word).length;
    await until(() => told('refused') === 99, 'the lines of those who lost');
    assert.equal(told('issued'), 1);
  }

  test('a code is good once: of a hundred at a time one wins, and a replay ends what it gave', async () => {
    const config = await configure('trusted');
    const { page, checks } = await signIn(config);
    const code = new URL(page.url).searchParams.get('code') ?? '';
    const form = {
      grant_type: 'authorization_code',
      code,
      redirect_uri: CALLBACK,
      code_verifier: checks.pkceCodeVerifier,
    };
    const from = server.lines().length;
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => post(server.token, form, basic('trusted', 'trusted'))),
    );
    await assertIssuedOnce(from);
    const won = answers.filter(({ status }) => status === 200);
    assert.equal(won.length, 1);
    assert.ok(answers.every(({ status, body }) => status === 200 || body.error === 'invalid_grant'));
    const refresh = { grant_type: 'refresh_token', refresh_token: String(won[0]?.body.refresh_token) };
    assert.equal(
      (await post(server.token, refresh, basic('trusted', 'trusted'))).body.error,
      'invalid_grant',
    );
  });

  test('a refresh token is good once: of a hundred at a time one wins', async () => {
    const config = await configure('trusted');
    const { page, checks } = await signIn(config);
    const { refresh_token: token = '' } = await redeem(config, page, checks);
    const form = { grant_type: 'refresh_token', refresh_token: token };
    const from = server.lines().length;
    const answers = await Promise.all(
      Array.from({ length: 100 }, () => post(server.token, form, basic('trusted', 'trusted'))),
    );
    await assertIssuedOnce(from);
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
  });

  test('a refresh token is not consumed by a request for a resource that is not to be had', async () => {
    const config = await configure('trusted');
    const { page, checks } = await signIn(config);
    const { refresh_token: token = '' } = await redeem(config, page, checks);
    const form = { grant_type: 'refresh_token', refresh_token: token };
    const ask = (more: Record<string, string>) =>
      post(server.token, { ...form, ...more }, basic('trusted', 'trusted'));
    for (const more of [{ resource: OTHER_API }, { resource: API, scope: 'openid' }])
      assert.equal((await ask(more)).body.error, 'invalid_target', JSON.stringify(more));
    assert.equal((await ask({ scope: 'orders.write' })).body.error, 'invalid_scope');
    assert.equal((await ask({})).status, 200);
  });

  test('PKCE and the redirect URI are held to', async () => {
    const config = await configure('trusted');
    const wrong = [
      { code_verifier: 'a'.repeat(43) },
      { code_verifier: undefined },
      { redirect_uri: `${CALLBACK}/` },
    ];
    for (const change of wrong) {
      const { page, checks } = await signIn(config);
      const code = new URL(page.url).searchParams.get('code') ?? '';
      const whole = {
        grant_type: 'authorization_code',
        code,
        redirect_uri: CALLBACK,
        code_verifier: checks.pkceCodeVerifier,
        ...change,
      };
      const form = Object.fromEntries(
        Object.entries(whole).filter(([, value]) => value !== undefined),
      ) as Record<string, string>;
      const answer = await post(server.token, form, basic('trusted', 'trusted'));
      assert.equal(answer.body.error, 'invalid_grant', JSON.stringify(change));
      const right = { ...form, redirect_uri: CALLBACK, code_verifier: checks.pkceCodeVerifier };
      assert.equal(
        (await post(server.token, right, basic('trusted', 'trusted'))).status,
        200,
        'nothing was consumed',
      );
    }
    const plain = new URL(`${server.issuer}/connect/authorize`);
    const query = { client_id: 'web', response_type: 'code', redirect_uri: CALLBACK, scope: 'openid' };
    plain.search = new URLSearchParams(query).toString();
    const none = await openBrowser(APP).open(plain.href);
    assert.equal(new URL(none.url).searchParams.get('error'), 'invalid_request');
    assert.equal(new URL(none.url).searchParams.get('iss'), server.issuer, 'RFC 9207');
    plain.searchParams.set('redirect_uri', 'https://evil.example/');
    const evil = await openBrowser(APP).open(plain.href);
    assert.equal(evil.status, 400);
    assert.match(evil.headers.get('content-security-policy') ?? '', /default-src 'none'/);
  });

  test('no person is a client, and the password grant is warned of', async () => {
    assert.equal(await adminPost(server.admin, '/v1/users/add', { username: 'x', sub: 'web' }), 400);
    assert.match(server.output(), /client legacy has password, which RFC 9700 section 2\.4 says not to use/);
  });

  test('consent that is denied, and a scope that may not be asked for', async () => {
    const config = await configure('web');
    const { page: asked } = await signIn(config, { prompt: 'consent' });
    const page = await browser.submit(asked, /\/consent$/, { decision: 'deny' });
    assert.equal(new URL(page.url).searchParams.get('error'), 'access_denied');
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: CALLBACK,
      scope: 'openid orders.write',
      code_challenge: 'a'.repeat(43),
      code_challenge_method: 'S256',
    });
    const refused = await openBrowser(APP).open(url.href);
    assert.equal(new URL(refused.url).searchParams.get('error'), 'invalid_scope');
  });

  test('a device: pending, too soon, approved in the browser, then tokens, once', async () => {
    const config = await client.discovery(new URL(server.issuer), 'tv', undefined, client.None(), {
      execute: [client.allowInsecureRequests],
    });
    const device = await client.initiateDeviceAuthorization(config, {});
    assert.equal(device.interval, 5);
    const poll = () =>
      post(server.token, {
        grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
        device_code: device.device_code,
        client_id: 'tv',
      });
    assert.equal((await poll()).body.error, 'authorization_pending');
    assert.equal((await poll()).body.error, 'authorization_pending', 'one poll too soon is forgiven');
    assert.equal((await poll()).body.error, 'slow_down');
    const tv = openBrowser(APP);
    let page = await tv.open(device.verification_uri);
    assert.equal(page.status, 200);
    page = await tv.submit(page, /\/device$/, { user_code: 'BCDF-GHJK' });
    assert.match(page.html, /code/i);
    page = await tv.open(device.verification_uri);
    page = await tv.submit(page, /\/device$/, { user_code: device.user_code.toLowerCase() });
    page = await tv.submit(page, /\/device$/, { confirm: 'yes' });
    page = await tv.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    page = await tv.submit(page, /\/consent$/, { decision: 'allow' });
    assert.equal(page.status, 200, page.html);
    const answer = await poll();
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(typeof answer.body.refresh_token, 'string');
    assert.equal((await poll()).body.error, 'invalid_grant');
  });

  test('tabs of one browser are finished each on its own, the device too, in whatever order', async () => {
    const tabs = openBrowser(APP);
    const query = (id: string) =>
      new URLSearchParams({
        ...{ client_id: id, response_type: 'code', redirect_uri: CALLBACK, scope: 'openid', state: id },
        ...{ code_challenge: 'a'.repeat(43), code_challenge_method: 'S256' },
      });
    const open = (id: string) => tabs.open(`${server.issuer}/connect/authorize?${query(id)}`);
    const asked = { client_id: 'tv', scope: 'openid' };
    const { body: device } = await post(`${server.issuer}/connect/deviceauthorization`, asked);
    const ada = { username: 'ada', password: PASSWORD };
    const [first, second] = [await open('web'), await open('trusted')];
    const confirm = await tabs.open(String(device.verification_uri_complete));
    const third = await tabs.submit(confirm, /\/device$/, { confirm: 'yes' });
    const last = await open('web');
    const consent = await tabs.submit(first, /\/login$/, ada);
    const there = await tabs.submit(third, /\/login$/, ada);
    for (const page of [
      await tabs.submit(consent, /\/consent$/, { decision: 'allow' }),
      await tabs.submit(second, /\/login$/, ada),
      await tabs.submit(last, /\/login$/, ada),
    ])
      assert.match(page.url, /[?&]code=/, page.html);
    const connected = await tabs.submit(there, /\/consent$/, { decision: 'allow' });
    assert.match(connected.html, /Device connected/);
  });

  test('the password grant: tenant and refresh, wrong password, second factor of another way', async () => {
    const ask = (form: Record<string, string>) =>
      post(
        server.token,
        { grant_type: 'password', username: 'ada', password: PASSWORD, ...form },
        basic('legacy', 'legacy'),
      );
    const answer = await ask({ acr_values: 'tenant:acme' });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    const claims = decodeJwt(String(answer.body.access_token));
    assert.equal(claims.tenant, 'acme');
    assert.equal(claims.idp, 'local');
    const refresh = { grant_type: 'refresh_token', refresh_token: String(answer.body.refresh_token) };
    const again = await post(server.token, refresh, basic('legacy', 'legacy'));
    assert.equal(decodeJwt(String(again.body.access_token)).tenant, 'acme', JSON.stringify(again.body));
    assert.equal((await ask({ password: 'wrong' })).body.error, 'invalid_grant');
    assert.equal((await ask({ username: 'nobody' })).body.error, 'invalid_grant');
    assert.equal((await ask({ scope: 'orders.write' })).body.error, 'invalid_scope');
    const form = { grant_type: 'password', username: 'ada', password: PASSWORD };
    const elsewhere = await post(server.token, form, basic('elsewhere', 'elsewhere'));
    assert.equal(elsewhere.body.error, 'invalid_grant', 'a client that takes no local users');
  });

  test('signing out ends the session', async () => {
    const config = await configure('trusted');
    const { page, checks } = await signIn(config);
    const { id_token: hint = '' } = await redeem(config, page, checks);
    const url = client.buildEndSessionUrl(config, { id_token_hint: hint, post_logout_redirect_uri: APP });
    const asked = await browser.open(url.href);
    const gone = await browser.submit(asked, /endsession\/confirm$/, { logout: 'yes' });
    assert.ok(gone.url.startsWith(APP), gone.url);
    const again = client.buildAuthorizationUrl(config, {
      redirect_uri: CALLBACK,
      scope: 'openid',
      prompt: 'none',
      code_challenge: 'a'.repeat(43),
      code_challenge_method: 'S256',
    });
    const back = await browser.open(again.href);
    assert.equal(new URL(back.url).searchParams.get('error'), 'login_required');
  });

  test('nothing that is stored or logged is a bearer value', async () => {
    const config = await configure('trusted');
    const { page, checks } = await signIn(config);
    const { refresh_token: token = '' } = await redeem(config, page, checks);
    const code = new URL(page.url).searchParams.get('code') ?? '';
    const output = server.output();
    for (const secret of [token, code, PASSWORD, ...browser.cookies.values()])
      assert.equal(output.includes(secret), false);
  });
});
