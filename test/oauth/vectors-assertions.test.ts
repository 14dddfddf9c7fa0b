/** Clients that sign: RFC 7523 section 3, RFC 8725, and what an assertion is refused for. */
import assert from 'node:assert/strict';
import { createHmac, generateKeyPairSync } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { exportJWK } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { ASSERTION_TYPE, type AssertionParts, assertionForm, assertionOf } from './assertions.ts';
import { basic, MACHINE, post, SECRET, startOAuth } from './server.ts';

const curve = { namedCurve: 'P-256' };
const own = generateKeyPairSync('ec', curve);
const strange = generateKeyPairSync('ec', curve);
const strangeJwk = await exportJWK(strange.publicKey);
const now = () => Math.floor(Date.now() / 1000);
const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

type Change = Partial<AssertionParts>;

/** What is wrong in the one way that it says. */
const WRONG: Readonly<Record<string, (issuer: string) => Change>> = {
  'another key': () => ({ key: strange.privateKey }),
  'another key that comes along': () => ({ key: strange.privateKey, header: { jwk: strangeJwk } }),
  'the right key, and one that comes along': () => ({ header: { jwk: strangeJwk } }),
  'a place of keys': () => ({ header: { jku: 'https://evil.example/jwks' } }),
  'a certificate': () => ({ header: { x5c: ['AAAA'] } }),
  'an extension that must be understood': () => ({ header: { crit: ['urn:x'], 'urn:x': true } }),
  'an access token in its place': () => ({ header: { typ: 'at+jwt' } }),
  'a DPoP proof in its place': () => ({ header: { typ: 'dpop+jwt' } }),
  expired: () => ({ claims: { exp: now() - 60 } }),
  'a life of ten minutes': () => ({ claims: { exp: now() + 600 } }),
  'a life without an end': () => ({ claims: { exp: 1e15 } }),
  'no exp': () => ({ claims: { exp: undefined } }),
  'an exp that is text': () => ({ claims: { exp: String(now() + 60) } }),
  'not yet valid': () => ({ claims: { nbf: now() + 120 } }),
  'no jti': () => ({ claims: { jti: undefined } }),
  'a jti that is no text': () => ({ claims: { jti: 7 } }),
  'no aud': () => ({ claims: { aud: undefined } }),
  'another server': () => ({ audience: 'https://other.example.com' }),
  'another server beside this one': (issuer) => ({ audience: [issuer, 'https://other.example.com'] }),
  'a list of the issuer alone': (issuer) => ({ audience: [issuer] }),
  'the token endpoint': (issuer) => ({ audience: `${issuer}/connect/token` }),
  'the issuer with a slash': (issuer) => ({ audience: `${issuer}/` }),
  'another issuer': () => ({ claims: { iss: 'somebody' } }),
  'no issuer': () => ({ claims: { iss: undefined } }),
  'an unknown client': () => ({ id: 'nobody' }),
  'the name of a client with a secret': () => ({ id: MACHINE.id }),
};

suite('client assertions', () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    const keys = [{ ...(await exportJWK(own.publicKey)), kid: 'one' }];
    const signer = { id: 'signer', jwks: { keys }, grants: ['client_credentials'], scopes: ['orders.read'] };
    server = await startOAuth(scope, {
      clients: [MACHINE, signer, { ...signer, id: 'older', tokenUrlAudience: true }],
    });
  });

  const make = (change: Change = {}) =>
    assertionOf({ id: 'signer', audience: server.issuer, key: own.privateKey, ...change });
  const send = (assertion: string, more = {}) => post(server.token, { ...assertionForm(assertion), ...more });

  async function assertRefused(assertion: string, more = {}): Promise<void> {
    const { status, body, headers } = await send(assertion, more);
    assert.deepEqual([status, body.error], [401, 'invalid_client'], JSON.stringify(body));
    assert.match(headers.get('cache-control') ?? '', /no-store/);
  }

  test('the issuer alone is the audience, and the token endpoint where the client may say that', async () => {
    assert.equal((await send(await make())).status, 200);
    for (const [audience, status] of [
      [server.issuer, 200],
      [server.token, 200],
      [[server.issuer], 401],
      [[server.token], 401],
      [`${server.issuer}/connect/introspect`, 401],
    ] as const)
      assert.equal((await send(await make({ id: 'older', audience }))).status, status, String(audience));
    const typed = await make({ header: { typ: 'client-authentication+jwt' } });
    assert.equal((await send(typed)).status, 200);
  });

  for (const [name, change] of Object.entries(WRONG))
    test(`${name}: invalid_client`, async () => assertRefused(await make(change(server.issuer))));

  test('no signature, and the public key as a secret', async () => {
    const [, payload] = (await make()).split('.');
    const none = `${base64({ alg: 'none' })}.${payload}.`;
    await assertRefused(none);
    for (const key of [own.publicKey.export({ type: 'spki', format: 'pem' }), JSON.stringify(strangeJwk)]) {
      const input = `${base64({ alg: 'HS256', kid: 'one' })}.${payload}`;
      await assertRefused(`${input}.${createHmac('sha256', key).update(input).digest('base64url')}`);
    }
    const [head, , signature] = (await make()).split('.');
    const other = base64({ iss: 'signer', sub: 'signer', aud: server.issuer, exp: now() + 60, jti: 'x' });
    await assertRefused(`${head}.${other}.${signature}`);
  });

  test('once only, at every endpoint, and a refused one is not used up', async () => {
    const assertion = await make();
    assert.equal((await send(assertion, { scope: 'orders.read' })).status, 200);
    await assertRefused(assertion);
    const elsewhere = await post(`${server.issuer}/connect/introspect`, {
      ...assertionForm(assertion),
      token: 'x',
    });
    assert.deepEqual([elsewhere.status, elsewhere.body.error], [401, 'invalid_client']);
    const jti = 'of a refused one';
    await assertRefused(await make({ claims: { jti, exp: now() - 60 } }));
    assert.equal((await send(await make({ claims: { jti } }))).status, 200);
    await assertRefused(await make({ claims: { jti } }));
  });

  test('what contradicts itself is invalid_request', async () => {
    const assertion = await make();
    const wrong: readonly (readonly [object, Record<string, string>?])[] = [
      [{ client_id: MACHINE.id }],
      [{ client_secret: 'x' }],
      [{}, { ...basic(MACHINE.id, SECRET) }],
      [{ client_assertion_type: 'urn:x' }],
      [{ client_assertion: 'no JWT' }],
    ];
    for (const [more, headers] of wrong) {
      const { status, body } = await post(server.token, { ...assertionForm(assertion), ...more }, headers);
      assert.deepEqual([status, body.error], [400, 'invalid_request'], JSON.stringify(more));
    }
    const twice = new URLSearchParams({ ...assertionForm(assertion) });
    twice.append('client_assertion', assertion);
    assert.equal((await post(server.token, twice.toString())).body.error, 'invalid_request');
    const { client_assertion_type: _, ...untyped } = assertionForm(assertion);
    assert.equal((await post(server.token, untyped)).body.error, 'invalid_request');
    assert.equal(ASSERTION_TYPE.length > 0 && (await send(assertion)).status, 200, 'it was not used up');
  });

  test('a client_id that is long or odd is only unknown', async () => {
    for (const id of ['a'.repeat(600), 'a/b', '..', '~x.y', 'ä'.repeat(300), 'a b'])
      for (const form of [{ client_id: id }, { client_id: id, client_secret: 'x' }]) {
        const { status, body } = await post(server.token, { grant_type: 'client_credentials', ...form });
        assert.deepEqual([status, body.error], [401, 'invalid_client'], `${id}: ${JSON.stringify(body)}`);
      }
  });
});
