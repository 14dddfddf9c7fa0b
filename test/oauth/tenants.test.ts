/** Several issuers in one process: nothing of one is good at another. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import * as client from 'openid-client';
import { createPlace, mintmark, type Server, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { API, basic, hashOf, ORDERS_API, post, RESOURCES } from './server.ts';

const APP = 'https://shop.example.com/';
const CALLBACK = `${APP}callback`;
const PASSWORD = 'correct horse battery staple';
const SHOP = {
  id: 'shop',
  secrets: [hashOf('shop')],
  grants: ['client_credentials', 'authorization_code', 'refresh_token'],
  scopes: ['openid', 'offline_access', 'orders.read'],
  redirectUris: [CALLBACK],
  consent: false,
};
const TV = { id: 'tv', public: true, grants: ['device_code'], scopes: ['openid'] };
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
/** Exchanges what is of `self`, and a client that proves itself by such a token. */
const GATE = { id: 'gate', secrets: [hashOf('gate')], grants: ['token_exchange'] };
const AGAIN = {
  id: 'again',
  federated: { issuer: 'self', subject: 'worker' },
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};
const WORKER = {
  id: 'worker',
  secrets: [hashOf('worker')],
  grants: ['client_credentials'],
  scopes: ['here'],
};
const ATTESTORS = { unix: {}, jwt: { issuers: { self: { types: ['at+jwt'] } } } };
const RULES = [
  { name: 'own', match: ['jwt:issuer:self'], subject: 'own:{jwt.subject}', audiences: ['sts.amazonaws.com'] },
];
const tenant = (issuer: string) => ({
  rules: RULES,
  oauth: {
    clients: [SHOP, TV, WORKER, GATE, AGAIN, ORDERS_API],
    resources: [...RESOURCES, { audience: issuer, scopes: ['here'] }],
    people: { passwords: { cost: 10 } },
  },
});

suite('tenants', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Server;
  const issuerOf = (name: string) => `${server.issuer}/${name}`;
  const machine = (name: string) =>
    post(`${issuerOf(name)}/connect/token`, { grant_type: 'client_credentials' }, basic('shop', 'shop'));
  const keysOf = async (issuer: string) =>
    ((await (await fetch(`${issuer}/.well-known/jwks`)).json()) as { keys: { kid: string }[] }).keys.map(
      ({ kid }) => kid,
    );

  before(async () => {
    const place = await createPlace(scope);
    const [acme, beta] = ['acme', 'beta'].map((name) => tenant(`${place.issuer}/${name}`));
    const { oauth } = tenant(place.issuer);
    writeConfig(place, { attestors: ATTESTORS, rules: RULES, doors: { oauth }, issuers: { acme, beta } });
    server = await start(scope, place);
    const ada = { username: 'ada', password: PASSWORD };
    assert.equal(await adminPost(server.admin, '/v1/issuers/acme/users/add', ada), 200);
  });

  test('each has its own documents and keys, and its tokens verify by these alone', async () => {
    const rings = await Promise.all([server.issuer, issuerOf('acme'), issuerOf('beta')].map(keysOf));
    assert.equal(new Set(rings.flat()).size, rings.flat().length);
    const { body } = await machine('acme');
    const verify = (issuer: string) =>
      jwtVerify(String(body.access_token), createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks`)), {
        issuer: issuerOf('acme'),
        audience: API,
      });
    await verify(issuerOf('acme'));
    await assert.rejects(verify(issuerOf('beta')));
    await assert.rejects(verify(server.issuer));
    for (const path of [
      'acme/.well-known/openid-configuration',
      '.well-known/oauth-authorization-server/acme',
    ]) {
      const metadata = (await (await fetch(`${server.issuer}/${path}`)).json()) as Record<string, string>;
      assert.equal(metadata.issuer, issuerOf('acme'));
      assert.equal(metadata.token_endpoint, `${issuerOf('acme')}/connect/token`);
    }
  });

  test('a token of one is nothing at another', async () => {
    const { body } = await machine('acme');
    const look = (name: string) =>
      post(
        `${issuerOf(name)}/connect/introspect`,
        { token: String(body.access_token) },
        basic('shop', 'shop'),
      );
    assert.equal((await look('acme')).body.active, true);
    assert.deepEqual((await look('beta')).body, { active: false });
  });

  test('users, sessions, codes and refresh tokens stay where they are', async () => {
    const config = await client.discovery(
      new URL(issuerOf('acme')),
      'shop',
      undefined,
      client.ClientSecretBasic('shop'),
      { execute: [client.allowInsecureRequests] },
    );
    const verifier = client.randomPKCECodeVerifier();
    const challenge = {
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    };
    const query = { redirect_uri: CALLBACK, scope: 'openid offline_access orders.read', ...challenge };
    const browser = openBrowser(APP);
    let page = await browser.open(client.buildAuthorizationUrl(config, query).href);
    page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    const code = new URL(page.url).searchParams.get('code') ?? '';
    assert.notEqual(code, '', `${page.url} ${page.html}`);
    const redeem = {
      grant_type: 'authorization_code',
      code,
      redirect_uri: CALLBACK,
      code_verifier: verifier,
    };
    const elsewhere = await post(`${issuerOf('beta')}/connect/token`, redeem, basic('shop', 'shop'));
    assert.equal(elsewhere.body.error, 'invalid_grant');
    const here = await post(`${issuerOf('acme')}/connect/token`, redeem, basic('shop', 'shop'));
    assert.equal(here.status, 200, JSON.stringify(here.body));
    const refresh = { grant_type: 'refresh_token', refresh_token: String(here.body.refresh_token) };
    assert.equal(
      (await post(`${issuerOf('beta')}/connect/token`, refresh, basic('shop', 'shop'))).body.error,
      'invalid_grant',
    );
    assert.equal(
      (await post(`${issuerOf('acme')}/connect/token`, refresh, basic('shop', 'shop'))).status,
      200,
    );

    const beta = new URL(`${issuerOf('beta')}/connect/authorize`);
    beta.search = new URLSearchParams({ client_id: 'shop', response_type: 'code', ...query }).toString();
    const asked = await browser.open(beta.href);
    const refused = await browser.submit(asked, /\/login$/, { username: 'ada', password: PASSWORD });
    assert.match(refused.html, /password/i, 'ada is not known here');
    assert.equal(refused.url.startsWith(APP), false);
  });

  test('self is the issuer itself: its own keys, and what was revoked there', async () => {
    const take = async (issuer: string) =>
      String(
        (
          await post(
            `${issuer}/connect/token`,
            { grant_type: 'client_credentials' },
            basic('worker', 'worker'),
          )
        ).body.access_token,
      );
    const exchange = (issuer: string, token: string) =>
      post(
        `${issuer}/connect/token`,
        {
          ...{ grant_type: EXCHANGE, subject_token: token, audience: 'sts.amazonaws.com' },
          subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
        },
        basic('gate', 'gate'),
      );
    const proveBy = (issuer: string, token: string) =>
      post(`${issuer}/connect/token`, {
        ...{ grant_type: 'client_credentials', client_assertion: token, client_assertion_type: ASSERTION },
      });
    const issuers = [server.issuer, issuerOf('acme')];
    for (const issuer of issuers) {
      const token = await take(issuer);
      for (const asked of issuers) {
        const isOwn = asked === issuer;
        const answer = await exchange(asked, token);
        assert.equal(
          answer.status,
          isOwn ? 200 : 400,
          `${issuer} at ${asked} ${JSON.stringify(answer.body)}`,
        );
        if (isOwn) assert.equal(decodeJwt(String(answer.body.access_token)).iss, issuer);
        const proven = await proveBy(asked, token);
        assert.equal(
          proven.status,
          isOwn ? 200 : 401,
          `${issuer} at ${asked} ${JSON.stringify(proven.body)}`,
        );
      }
      assert.equal(
        (await post(`${issuer}/connect/revocation`, { token }, basic('worker', 'worker'))).status,
        200,
      );
      assert.equal((await exchange(issuer, token)).status, 400);
      assert.equal((await proveBy(issuer, token)).body.error, 'invalid_client');
    }
  });

  test('--issuer names one for mintmark keys and mintmark users', async () => {
    const run = (...args: string[]) => mintmark([...args, '--admin', server.admin, '--json']);
    const keys = JSON.parse((await run('keys', 'list', '--issuer', 'acme')).stdout) as {
      keys: { keyId: string }[];
    };
    assert.deepEqual(keys.keys.map(({ keyId }) => keyId).sort(), (await keysOf(issuerOf('acme'))).sort());
    assert.match((await run('users', 'list', '--issuer', 'acme')).stdout, /"ada"/);
    assert.doesNotMatch((await run('users', 'list', '--issuer', 'beta')).stdout, /"ada"/);
    for (const words of [
      ['users', 'list'],
      ['users', 'remove', 'ada'],
      ['keys', 'list'],
    ]) {
      const { code, stderr } = await run(...words, '--issuer', 'gamma');
      assert.notEqual(code, 0);
      assert.match(stderr, /there is no issuer gamma/);
    }
    const other = await run('users', 'remove', 'nobody', '--issuer', 'acme');
    assert.match(other.stderr, /no such user/);
  });

  test('a device code of one is unknown at another', async () => {
    const started = await post(`${issuerOf('acme')}/connect/deviceauthorization`, { client_id: 'tv' });
    assert.equal(started.status, 200, JSON.stringify(started.body));
    const poll = (name: string) =>
      post(`${issuerOf(name)}/connect/token`, {
        grant_type: 'urn:ietf:params:oauth:grant-type:device_code',
        device_code: String(started.body.device_code),
        client_id: 'tv',
      });
    assert.equal((await poll('beta')).body.error, 'invalid_grant');
    assert.equal((await poll('acme')).body.error, 'authorization_pending');
  });

  test("one's keys rotate by themselves", async () => {
    const before = await Promise.all([keysOf(issuerOf('acme')), keysOf(issuerOf('beta'))]);
    assert.equal(await adminPost(server.admin, '/v1/issuers/acme/keys/rotate', { force: true }), 200);
    const after = await Promise.all([keysOf(issuerOf('acme')), keysOf(issuerOf('beta'))]);
    assert.notDeepEqual(after[0], before[0]);
    assert.deepEqual(after[1], before[1]);
  });
});
