/** Clients that register themselves (RFC 7591) and look after their record (RFC 7592). */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { decodeJwt } from 'jose';
import * as client from 'openid-client';
import { createPlace, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { type Answer, basic, hashOf, post, RESOURCES } from './server.ts';
import { APP, MACHINE, WEB, WRONG } from './wrong-registrations.ts';

const TOKEN = 'an-initial-access-token/long-enough==';
const PASSWORD = 'correct horse battery staple';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

suite('clients that register', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof start>>;
  let tokenFile = '';
  let register = '';
  before(async () => {
    const place = await createPlace(scope);
    tokenFile = join(place.directory, 'registration');
    writeFileSync(tokenFile, `${TOKEN}\n`);
    const grants = ['authorization_code', 'refresh_token', 'device_code', 'client_credentials'];
    const registration = {
      accessTokenFile: tokenFile,
      scopes: ['openid', 'offline_access', 'orders.read'],
      grants,
    };
    const oauth = { resources: RESOURCES, registration, people: { passwords: { cost: 10 } } };
    writeConfig(place, { doors: { oauth } });
    server = await start(scope, place);
    register = `${place.issuer}/connect/register`;
    assert.equal(
      await adminPost(server.admin, '/v1/users/add', { username: 'ada', password: PASSWORD }),
      200,
    );
  });

  async function call(
    method: string,
    url: string,
    token: string | undefined,
    body?: unknown,
  ): Promise<Answer> {
    const response = await fetch(url, {
      method,
      headers: {
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text === '' ? {} : JSON.parse(text) };
  }

  async function registered(metadata: object): Promise<Readonly<Record<string, string>>> {
    const { status, body } = await call('POST', register, TOKEN, metadata);
    assert.equal(status, 201, JSON.stringify(body));
    return body as Readonly<Record<string, string>>;
  }

  const machine = (one: Readonly<Record<string, string>>, secret = one.client_secret ?? '') =>
    post(
      `${server.issuer}/connect/token`,
      { grant_type: 'client_credentials' },
      basic(one.client_id ?? '', secret),
    );

  test('not without the initial access token, nor with its hash', async () => {
    const wrong = [undefined, '', 'wrong', `${TOKEN}=`, hashOf(TOKEN), `sha256:${TOKEN}`];
    for (const token of wrong) {
      const { status, body, headers } = await call('POST', register, token, WEB);
      assert.ok(status === 401 || (status === 400 && token === ''), `${token}: ${status}`);
      assert.match(String(body.error), /^invalid_(token|request)$/);
      if (status === 401) assert.match(headers.get('www-authenticate') ?? '', /^Bearer realm=/);
      assert.match(headers.get('cache-control') ?? '', /no-store/);
    }
  });

  test('a body that can be read in two ways is invalid_request', async () => {
    const headers = { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' };
    for (const text of ['{"client_name":"a","client_name":"b"}', '{"__proto__":{}}', '[]', '{'])
      assert.equal((await post(register, text, headers)).body.error, 'invalid_request', text);
  });

  for (const { name, metadata, error = 'invalid_client_metadata' } of WRONG)
    test(`${name}: ${error}`, async () => {
      const { status, body } = await call('POST', register, TOKEN, metadata);
      assert.equal(body.error, error, JSON.stringify(body));
      assert.equal(status, 400);
      assert.equal(typeof body.error_description, 'string');
    });

  test('what a client may not say of itself counts for nothing', async () => {
    const one = await registered({
      ...WEB,
      ...{
        allowed_scopes: ['billing.read'],
        require_consent: false,
        access_token_ttl: 86_400,
        cors_origins: ['*'],
      },
      ...{
        client_id: 'mine',
        client_secret: 'mine',
        client_secret_expires_at: 1,
        sector_identifier_uri: 'http://127.0.0.1/',
      },
      ...{ identity_providers: ['local'], scope_as: 'string', nonsense: 1, 'client_name#de': 'Eine App' },
    });
    assert.notEqual(one.client_id, 'mine');
    assert.match(one.client_secret ?? '', /^[\w-]{43,}$/);
    assert.equal(one.scope, 'openid offline_access orders.read');
    const shown =
      'allowed_scopes require_consent access_token_ttl cors_origins identity_providers scope_as nonsense';
    for (const name of shown.split(' ')) assert.equal(name in one, false, name);
  });

  test('a machine: its secret, another one, what is kept of it, and its end', async () => {
    const one = await registered({ ...MACHINE, token_endpoint_auth_method: 'client_secret_post' });
    assert.deepEqual(one.response_types, []);
    const answer = await machine(one);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(answer.body.scope, 'orders.read');
    assert.equal(decodeJwt(String(answer.body.access_token)).sub, one.client_id);
    assert.equal(
      (await machine(one, hashOf(one.client_secret ?? ''))).status,
      401,
      'a stolen hash is no secret',
    );
    const [at = '', token] = [one.registration_client_uri, one.registration_access_token];
    assert.equal(at, `${register}/${one.client_id}`);

    const read = await call('GET', at, token);
    assert.equal(read.status, 200);
    assert.equal(read.body.client_secret, undefined, 'it is shown once');
    const { client_secret: secret, client_id } = one;
    const changed = await call('PUT', at, token, {
      ...MACHINE,
      client_id,
      client_secret: secret,
      client_name: 'Two',
    });
    assert.equal(changed.status, 200, JSON.stringify(changed.body));
    assert.equal(changed.body.client_name, 'Two');
    assert.equal(changed.body.client_secret, undefined);
    assert.equal((await machine(one)).status, 200);

    const refused: readonly (readonly [object, string])[] = [
      [{ client_id, client_secret: 'wrong' }, 'invalid_request'],
      [{ client_id, client_secret: hashOf(secret ?? '') }, 'invalid_request'],
      [{ client_id: 'other' }, 'invalid_request'],
      [{ client_id, registration_access_token: token }, 'invalid_request'],
      [{ client_id, scope: 'billing.read' }, 'invalid_client_metadata'],
      [{ client_id, grant_types: ['password'] }, 'invalid_client_metadata'],
    ];
    for (const [change, error] of refused) {
      const { status, body } = await call('PUT', at, token, { ...MACHINE, ...change });
      assert.deepEqual([status, body.error], [400, error], JSON.stringify(change));
    }
    const more = await call('PUT', at, token, { ...MACHINE, client_id, allowed_scopes: ['billing.read'] });
    assert.equal(more.status, 200);
    assert.equal((await machine(one)).body.scope, 'orders.read');

    const other = await registered(MACHINE);
    const seen = () =>
      post(
        `${server.issuer}/connect/introspect`,
        { token: String(answer.body.access_token) },
        basic(one.client_id ?? '', secret ?? ''),
      );
    assert.equal((await seen()).body.active, true);
    assert.equal((await call('DELETE', at, token)).status, 204);
    assert.equal((await machine(one)).body.error, 'invalid_client');
    assert.equal((await call('GET', at, token)).status, 401);
    assert.equal((await machine(other)).status, 200);
  });

  test('the record of another client is out of reach', async () => {
    const [one, two] = [await registered(WEB), await registered(WEB)];
    const wrong = await call('GET', two.registration_client_uri ?? '', one.registration_access_token);
    assert.deepEqual([wrong.status, wrong.body.error], [401, 'invalid_token']);
    assert.equal((await call('GET', two.registration_client_uri ?? '', TOKEN)).status, 401);
    assert.equal((await call('DELETE', two.registration_client_uri ?? '', undefined)).status, 401);
    assert.equal(
      (await call('GET', two.registration_client_uri ?? '', two.registration_access_token)).status,
      200,
    );
  });

  test('openid-client registers, and somebody signs in, always asked', async () => {
    const config = await client.dynamicClientRegistration(
      new URL(server.issuer),
      {
        ...WEB,
        grant_types: ['authorization_code', 'refresh_token'],
        token_endpoint_auth_method: 'client_secret_post',
      },
      undefined,
      { initialAccessToken: TOKEN, execute: [client.allowInsecureRequests] },
    );
    const browser = openBrowser(APP);
    const verifier = client.randomPKCECodeVerifier();
    const url = client.buildAuthorizationUrl(config, {
      redirect_uri: `${APP}cb`,
      scope: 'openid offline_access orders.read',
      code_challenge: await client.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
    });
    let page = await browser.open(url.href);
    page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    assert.match(page.html, /An app/);
    page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
    const first = await client.authorizationCodeGrant(config, new URL(page.url), {
      pkceCodeVerifier: verifier,
    });
    const second = await client.refreshTokenGrant(config, String(first.refresh_token));
    assert.equal(typeof second.access_token, 'string');
  });

  test('a program on a device: loopback with any port, and no secret', async () => {
    const one = await registered({
      redirect_uris: ['http://127.0.0.1/cb', 'com.example.app:/cb'],
      token_endpoint_auth_method: 'none',
      grant_types: ['authorization_code', DEVICE],
    });
    assert.equal(one.application_type, 'native');
    assert.equal(one.client_secret, undefined);
    const form = { client_id: one.client_id ?? '', scope: 'openid' };
    const device = await post(`${server.issuer}/connect/deviceauthorization`, form);
    assert.equal(device.status, 200, JSON.stringify(device.body));
    const url = new URL(`${server.issuer}/connect/authorize`);
    const query = { ...form, response_type: 'code', redirect_uri: 'http://127.0.0.1:4711/cb' };
    url.search = new URLSearchParams({
      ...query,
      code_challenge: 'a'.repeat(43),
      code_challenge_method: 'S256',
    }).toString();
    assert.match((await openBrowser(APP).open(url.href)).html, /password/);
  });

  test('the token may change while it runs, or be there as a hash; nothing of it is in the log', async () => {
    const other = 'another.initial~access+token';
    writeFileSync(tokenFile, hashOf(other));
    assert.equal((await call('POST', register, TOKEN, WEB)).status, 401);
    assert.equal((await call('POST', register, hashOf(other), WEB)).status, 401);
    const one = await call('POST', register, other, WEB);
    assert.equal(one.status, 201);
    writeFileSync(tokenFile, 'short');
    assert.equal((await call('POST', register, 'short', WEB)).status, 500);
    const output = server.output();
    for (const secret of [TOKEN, other, one.body.client_secret, one.body.registration_access_token])
      assert.equal(output.includes(String(secret)), false);
  });
});

test('an initial access token that is short, or not there, ends the start', async (t) => {
  const place = await createPlace(t);
  const file = join(place.directory, 'registration');
  writeConfig(place, { doors: { oauth: { registration: { accessTokenFile: file } } } });
  await assert.rejects(start(t, place), /serve has ended.*registration/s);
  writeFileSync(file, 'short');
  await assert.rejects(start(t, place), /at least 22 characters/);
  writeFileSync(file, 'a token with blanks cannot be sent');
  await assert.rejects(start(t, place), /at least 22 characters/);
});
