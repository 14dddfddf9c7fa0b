/** What is asked for and cannot be had is told in a word, and never left out. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { decodeJwt } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { basic, hashOf, post, RESOURCES, startOAuth } from './server.ts';

const APP = 'https://shop.example.com/';
const PASSWORD = 'correct horse battery staple';
const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code', 'password'],
  scopes: ['openid', 'orders.read', 'billing.read'],
  redirectUris: [`${APP}callback`],
};
const FIRST = { ...WEB, id: 'first', secrets: [hashOf('first')], consent: false };
const TV = {
  id: 'tv',
  public: true,
  grants: ['device_code'],
  scopes: ['openid', 'orders.read'],
  consent: false,
};
const VERIFIER = 'v'.repeat(43);
const QUERY = {
  ...{ client_id: 'web', response_type: 'code', redirect_uri: `${APP}callback`, scope: 'openid' },
  ...{
    code_challenge: createHash('sha256').update(VERIFIER).digest('base64url'),
    code_challenge_method: 'S256',
  },
};

const asResource = ({ audience }: { readonly audience: string }) => ['resource', audience];

suite('parameters', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    const identityProviders = { corp: { issuer: 'http://localhost:1', clientId: 'x' } };
    const people = { passwords: { cost: 10 }, identityProviders };
    server = await startOAuth(scope, { clients: [WEB, FIRST, TV], resources: RESOURCES, people });
    assert.equal(
      await adminPost(server.admin, '/v1/users/add', { username: 'ada', password: PASSWORD }),
      200,
    );
  });

  type Refusal = readonly [error: unknown, description: unknown];
  const authorize = async (more: Record<string, string>): Promise<Refusal> => {
    const query = new URLSearchParams({ ...QUERY, ...more });
    const { url } = await openBrowser(APP).open(`${server.issuer}/connect/authorize?${query}`);
    const { searchParams } = new URL(url);
    return [searchParams.get('error'), searchParams.get('error_description')];
  };
  const codeOf = async (query: Record<string, string>) => {
    const browser = openBrowser(APP);
    const page = await browser.open(`${server.issuer}/connect/authorize?${new URLSearchParams(query)}`);
    const { url } = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    return new URL(url).searchParams.get('code') ?? assert.fail(url);
  };
  const posted = async (path: string, form: Record<string, string>, client = true): Promise<Refusal> => {
    const { body } = await post(`${server.issuer}/connect/${path}`, form, client ? basic('web', 'web') : {});
    return [body.error, body.error_description];
  };

  test('a scope that nobody knows, alone and beside others', async () => {
    for (const asked of ['nope', 'openid nope']) {
      const refused = ['invalid_scope', 'the client may not have nope'];
      assert.deepEqual(await authorize({ scope: asked }), refused);
      assert.deepEqual(await posted('par', { ...QUERY, scope: asked }), refused);
      const device = { client_id: 'tv', scope: asked };
      assert.deepEqual(await posted('deviceauthorization', device, false), refused);
    }
    assert.deepEqual(await authorize({ scope: '' }), ['invalid_scope', 'scope is missing']);
  });

  test('two resources by a form are two resources in the address that it is sent on to', async () => {
    const body = new URLSearchParams([...Object.entries(QUERY), ...RESOURCES.map(asResource)]);
    body.set('scope', 'openid orders.read billing.read');
    const answer = await fetch(`${server.issuer}/connect/authorize`, {
      ...{ method: 'POST', body, redirect: 'manual' },
    });
    const sentTo = new URL(answer.headers.get('location') ?? '', server.issuer);
    assert.deepEqual(
      sentTo.searchParams.getAll('resource'),
      RESOURCES.map(asResource).map(([, to]) => to),
    );
    const { url } = await openBrowser(APP).open(sentTo.href);
    assert.match(url, /\/interaction\//);
  });

  test('acr_values count without openid too, and blanks around scopes count for nothing', async () => {
    const bare = { ...QUERY, client_id: 'first', scope: ' orders.read  billing.read ' };
    const asked = { ...bare, acr_values: 'tenant:acme' };
    const { body: pushed } = await post(`${server.issuer}/connect/par`, asked, basic('first', 'first'));
    const { client_id } = bare;
    for (const query of [asked, { client_id, request_uri: String(pushed.request_uri) }]) {
      const code = await codeOf(query);
      const redeemed = { grant_type: 'authorization_code', redirect_uri: bare.redirect_uri, code };
      const { body } = await post(
        `${server.issuer}/connect/token`,
        { ...redeemed, code_verifier: VERIFIER },
        basic('first', 'first'),
      );
      const { tenant, scope: given } = decodeJwt(String(body.access_token));
      assert.deepEqual([tenant, given], ['acme', ['orders.read', 'billing.read']], JSON.stringify(body));
    }
    const forged = await openBrowser(APP).open(
      `${server.issuer}/connect/authorize?${new URLSearchParams({ ...bare, carried_acr_values: 'tenant:a b' })}`,
    );
    assert.match(forged.html, /\/login/);
    const idp = `${server.issuer}/connect/authorize?${new URLSearchParams({ ...bare, acr_values: 'idp:corp' })}`;
    assert.equal((await openBrowser(APP).open(idp)).status, 502, 'corp was to be asked');
    const login = {
      grant_type: 'password',
      username: 'ada',
      password: PASSWORD,
      scope: ' orders.read  openid ',
    };
    assert.deepEqual(await posted('token', login), [undefined, undefined]);
  });

  test('a device says acr_values with and without scopes', async () => {
    for (const asked of [{ scope: ' orders.read ' }, {}]) {
      const { body: device } = await post(`${server.issuer}/connect/deviceauthorization`, {
        ...{ client_id: 'tv', acr_values: 'tenant:acme' },
        ...asked,
      });
      const browser = openBrowser(APP);
      let page = await browser.open(String(device.verification_uri_complete));
      page = await browser.submit(page, /\/device$/, { confirm: 'yes' });
      page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
      assert.equal(page.status, 200, page.html);
      const { body } = await post(`${server.issuer}/connect/token`, {
        ...{ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'tv' },
        device_code: String(device.device_code),
      });
      const { tenant, scope: given } = decodeJwt(String(body.access_token));
      const scopes = asked.scope === undefined ? ['openid', 'orders.read'] : ['orders.read'];
      assert.deepEqual([tenant, given], ['acme', scopes], JSON.stringify(body));
    }
  });

  test('a resource with a line break is not two', async () => {
    const [one, two] = RESOURCES.map(({ audience }) => audience);
    const login = { grant_type: 'password', username: 'ada', password: PASSWORD, scope: 'openid' };
    for (const name of ['resource', 'audience']) {
      const torn = { [name]: `${one}\n${two}`, scope: 'openid orders.read' };
      for (const [error] of [
        await authorize(torn),
        await posted('par', { ...QUERY, ...torn }),
        await posted('token', { ...login, ...torn }),
      ])
        assert.equal(error, 'invalid_target', name);
    }
  });

  test('a tenant that cannot be one', async () => {
    const login = { grant_type: 'password', username: 'ada', password: PASSWORD, scope: 'openid' };
    for (const tenant of ['x'.repeat(129), 'a\nb', 'käse', '']) {
      const acr = { acr_values: `idp:local tenant:${tenant}` };
      for (const [error, description] of [
        await authorize(acr),
        await posted('par', { ...QUERY, ...acr }),
        await posted('token', { ...login, ...acr }),
      ]) {
        assert.equal(error, 'invalid_request', tenant);
        assert.match(String(description), /tenant/);
      }
    }
    for (const twice of ['tenant:a tenant:b', 'idp:local idp:corp']) {
      const [word] = twice.split(':');
      const refused = ['invalid_request', `acr_values has ${word}: twice`];
      assert.deepEqual(await authorize({ acr_values: twice }), refused);
      assert.deepEqual(await posted('token', { ...login, acr_values: twice }), refused);
    }
    const longest = { acr_values: `tenant:${'x'.repeat(128)}` };
    assert.deepEqual(await posted('token', { ...login, ...longest }), [undefined, undefined]);
    const user = { username: 'bob', password: PASSWORD, tenants: ['käse'] };
    assert.equal(await adminPost(server.admin, '/v1/users/add', user), 400);
  });
});
