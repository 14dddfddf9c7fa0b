/** Machines at the token endpoint, with the client libraries that people use. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { suite, type TestContext, test } from 'node:test';
import { createRemoteJWKSet, decodeJwt, exportJWK, jwtVerify, SignJWT } from 'jose';
import * as oauth from 'oauth4webapi';
import * as client from 'openid-client';
import { AUDIENCE, OWN_UID } from '../system/start.ts';
import { API, basic, MACHINE, ORDERS_API, OTHER_API, post, SECRET, startOAuth } from './server.ts';

const insecure = { execute: [client.allowInsecureRequests] };

async function verify(issuer: string, token: string, audience: string) {
  return jwtVerify(token, createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks`)), {
    issuer,
    audience,
    typ: 'at+jwt',
  });
}

suite('machines', { concurrency: 1 }, () => {
  test('openid-client discovers the issuer, and gets, introspects and revokes a token', async (t) => {
    const server = await startOAuth(t);
    const config = await client.discovery(
      new URL(server.issuer),
      MACHINE.id,
      undefined,
      client.ClientSecretBasic(SECRET),
      insecure,
    );
    const answer = await client.clientCredentialsGrant(config);
    assert.equal(answer.scope, 'orders.read billing.read');
    assert.equal(answer.expires_in, 300, 'the shorter life of the two resources');
    const { payload, protectedHeader } = await verify(server.issuer, answer.access_token, OTHER_API);
    assert.deepEqual(payload.aud, [API, OTHER_API]);
    assert.deepEqual(payload.scope, ['orders.read', 'billing.read']);
    assert.equal(payload.client_id, MACHINE.id);
    assert.equal(payload.sub, MACHINE.id);
    assert.equal(protectedHeader.alg, 'ES256');
    const seen = await client.tokenIntrospection(config, answer.access_token);
    assert.equal(seen.active, true);
    assert.equal(seen.scope, 'orders.read billing.read');
    assert.deepEqual(seen.aud, [API, OTHER_API]);
    await client.tokenRevocation(config, answer.access_token);
    assert.deepEqual(await client.tokenIntrospection(config, answer.access_token), { active: false });
  });

  test('a resource sees the tokens that are meant for it, and nobody else does', async (t) => {
    const server = await startOAuth(t, {
      clients: [MACHINE, ORDERS_API, { ...ORDERS_API, id: 'stranger' }],
    });
    const narrow = await post(
      server.token,
      { grant_type: 'client_credentials', resource: OTHER_API },
      basic(MACHINE.id, SECRET),
    );
    const wide = await post(server.token, { grant_type: 'client_credentials' }, basic(MACHINE.id, SECRET));
    const look = (token: unknown, id: string) =>
      post(`${server.issuer}/connect/introspect`, { token: String(token) }, basic(id, 'orders'));
    assert.equal((await look(wide.body.access_token, 'orders-api')).body.active, true);
    assert.deepEqual((await look(narrow.body.access_token, 'orders-api')).body, { active: false });
    assert.deepEqual((await look(wide.body.access_token, 'stranger')).body, { active: false });
    assert.deepEqual((await look('garbage', 'orders-api')).body, { active: false });
    await post(
      `${server.issuer}/connect/revocation`,
      { token: String(wide.body.access_token) },
      basic('stranger', 'orders'),
    );
    assert.equal((await look(wide.body.access_token, 'orders-api')).body.active, true, 'not by a stranger');
  });

  test('oauth4webapi: private_key_jwt, once only, and bound by DPoP', async (t) => {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' };
    const signer = {
      id: 'signer',
      jwks: { keys: [jwk] },
      grants: ['client_credentials'],
      scopes: ['orders.read'],
      dpop: true,
    };
    const server = await startOAuth(t, { clients: [signer] });
    const options = { [oauth.allowInsecureRequests]: true } as const;
    const issuer = new URL(server.issuer);
    const as = await oauth.processDiscoveryResponse(
      issuer,
      await oauth.discoveryRequest(issuer, { ...options, algorithm: 'oauth2' }),
    );
    const key = await crypto.subtle.importKey(
      'pkcs8',
      privateKey.export({ format: 'der', type: 'pkcs8' }),
      { name: 'ECDSA', namedCurve: 'P-256' },
      false,
      ['sign'],
    );
    const who = { client_id: 'signer' };
    const keys = await oauth.generateKeyPair('ES256');
    const ask = async (dpop?: oauth.DPoPHandle) =>
      oauth.clientCredentialsGrantRequest(
        as,
        who,
        oauth.PrivateKeyJwt({ key, kid: 'one' }),
        {},
        { ...options, ...(dpop ? { DPoP: dpop } : {}) },
      );
    const bound = await oauth.processClientCredentialsResponse(as, who, await ask(oauth.DPoP({}, keys)));
    assert.equal(bound.token_type, 'dpop');
    const { payload } = await verify(server.issuer, bound.access_token, API);
    assert.equal(typeof (payload.cnf as { jkt: string }).jkt, 'string');
    assert.equal((await ask()).status, 400, 'without a proof');

    const assertion = await new SignJWT({ jti: 'only once' })
      .setProtectedHeader({ alg: 'ES256', kid: 'one' })
      .setIssuer('signer')
      .setSubject('signer')
      .setAudience(server.issuer)
      .setExpirationTime('1m')
      .sign(privateKey);
    const form = {
      grant_type: 'client_credentials',
      client_assertion: assertion,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    };
    const [first, ...more] = await Promise.all(Array.from({ length: 20 }, () => post(server.token, form)));
    const statuses = [first, ...more].map((answer) => answer?.body.error).sort();
    assert.equal(statuses.filter((error) => error === 'invalid_client').length, 19, String(statuses));
  });

  test('a process that is attested needs no secret, and another one is no client', async (t) => {
    const own = {
      id: 'own',
      match: [`unix:uid:${OWN_UID}`],
      grants: ['client_credentials'],
      scopes: ['orders.read'],
      scopeAs: 'string',
    };
    const other = { ...own, id: 'other', match: ['unix:uid:54321'] };
    const server = await startOAuth(t, { clients: [own, other, MACHINE] });
    const mine = await local(t, server.socket, 'grant_type=client_credentials');
    assert.equal(mine.status, 200, JSON.stringify(mine.body));
    const { payload } = await verify(server.issuer, String(mine.body.access_token), API);
    assert.equal(payload.client_id, 'own');
    assert.equal(payload.scope, 'orders.read');
    const theirs = await local(t, server.socket, 'grant_type=client_credentials&client_id=other');
    assert.equal(theirs.status, 401);
    assert.equal(theirs.body.error, 'invalid_client');
    assert.ok((theirs.body.caller as string[]).includes(`unix:uid:${OWN_UID}`), JSON.stringify(theirs.body));
    assert.doesNotMatch(JSON.stringify(theirs.body), /54321/, 'what it lacks is for the log');
    const line = await server.line('refused');
    assert.equal(line.detail, 'invalid_client: client other lacks unix:uid:54321');
    assert.equal((line.peer as { uid: number }).uid, OWN_UID);
    const afar = await post(server.token, { grant_type: 'client_credentials', client_id: 'own' });
    assert.equal(afar.body.error, 'invalid_client', 'the name alone proves nothing');
    const secret = await local(
      t,
      server.socket,
      'grant_type=client_credentials&scope=orders.read',
      '/connect/token',
      undefined,
      basic(MACHINE.id, SECRET),
    );
    assert.equal(decodeJwt(String(secret.body.access_token)).client_id, MACHINE.id, 'whose secret it has');
    const audit = await server.line('issued');
    assert.equal((audit.peer as { uid: number }).uid, OWN_UID);
  });

  test('a process that is no client gets what the rules give it', async (t) => {
    const server = await startOAuth(t);
    const asked = await local(t, server.socket, `grant_type=client_credentials&resource=${AUDIENCE}`);
    assert.equal(asked.status, 200, JSON.stringify(asked.body));
    const keys = createRemoteJWKSet(new URL(`${server.issuer}/.well-known/jwks`));
    const verified = { audience: AUDIENCE, typ: 'at+jwt' };
    const { payload } = await jwtVerify(String(asked.body.access_token), keys, verified);
    assert.equal(payload.sub, 'acme:web:web-1');
    const refused = await local(
      t,
      server.socket,
      'grant_type=client_credentials&audience=https://other.example',
    );
    assert.equal(refused.body.error, 'invalid_target');
    assert.match(JSON.stringify(refused.body), /own processes/, 'it says why');
    assert.equal((await local(t, server.socket, 'grant_type=client_credentials')).status, 400);
    const whole = `grant_type=client_credentials&resource=${AUDIENCE}`;
    for (const [form, error] of [
      [`${whole}&grant_type=client_credentials`, 'invalid_request'],
      [`${whole}&scope=a&scope=b`, 'invalid_request'],
      [`${whole}&scope=orders.write`, 'invalid_scope'],
    ] as const) {
      const { status, body } = await local(t, server.socket, form);
      assert.deepEqual([status, body.error], [400, error], form);
    }
    const headers = { DPoP: 'garbage' };
    const bound = await local(t, server.socket, whole, '/connect/token', undefined, headers);
    assert.deepEqual([bound.status, bound.body.error], [400, 'invalid_request']);
  });

  test('a process that no client is meant for is told so, and the log says of whom', async (t) => {
    const batch = { ...MACHINE, secrets: undefined, id: 'batch', match: ['unix:uid:54321'] };
    const server = await startOAuth(t, {
      clients: [batch, { ...batch, id: 'own', match: [`unix:uid:${OWN_UID}`] }],
    });
    const only = await startOAuth(t, { clients: [batch] });
    const { status, body } = await local(t, only.socket, 'grant_type=client_credentials');
    assert.deepEqual([status, body.error], [400, 'invalid_request']);
    assert.match(String(body.reason), /^no client is attested as this caller/);
    const told = await only.line('refused');
    assert.match(String(told.detail), /; client batch lacks unix:uid:54321$/);
    assert.equal((told.peer as { uid: number }).uid, OWN_UID);
    await local(t, server.socket, 'grant_type=client_credentials&scope=nope');
    const refused = await server.line('refused');
    assert.match(String(refused.detail), /^client own: invalid_scope/);
    assert.equal((refused.peer as { uid: number }).uid, OWN_UID);
  });

  test('a key that rotates fails nobody, and tokens of the old one stay good', async (t) => {
    const server = await startOAuth(t);
    const ask = async () =>
      (await post(server.token, { grant_type: 'client_credentials' }, basic(MACHINE.id, SECRET))).body;
    const before = await ask();
    const rotate = () => local(t, server.admin, '{"force":true}', '/v1/keys/rotate', 'application/json');
    for (let round = 0; round < 3; round++) {
      const [rotated, ...answers] = await Promise.all([rotate(), ...Array.from({ length: 16 }, ask)]);
      assert.equal(rotated?.status, 200, JSON.stringify(rotated?.body));
      for (const { access_token } of answers) await verify(server.issuer, String(access_token), API);
    }
    const form = { token: String(before.access_token) };
    const seen = await post(`${server.issuer}/connect/introspect`, form, basic(MACHINE.id, SECRET));
    assert.equal(seen.body.active, true);
  });
});

type Local = { readonly status: number; readonly body: Readonly<Record<string, unknown>> };

function local(
  t: TestContext,
  socketPath: string,
  body: string,
  path = '/connect/token',
  type = 'application/x-www-form-urlencoded',
  more: Readonly<Record<string, string>> = {},
): Promise<Local> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath, path, method: 'POST', headers: { ...more, 'Content-Type': type }, signal: t.signal },
      async (response) =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(await text(response)) }),
    );
    asked.on('error', reject).end(body);
  });
}
