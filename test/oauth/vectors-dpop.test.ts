/** Tokens that are bound to a key: RFC 9449. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { calculateJwkThumbprint, decodeJwt, exportJWK, SignJWT } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { API, basic, MACHINE, post, SECRET, startOAuth } from './server.ts';

const CC = { grant_type: 'client_credentials' };
const PASSWORD = 'correct horse battery staple';
const BOUND = { ...MACHINE, id: 'bound', dpop: true };
const CALLBACK = 'https://app.example.com/cb';
const FORGE = 'https://forge.example.com';
const OTHER = { ...MACHINE, id: 'other', grants: ['password', 'token_exchange', 'jwt_bearer'] };
const STRICT = { ...OTHER, id: 'strict', dpop: true };
/** A browser's program: its refresh tokens are bound too. */
const WEB = {
  id: 'web',
  public: true,
  consent: false,
  grants: ['authorization_code', 'refresh_token'],
  scopes: ['openid', 'offline_access', 'orders.read'],
  redirectUris: [CALLBACK],
};
const one = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const two = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const now = () => Math.floor(Date.now() / 1000);
const ath = (token: string) => createHash('sha256').update(token).digest('base64url');

type Keys = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };
type Change = {
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly keys?: Keys;
  readonly signedBy?: KeyObject;
};

async function proof(url: string, { claims, header, keys = one, signedBy }: Change = {}): Promise<string> {
  return new SignJWT({ htm: 'POST', htu: url, iat: now(), jti: Math.random().toString(36), ...claims })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: await exportJWK(keys.publicKey), ...header })
    .sign(signedBy ?? keys.privateKey);
}

const WRONG: Readonly<Record<string, () => Change | Promise<Change>>> = {
  'another method': () => ({ claims: { htm: 'GET' } }),
  'no method': () => ({ claims: { htm: undefined } }),
  'another place': () => ({ claims: { htu: 'https://other.example.com/connect/token' } }),
  'another path': () => ({ claims: { htu: 'http://127.0.0.1/connect/introspect' } }),
  'no place': () => ({ claims: { htu: undefined } }),
  'made long ago': () => ({ claims: { iat: now() - 900 } }),
  'made in an hour': () => ({ claims: { iat: now() + 3600 } }),
  'no time': () => ({ claims: { iat: undefined } }),
  'no jti': () => ({ claims: { jti: undefined } }),
  'a nonce that nobody gave': () => ({ claims: { nonce: 'x' } }),
  'of another type': () => ({ header: { typ: 'JWT' } }),
  'signed by another key': () => ({ signedBy: two.privateKey }),
  'with a private key in it': async () => ({ header: { jwk: await exportJWK(one.privateKey) } }),
  'without a key': () => ({ header: { jwk: undefined } }),
};

suite('DPoP', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    const jwks = { keys: [{ ...(await exportJWK(one.publicKey)), kid: 'f', alg: 'ES256' }] };
    server = await startOAuth(
      scope,
      { clients: [MACHINE, BOUND, WEB, OTHER, STRICT], people: { passwords: { cost: 10 } } },
      {
        attestors: { unix: {}, jwt: { issuers: { forge: { issuer: FORGE, jwks } } } },
        rules: [{ name: 'forge', match: ['jwt:issuer:forge'], subject: 'f:{jwt.subject}', audiences: [API] }],
      },
    );
    assert.equal(
      await adminPost(server.admin, '/v1/users/add', { username: 'ada', password: PASSWORD }),
      200,
    );
  });

  const ask = (dpop: string, id = MACHINE.id) => post(server.token, CC, { ...basic(id, SECRET), DPoP: dpop });

  test('a token says what key it is bound to, at the token endpoint and at introspection', async () => {
    const { status, body } = await ask(await proof(server.token));
    assert.deepEqual([status, body.token_type], [200, 'DPoP'], JSON.stringify(body));
    const cnf = { jkt: await calculateJwkThumbprint(await exportJWK(one.publicKey)) };
    assert.deepEqual(decodeJwt(String(body.access_token)).cnf, cnf);
    const form = { token: String(body.access_token) };
    const seen = await post(`${server.issuer}/connect/introspect`, form, basic(MACHINE.id, SECRET));
    assert.deepEqual([seen.body.active, seen.body.cnf, seen.body.token_type], [true, cnf, 'DPoP']);
    const other = { header: { alg: 'RS256' }, keys: rsa };
    assert.equal((await ask(await proof(server.token, other))).status, 200, 'as the metadata says');
    assert.equal((await ask(await proof(`${server.token}?x=1#y`))).status, 200, 'without query and fragment');
  });

  for (const [name, change] of Object.entries(WRONG))
    test(`a proof ${name}: invalid_dpop_proof`, async () => {
      const { status, body } = await ask(await proof(server.token, await change()));
      assert.deepEqual([status, body.error], [400, 'invalid_dpop_proof'], JSON.stringify(body));
    });

  test('no proof, garbage, and two proofs', async () => {
    const none = await post(server.token, CC, basic(BOUND.id, SECRET));
    assert.deepEqual([none.status, none.body.error], [400, 'invalid_grant']);
    assert.match(String(none.body.error_description), /DPoP proof/);
    assert.equal((await ask('garbage')).body.error, 'invalid_dpop_proof');
    assert.equal((await ask('')).body.error, 'invalid_dpop_proof', 'a header without a proof');
    const two = `${await proof(server.token)}, ${await proof(server.token)}`;
    assert.equal((await ask(two)).body.error, 'invalid_dpop_proof');
  });

  for (const name of ['password', 'token_exchange', 'jwt_bearer'] as const)
    test(`a token of ${name} is bound too, or refused`, async () => {
      const form = async () => formOf(name, server.issuer);
      const send = async (dpop: string | undefined, id = 'other') =>
        post(server.token, await form(), {
          ...basic(id, SECRET),
          ...(dpop === undefined ? {} : { DPoP: dpop }),
        });
      const { status, body } = await send(await proof(server.token));
      assert.deepEqual([status, body.token_type], [200, 'DPoP'], JSON.stringify(body));
      const cnf = { jkt: await calculateJwkThumbprint(await exportJWK(one.publicKey)) };
      const token = String(body.access_token);
      assert.deepEqual(decodeJwt(token).cnf, cnf);
      const seen = await post(`${server.issuer}/connect/introspect`, { token }, basic('other', SECRET));
      assert.deepEqual([seen.body.active, seen.body.cnf, seen.body.token_type], [true, cnf, 'DPoP']);
      assert.equal((await send('garbage')).body.error, 'invalid_dpop_proof');
      const once = await proof(server.token);
      assert.equal((await send(once)).status, 200);
      assert.equal((await send(once)).body.error, 'invalid_dpop_proof', 'a proof is good once');
      const none = await send(undefined, 'strict');
      assert.deepEqual([none.status, none.body.error], [400, 'invalid_grant']);
      assert.match(String(none.body.error_description), /DPoP proof/);
      assert.equal((await send(await proof(server.token), 'strict')).body.token_type, 'DPoP');
      const plain = await send(undefined);
      assert.deepEqual(
        [plain.body.token_type, decodeJwt(String(plain.body.access_token)).cnf],
        ['Bearer', undefined],
      );
    });

  test('a proof is good once: of twenty at a time one wins', async () => {
    const once = await proof(server.token);
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(once)));
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    const others = answers.filter(({ status }) => status !== 200).map(({ body }) => body.error);
    assert.deepEqual([...new Set(others)], ['invalid_dpop_proof']);
    assert.equal((await ask(once, BOUND.id)).status, 200, 'of each client');
  });

  test('userinfo with the proof of the same key, for this token', async () => {
    const url = `${server.issuer}/connect/userinfo`;
    const form = await signIn(server.issuer);
    const { body } = await post(server.token, form, { DPoP: await proof(server.token) });
    assert.equal(body.token_type, 'DPoP', JSON.stringify(body));
    const token = String(body.access_token);
    const get = async (dpop: string | undefined, scheme = 'DPoP') =>
      fetch(url, {
        headers: { Authorization: `${scheme} ${token}`, ...(dpop === undefined ? {} : { DPoP: dpop }) },
      });
    const right = { htm: 'GET', ath: ath(token) };
    const good = await proof(url, { claims: right });
    assert.equal((await get(good)).status, 200);
    const wrong = [
      good,
      undefined,
      await proof(url, { claims: { ...right, ath: ath('another') } }),
      await proof(url, { claims: { ...right, ath: undefined } }),
      await proof(url, { claims: right, keys: two }),
      await proof(server.token, { claims: right }),
      await proof(url, { claims: { ...right, htm: 'POST' } }),
    ];
    for (const [index, dpop] of wrong.entries()) {
      const answer = await get(dpop);
      // RFC 6750 section 3.1: without a proof the request is malformed.
      const status = dpop === undefined ? 400 : 401;
      assert.equal(answer.status, status, `${index}: ${await answer.text()}`);
      assert.match(answer.headers.get('www-authenticate') ?? '', /DPoP /, String(index));
    }
    assert.equal((await get(undefined, 'Bearer')).status, 401, 'it is no bearer token');
    assert.equal((await get(await proof(url, { claims: right }), 'Bearer')).status, 400);
    const refresh = {
      grant_type: 'refresh_token',
      client_id: 'web',
      refresh_token: String(body.refresh_token),
    };
    for (const dpop of [undefined, await proof(server.token, { keys: two })]) {
      const stolen = await post(server.token, refresh, dpop === undefined ? {} : { DPoP: dpop });
      assert.equal(stolen.status, 400, 'a stolen refresh token is no good without the key');
    }
    const again = await post(server.token, refresh, { DPoP: await proof(server.token) });
    assert.deepEqual([again.status, again.body.token_type], [200, 'DPoP'], JSON.stringify(again.body));
  });
});

/** Each with a token of another issuer that is new, or with a password. */
async function formOf(
  grant: 'password' | 'token_exchange' | 'jwt_bearer',
  issuer: string,
): Promise<Readonly<Record<string, string>>> {
  const urn = 'urn:ietf:params:oauth';
  if (grant === 'password') return { grant_type: 'password', username: 'ada', password: PASSWORD };
  const token = await new SignJWT({ iss: FORGE, sub: 'repo', aud: issuer, jti: Math.random().toString(36) })
    .setProtectedHeader({ alg: 'ES256', kid: 'f' })
    .setExpirationTime('5m')
    .sign(one.privateKey);
  if (grant === 'jwt_bearer')
    return { grant_type: `${urn}:grant-type:jwt-bearer`, assertion: token, audience: API };
  return {
    grant_type: `${urn}:grant-type:token-exchange`,
    audience: API,
    subject_token: token,
    subject_token_type: `${urn}:token-type:jwt`,
  };
}

/** What a code is redeemed with. */
async function signIn(issuer: string): Promise<Readonly<Record<string, string>>> {
  const url = new URL(`${issuer}/connect/authorize`);
  const verifier = 'v'.repeat(43);
  url.search = new URLSearchParams({
    client_id: 'web',
    response_type: 'code',
    redirect_uri: CALLBACK,
    scope: 'openid offline_access orders.read',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  }).toString();
  const browser = openBrowser(CALLBACK);
  let page = await browser.open(url.href);
  page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
  if (page.status === 200 && page.html !== '')
    page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
  const code = new URL(page.url).searchParams.get('code') ?? '';
  return {
    grant_type: 'authorization_code',
    client_id: 'web',
    code,
    redirect_uri: CALLBACK,
    code_verifier: verifier,
  };
}
