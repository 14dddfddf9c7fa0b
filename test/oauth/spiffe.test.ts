/** draft-ietf-oauth-spiffe-client-auth: a client whose JWT-SVID, as SPIRE makes it, is its proof. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt, SignJWT } from 'jose';
import { post, RESOURCES, startOAuth } from './server.ts';

const WEB = 'spiffe://prod.example.org/ns/shop/sa/web';
const CLIENT = {
  id: 'web',
  federated: { issuer: 'prod', subject: WEB },
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};

const MOBILE = 'spiffe://prod.example.org/ns/shop/sa/mobile';
/** One workload that is two clients. */
const TWINS = ['one', 'two'].map((id) => ({ ...CLIENT, id, federated: { issuer: 'prod', subject: MOBILE } }));

test('a JWT-SVID without iss, by the keys of a bundle', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'svid', use: 'jwt-svid' }] };
  const prod = { trustDomain: 'prod.example.org', jwks };
  const server = await startOAuth(
    t,
    { clients: [CLIENT, ...TWINS], resources: RESOURCES },
    { attestors: { unix: {}, jwt: { issuers: { prod } } } },
  );
  const ask = async (sub: string, more: Readonly<Record<string, string>> = {}) => {
    const svid = new SignJWT().setProtectedHeader({ alg: 'ES256', kid: 'svid', typ: 'JWT' });
    return post(server.token, {
      ...{ grant_type: 'client_credentials', ...more },
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe',
      client_assertion: await svid
        .setSubject(sub)
        .setAudience([server.issuer])
        .setExpirationTime('5m')
        .sign(privateKey),
    });
  };
  const answer = await ask(WEB);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  assert.equal(decodeJwt(String(answer.body.access_token)).client_id, 'web');
  const other = await ask('spiffe://prod.example.org/ns/shop/sa/other');
  assert.deepEqual([other.status, other.body.error], [401, 'invalid_client']);
  for (const id of ['one', 'two']) {
    const { body } = await ask(MOBILE, { client_id: id });
    assert.equal(decodeJwt(String(body.access_token)).client_id, id);
  }
  for (const [sub, more] of [
    [MOBILE, {}],
    [MOBILE, { client_id: 'web' }],
    [WEB, { client_id: 'one' }],
  ] as const) {
    const { status, body } = await ask(sub, more);
    assert.deepEqual([status, body.error], [401, 'invalid_client'], JSON.stringify([sub, more, body]));
  }
});
