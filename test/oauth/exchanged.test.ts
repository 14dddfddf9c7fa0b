/** Tokens that rules decide on are access tokens like all others; and our own may be shown for others. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, exportJWK, SignJWT } from 'jose';
import { until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { adminPost } from './people.ts';
import {
  type Answer,
  API,
  basic,
  hashOf,
  ORDERS_API,
  OTHER_API,
  post,
  RESOURCES,
  startOAuth,
} from './server.ts';

const FORGE = 'https://forge.example.com';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const GATE = { id: 'gate', secrets: [hashOf('gate')], grants: ['token_exchange', 'jwt_bearer'], scopes: [] };
const LEGACY = {
  id: 'legacy',
  secrets: [hashOf('legacy')],
  grants: ['password'],
  scopes: ['openid', 'orders.read'],
};
const PLAIN = { id: 'plain', secrets: [hashOf('plain')], grants: ['client_credentials'], scopes: [] };
const ADA = { username: 'ada', password: 'correct horse battery staple' };
const SHOP = {
  ...GATE,
  id: 'shop',
  secrets: [hashOf('shop')],
  scopes: ['openid', 'orders.read', 'orders.write', 'billing.read'],
};
const CALLED = { ...ORDERS_API, grants: [...GATE.grants, 'client_credentials'], scopes: [] };
const BRIEF = { ...SHOP, id: 'brief', secrets: [hashOf('brief')], accessTokenTtl: '2m' };
const OPEN = { id: 'open', public: true, grants: GATE.grants, scopes: [] };
const CLOUD = 'sts.amazonaws.com';

suite('exchanged tokens', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  let key: KeyObject;
  before(async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    key = pair.privateKey;
    const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'f', alg: 'ES256' }] };
    server = await startOAuth(
      scope,
      {
        clients: [GATE, CALLED, OPEN, LEGACY, PLAIN, SHOP, BRIEF],
        resources: RESOURCES,
        people: { passwords: { cost: 10 } },
      },
      {
        attestors: {
          unix: {},
          jwt: { issuers: { forge: { issuer: FORGE, jwks }, self: { types: ['at+jwt'] } } },
        },
        rules: [
          {
            name: 'forge',
            match: ['jwt:issuer:forge'],
            subject: 'f:{jwt.subject}',
            audiences: [API, OTHER_API, CLOUD],
          },
          { name: 'self', match: ['jwt:issuer:self'], subject: '{jwt.subject}', audiences: [API, OTHER_API] },
        ],
      },
    );
    assert.equal(await adminPost(server.admin, '/v1/users/add', ADA), 200);
  });

  const sign = (claims: Record<string, unknown> = {}, life = '5m') =>
    new SignJWT({ ...claims, jti: Math.random().toString(36) })
      .setProtectedHeader({ alg: 'ES256', kid: 'f' })
      .setIssuer(FORGE)
      .setSubject('repo-7')
      .setAudience(server.issuer)
      .setIssuedAt()
      .setExpirationTime(life)
      .sign(key);
  const ask = (form: Record<string, string>) =>
    post(server.token, { audience: API, ...form }, basic('gate', 'gate'));
  const exchange = async (token: string, form: Record<string, string> = {}) =>
    ask({ grant_type: EXCHANGE, subject_token: token, subject_token_type: `${TYPE}jwt`, ...form });
  const bearer = (token: string) => ask({ grant_type: BEARER, assertion: token });

  test('they are seen by introspection, and end by revocation', async () => {
    const look = async (token: string) =>
      post(`${server.issuer}/connect/introspect`, { token }, basic('orders-api', 'orders'));
    for (const given of [await exchange(await sign()), await bearer(await sign())]) {
      assert.equal(given.status, 200, JSON.stringify(given.body));
      const token = String(given.body.access_token);
      assert.equal(decodeProtectedHeader(token).typ, 'at+jwt');
      const { body } = await look(token);
      assert.deepEqual([body.active, body.sub, body.client_id], [true, 'f:repo-7', 'gate']);
      assert.equal(body.jti, decodeJwt(token).jti);
      await post(`${server.issuer}/connect/revocation`, { token }, basic('gate', 'gate'));
      assert.deepEqual((await look(token)).body, { active: false });
    }
  });

  const mine = async (id: string, form: Record<string, string>) => {
    const { body } = await post(server.token, form, basic(id, id));
    assert.equal(typeof body.access_token, 'string', JSON.stringify(body));
    return String(body.access_token);
  };
  const person = (more: Record<string, string> = {}) =>
    mine('legacy', { grant_type: 'password', ...ADA, scope: 'openid', ...more });
  const machine = () => mine('plain', { grant_type: 'client_credentials' });

  test('one of ours that was revoked is good for nothing', async () => {
    for (const [id, make] of [
      ['legacy', person],
      ['plain', machine],
    ] as const) {
      const token = await make();
      const actor = { actor_token: token, actor_token_type: `${TYPE}access_token` };
      assert.equal((await exchange(token)).status, 200, id);
      assert.equal((await exchange(await sign(), actor)).status, 200, id);
      assert.equal((await bearer(await make())).status, 200, id);
      await post(`${server.issuer}/connect/revocation`, { token }, basic(id, id));
      for (const answer of [await exchange(token), await exchange(await sign(), actor)])
        assert.deepEqual([answer.status, answer.body.error], [400, 'invalid_request'], id);
      assert.equal((await bearer(token)).body.error, 'invalid_grant', id);
    }
  });

  test('nor is one of a person who is gone', async () => {
    const bob = { ...ADA, username: 'bob' };
    assert.equal(await adminPost(server.admin, '/v1/users/add', bob), 200);
    const token = await person(bob);
    assert.equal((await exchange(token)).status, 200);
    assert.equal(await adminPost(server.admin, '/v1/users/remove', { username: 'bob' }), 200);
    assert.equal((await exchange(token)).body.error, 'invalid_request');
  });

  test('an assertion that was used before is never told as issued', async () => {
    const token = await sign();
    const from = server.lines().length;
    const ids = [jtiOf(await bearer(token))];
    assert.equal((await bearer(token)).body.error, 'invalid_grant');
    ids.push(jtiOf(await bearer(await sign())));
    const issued = () =>
      server
        .lines()
        .slice(from)
        .filter(({ msg }) => msg === 'issued')
        .map(({ jti }) => jti);
    await until(() => issued().includes(ids[1]), 'the line of the last one');
    assert.deepEqual(issued(), ids);
  });

  for (const way of ['exchange', 'bearer'] as const)
    test(`the scopes of ${way} are of its audience, and no more than were shown`, async () => {
      const ALL = 'orders.read orders.write billing.read';
      const cases: readonly (readonly [Record<string, string>, unknown, string | undefined])[] = [
        [{}, undefined, 'orders.read orders.write'],
        [{ scope: 'orders.read' }, undefined, 'orders.read'],
        [{ scope: ALL }, undefined, 'orders.read orders.write'],
        [{ audience: OTHER_API }, undefined, 'billing.read'],
        [{}, 'openid orders.read', 'orders.read'],
        [{}, ['orders.write', 'billing.read'], 'orders.write'],
        [{ scope: ALL }, 'orders.write', 'orders.write'],
        [{ audience: CLOUD }, 'orders.write', undefined],
      ];
      const as = (id: string, token: string, more: Record<string, string>) =>
        post(server.token, { ...shownBy(way, token), audience: API, ...more }, basic(id, id));
      for (const [more, shown, wanted] of cases) {
        const name = JSON.stringify([more, shown]);
        const { body } = await as('shop', await sign(shown === undefined ? {} : { scope: shown }), more);
        assert.equal(body.scope, wanted, `${name}: ${JSON.stringify(body)}`);
        const { scope: given, aud } = decodeJwt(String(body.access_token));
        assert.deepEqual(given, wanted?.split(' '), name);
        assert.equal(aud, more.audience ?? API, name);
      }
      const refused: readonly (readonly [Record<string, string>, unknown, string])[] = [
        [{ scope: 'openid' }, undefined, 'invalid_scope'],
        [{ scope: 'openid orders.read' }, undefined, 'invalid_scope'],
        [{ scope: 'openid', audience: CLOUD }, undefined, 'invalid_scope'],
        [{ scope: 'root' }, undefined, 'invalid_scope'],
        [{ scope: 'billing.read' }, undefined, 'invalid_target'],
        [{}, 'billing.read', 'invalid_scope'],
        [{}, '', 'invalid_scope'],
        [{ scope: 'orders.read' }, ['orders.write'], 'invalid_scope'],
      ];
      for (const [more, shown, error] of refused) {
        const answer = await as('shop', await sign(shown === undefined ? {} : { scope: shown }), more);
        assert.deepEqual([answer.status, answer.body.error], [400, error], JSON.stringify([more, shown]));
      }
      const twice = await as('shop', await sign(), { scope: 'orders.read orders.read' });
      assert.deepEqual(decodeJwt(String(twice.body.access_token)).scope, ['orders.read']);
      const none = await as('gate', await sign(), {});
      assert.equal(decodeJwt(String(none.body.access_token)).scope, undefined, 'a client without scopes');
    });

  for (const way of ['exchange', 'bearer'] as const)
    test(`a token of ${way} is as its resource says, and no longer than its client's`, async () => {
      const as = async (id: string, audience: string) => {
        const { body } = await post(
          server.token,
          { ...shownBy(way, await sign({}, '1h')), audience },
          basic(id, id),
        );
        const token = String(body.access_token);
        return [decodeProtectedHeader(token).alg, body.expires_in];
      };
      assert.deepEqual(await as('shop', OTHER_API), ['ES256', 300]);
      assert.deepEqual(await as('shop', API), ['RS256', 600], "the rule's");
      assert.deepEqual(await as('brief', API), ['RS256', 120]);
    });

  test('an API exchanges the token that it was called with, and a client its own; nobody else does', async () => {
    const token = await person({ scope: 'openid orders.read' });
    assert.equal(decodeJwt(token).aud, API);
    const form = { subject_token_type: `${TYPE}access_token`, grant_type: EXCHANGE, audience: OTHER_API };
    const as = (id: string, secret: string, subject: string) =>
      post(server.token, { ...form, subject_token: subject }, basic(id, secret));
    const given = await as('orders-api', 'orders', token);
    assert.equal(given.status, 200, JSON.stringify(given.body));
    const { sub, aud, client_id } = decodeJwt(String(given.body.access_token));
    assert.deepEqual([sub, aud, client_id], [decodeJwt(token).sub, OTHER_API, 'orders-api']);
    const own = String(given.body.access_token);
    assert.equal((await as('orders-api', 'orders', own)).status, 200, 'given to it');
    for (const [subject, name] of [
      [token, 'called with'],
      [own, 'given'],
    ] as const)
      assert.equal((await as('gate', 'gate', subject)).body.error, 'invalid_request', name);
    const open = await post(server.token, { ...form, client_id: 'open', subject_token: token });
    assert.equal(open.body.error, 'invalid_request', 'a public client');
    const asGrant = { grant_type: BEARER, assertion: token, audience: OTHER_API };
    const granted = await post(server.token, asGrant, basic('orders-api', 'orders'));
    assert.equal(granted.body.error, 'invalid_grant', 'RFC 7523 section 3: it is for somebody else');
  });
});

const shownBy = (way: 'exchange' | 'bearer', token: string): Record<string, string> =>
  way === 'bearer'
    ? { grant_type: BEARER, assertion: token }
    : { grant_type: EXCHANGE, subject_token: token, subject_token_type: `${TYPE}jwt` };

function jtiOf({ body }: Answer): unknown {
  assert.equal(typeof body.access_token, 'string', JSON.stringify(body));
  return decodeJwt(String(body.access_token)).jti;
}
