/** What becomes of tokens: introspection (RFC 7662), revocation (RFC 7009), userinfo (OpenID Connect Core 1.0 section 5.3). */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { decodeProtectedHeader, SignJWT } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { adminPost } from './people.ts';
import { basic, hashOf, MACHINE, ORDERS_API, post, SECRET, startOAuth } from './server.ts';

const PASSWORD = 'correct horse battery staple';
const LEGACY = {
  id: 'legacy',
  secrets: [hashOf('legacy')],
  grants: ['password', 'refresh_token'],
  scopes: ['openid', 'profile', 'offline_access', 'orders.read'],
};
const OPEN = { id: 'open', public: true, grants: ['device_code'], scopes: ['openid'] };
const MACHINES = basic(MACHINE.id, SECRET);
const LEGACYS = basic('legacy', 'legacy');

suite('tokens', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    server = await startOAuth(scope, {
      clients: [MACHINE, ORDERS_API, LEGACY, OPEN],
      people: { passwords: { cost: 10 } },
    });
    const ada = { username: 'ada', password: PASSWORD, claims: { name: 'Ada' } };
    assert.equal(await adminPost(server.admin, '/v1/users/add', ada), 200);
  });

  const tokens = async (more: Record<string, string> = {}) => {
    const form = { grant_type: 'password', username: 'ada', password: PASSWORD, ...more };
    const { body } = await post(server.token, form, LEGACYS);
    return { access: String(body.access_token), refresh: String(body.refresh_token) };
  };
  const machine = async () =>
    String((await post(server.token, { grant_type: 'client_credentials' }, MACHINES)).body.access_token);
  const see = (token: string, who = LEGACYS, more = {}) =>
    post(`${server.issuer}/connect/introspect`, { token, ...more }, who);
  const revoke = (token: string, who = LEGACYS, more = {}) =>
    post(`${server.issuer}/connect/revocation`, { token, ...more }, who);

  test('a hint may be right, wrong or unheard of', async () => {
    const { access, refresh } = await tokens();
    for (const hint of ['access_token', 'refresh_token', 'nonsense', '']) {
      const more = { token_type_hint: hint };
      const [one, two] = await Promise.all([see(access, LEGACYS, more), see(refresh, LEGACYS, more)]);
      assert.deepEqual([one.body.active, two.body.active], [true, true], hint);
    }
    const { headers } = await see(access);
    assert.match(headers.get('cache-control') ?? '', /no-store/);
    const revoked = await revoke(refresh, LEGACYS, { token_type_hint: 'nonsense' });
    assert.equal(revoked.status, 200);
    assert.match(revoked.headers.get('cache-control') ?? '', /no-store/);
    assert.equal((await see(access)).body.active, false, 'the family ends with its refresh token');
  });

  test('the family ends with an access token too, as RFC 7009 section 2.1 allows', async () => {
    const { access, refresh } = await tokens();
    assert.equal((await revoke(access)).status, 200);
    assert.deepEqual((await see(access)).body, { active: false });
    const again = await post(server.token, { grant_type: 'refresh_token', refresh_token: refresh }, LEGACYS);
    assert.equal(again.body.error, 'invalid_grant', JSON.stringify(again.body));
  });

  test('whoever it is not for cannot tell a good token from garbage, nor end it', async () => {
    const { access, refresh } = await tokens();
    const token = await machine();
    for (const [good, who] of [
      [access, MACHINES],
      [refresh, MACHINES],
      [token, LEGACYS],
    ] as const) {
      assert.deepEqual((await see(good, who)).body, { active: false });
      assert.equal((await revoke(good, who)).status, 200, 'RFC 7009 section 2.2');
    }
    assert.equal((await see(access)).body.active, true);
    assert.equal((await see(refresh)).body.active, true);
    assert.equal((await see(token, MACHINES)).body.active, true);
  });

  test('what is no token of ours is not active, and revoking it is no error', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { access } = await tokens();
    const { kid } = decodeProtectedHeader(access);
    const [head = '', body = '', signature = ''] = access.split('.');
    const forged = await new SignJWT({ sub: 'x', jti: 'y', client_id: 'legacy' })
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', ...(kid === undefined ? {} : { kid }) })
      .setIssuer(server.issuer)
      .setExpirationTime('1h')
      .sign(privateKey);
    const none = Buffer.from('{"alg":"none","typ":"at+jwt"}').toString('base64url');
    const garbage = [
      'x',
      'a.b',
      'a.b.c',
      'a.b.c.d.e',
      `${head}.${body}.`,
      `${none}.${body}.`,
      `${head}.${body}.${signature.slice(0, -4)}AAAA`,
      `${none}.${body}.${signature}.x.y`,
      `jwt.${access}`,
      forged,
      'ä'.repeat(100),
      'x'.repeat(5000),
    ];
    for (const token of garbage) {
      const seen = await see(token);
      assert.deepEqual([seen.status, seen.body], [200, { active: false }], token.slice(0, 80));
      assert.equal((await revoke(token)).status, 200, token.slice(0, 80));
    }
    assert.equal((await see(access)).body.active, true);
  });

  test('nobody introspects without a secret; a token or a client that is missing is invalid_request', async () => {
    const { access } = await tokens();
    const url = `${server.issuer}/connect/introspect`;
    const asPublic = await post(url, { token: access, client_id: 'open' });
    assert.deepEqual(asPublic.body, { active: false });
    const discovery = await fetch(`${server.issuer}/.well-known/oauth-authorization-server`);
    const offered = (await discovery.json()) as Record<string, readonly string[]>;
    assert.equal(offered.introspection_endpoint_auth_methods_supported?.includes('none'), false);
    assert.equal(offered.revocation_endpoint_auth_methods_supported?.includes('none'), true);
    assert.equal((await post(url, { token: access }, basic('legacy', 'x'))).status, 401);
    for (const path of ['introspect', 'revocation']) {
      const at = `${server.issuer}/connect/${path}`;
      const twice = await post(at, `token=${access}&token=x`, LEGACYS);
      assert.deepEqual([twice.status, twice.body.error], [400, 'invalid_request']);
      const json = await fetch(at, {
        method: 'POST',
        headers: { ...LEGACYS, 'Content-Type': 'application/json' },
        body: '{}',
      });
      assert.equal(json.status, 400);
      assert.equal((await fetch(`${at}?token=${access}`, { headers: LEGACYS })).status, 405, 'not in a URL');
    }
  });

  test('userinfo: for people with openid, by header or form, and not in a URL', async () => {
    const url = `${server.issuer}/connect/userinfo`;
    const get = (token: string | undefined, at = url) =>
      fetch(at, token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } });
    const { access } = await tokens();
    assert.equal(((await (await get(access)).json()) as { name: string }).name, 'Ada');
    const form = await post(url, { access_token: access });
    assert.equal(form.body.name, 'Ada', JSON.stringify(form.body));
    const { access: narrow } = await tokens({ scope: 'orders.read' });
    const forbidden = await get(narrow);
    assert.equal(forbidden.status, 403);
    assert.match(forbidden.headers.get('www-authenticate') ?? '', /error="insufficient_scope"/);
    const nobodys = await get(await machine());
    assert.equal(nobodys.status, 401);
    assert.match(nobodys.headers.get('www-authenticate') ?? '', /error="invalid_token"/);
    for (const token of ['garbage', 'a.b.c', `jwt.${access}`, undefined]) {
      const answer = await get(token);
      assert.ok([400, 401].includes(answer.status), `${token}: ${answer.status}`);
      assert.match(answer.headers.get('www-authenticate') ?? '', /^Bearer realm=/);
    }
    assert.notEqual((await get(undefined, `${url}?access_token=${access}`)).status, 200);
    const both = await post(url, { access_token: access }, { Authorization: `Bearer ${access}` });
    assert.equal(both.status, 400);
    await revoke(access);
    assert.equal((await get(access)).status, 401);
  });

  test('tokens of somebody who is gone, or has a new password, are not active', async () => {
    const admin = async (what: string, more = {}) =>
      assert.equal(await adminPost(server.admin, `/v1/users/${what}`, { username: 'bob', ...more }), 200);
    for (const [end, more] of [
      ['password', { password: `${PASSWORD}, a new one` }],
      ['remove', {}],
    ] as const) {
      await (end === 'password' ? admin('add', { password: PASSWORD }) : undefined);
      const password = end === 'password' ? PASSWORD : `${PASSWORD}, a new one`;
      const { access, refresh } = await tokens({ username: 'bob', password });
      for (const token of [access, refresh]) assert.equal((await see(token)).body.active, true, end);
      await setTimeout(1100); // lives are counted in seconds
      await admin(end, more);
      for (const token of [access, refresh])
        assert.deepEqual((await see(token)).body, { active: false }, end);
    }
  });
});
