/** What the token endpoint says to wrong requests: RFC 6749 section 5.2, RFC 7009, RFC 7662, RFC 8628, RFC 8707. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { before, suite, test } from 'node:test';
import { scopeOf } from '../system/suite.ts';
import { type Answer, API, basic, hashOf, MACHINE, ORDERS_API, post, SECRET, startOAuth } from './server.ts';

const CLIENTS = [
  MACHINE,
  ORDERS_API,
  {
    id: 'device',
    public: true,
    grants: ['device_code', 'refresh_token'],
    scopes: ['openid', 'offline_access', 'orders.read'],
  },
  {
    id: 'app',
    public: true,
    grants: ['authorization_code'],
    scopes: ['openid'],
    redirectUris: ['https://a.example/cb'],
  },
  { id: 'legacy', secrets: [hashOf('x')], grants: ['password'], scopes: ['orders.read'] },
];

const MACHINES = basic(MACHINE.id, SECRET);
const CC = 'grant_type=client_credentials';

type Vector = {
  readonly name: string;
  readonly form: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly path?: string;
  readonly status?: number;
  readonly error: string;
};

const VECTORS: readonly Vector[] = [
  {
    name: 'an unknown grant',
    form: 'grant_type=nonsense',
    headers: MACHINES,
    error: 'unsupported_grant_type',
  },
  { name: 'implicit', form: 'grant_type=implicit', headers: MACHINES, error: 'unsupported_grant_type' },
  { name: 'no grant', form: 'scope=orders.read', headers: MACHINES, error: 'invalid_request' },
  { name: 'a repeated grant', form: `${CC}&${CC}`, headers: MACHINES, error: 'invalid_request' },
  {
    name: 'a repeated scope',
    form: `${CC}&scope=orders.read&scope=billing.read`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'JSON',
    form: '{"grant_type":"client_credentials"}',
    headers: { ...MACHINES, 'Content-Type': 'application/json' },
    error: 'invalid_request',
  },
  {
    name: 'a grant that the client may not use',
    form: 'grant_type=password&username=a&password=b',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'a scope that the client may not have',
    form: `${CC}&scope=orders.write`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  {
    name: 'a scope that nobody knows',
    form: `${CC}&scope=orders.read%20nonsense`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  {
    name: 'an identity scope for a machine',
    form: `${CC}&scope=openid`,
    headers: MACHINES,
    error: 'invalid_scope',
  },
  { name: 'a scope with a quote', form: `${CC}&scope=%22`, headers: MACHINES, error: 'invalid_scope' },
  {
    name: 'an unknown resource',
    form: `${CC}&resource=https://other.example.com`,
    headers: MACHINES,
    error: 'invalid_target',
  },
  {
    name: 'a resource that none of the scopes is of',
    form: `${CC}&scope=billing.read&resource=${API}`,
    headers: MACHINES,
    error: 'invalid_target',
  },
  { name: 'no client', form: CC, status: 401, error: 'invalid_client' },
  {
    name: 'an unknown client, by Basic',
    form: CC,
    headers: basic('nobody', SECRET),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a wrong secret, by Basic',
    form: CC,
    headers: basic(MACHINE.id, 'wrong'),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'the stored hash as the secret',
    form: CC,
    headers: basic(MACHINE.id, hashOf(SECRET)),
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a wrong secret in the body',
    form: `${CC}&client_id=orders-api&client_secret=wrong`,
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'Basic and a secret in the body',
    form: `${CC}&client_id=orders-api&client_secret=orders`,
    headers: basic('orders-api', 'orders'),
    error: 'invalid_request',
  },
  {
    name: 'Basic and another client_id',
    form: `${CC}&client_id=legacy`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'Basic that is no base64',
    form: CC,
    headers: { Authorization: 'Basic %%%' },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'Basic without a secret',
    form: CC,
    headers: { Authorization: `Basic ${Buffer.from('orders-api:').toString('base64')}` },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a bearer token in the place of a client',
    form: CC,
    headers: { Authorization: 'Bearer x' },
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a repeated parameter that nobody knows',
    form: `${CC}&foo=1&foo=2`,
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'a secret for a public client',
    form: 'grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=device&client_secret=x&device_code=y',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'an unknown code',
    form: 'grant_type=authorization_code&code=x&redirect_uri=https://a.example/cb&client_id=app',
    error: 'invalid_grant',
  },
  {
    name: 'the code of a client without that grant',
    form: 'grant_type=authorization_code&code=x&redirect_uri=https://a.example/cb',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'an unknown refresh token',
    form: 'grant_type=refresh_token&refresh_token=x&client_id=device',
    error: 'invalid_grant',
  },
  { name: 'no refresh token', form: 'grant_type=refresh_token&client_id=device', error: 'invalid_request' },
  {
    name: 'an unknown device code',
    form: 'grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=device&device_code=x',
    error: 'invalid_grant',
  },
  {
    name: 'a stand-in for a stored id',
    form: 'grant_type=refresh_token&refresh_token=~x.y&client_id=device',
    error: 'invalid_grant',
  },
  {
    name: 'a stand-in that is no ASCII',
    form: `grant_type=refresh_token&refresh_token=${encodeURIComponent(`~x.${'é'.repeat(43)}`)}&client_id=device`,
    error: 'invalid_grant',
  },
  {
    name: 'a device that asks for too much',
    path: '/connect/deviceauthorization',
    form: 'client_id=device&scope=billing.read',
    error: 'invalid_scope',
  },
  {
    name: 'a device flow of another client',
    path: '/connect/deviceauthorization',
    form: '',
    headers: MACHINES,
    error: 'unauthorized_client',
  },
  {
    name: 'introspection without a token',
    path: '/connect/introspect',
    form: '',
    headers: MACHINES,
    error: 'invalid_request',
  },
  {
    name: 'introspection by nobody',
    path: '/connect/introspect',
    form: 'token=x',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'a device of nobody',
    path: '/connect/deviceauthorization',
    form: '',
    status: 401,
    error: 'invalid_client',
  },
  {
    name: 'revocation with a wrong secret',
    path: '/connect/revocation',
    form: 'token=x',
    headers: basic(MACHINE.id, 'x'),
    status: 401,
    error: 'invalid_client',
  },
];

suite('wrong requests', () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    server = await startOAuth(scope, { clients: CLIENTS });
  });

  for (const { name, form, headers, path = '/connect/token', status = 400, error } of VECTORS)
    test(`${name}: ${error}`, async () => {
      const answer = await post(`${server.issuer}${path}`, form, headers);
      assert.equal(answer.body.error, error, JSON.stringify(answer.body));
      assert.equal(answer.status, status);
      assert.equal(typeof answer.body.error_description, 'string');
      assert.match(answer.headers.get('content-type') ?? '', /^application\/json/);
      if (path === '/connect/token') assertKeptNowhere(answer);
      const isBasic = headers?.Authorization !== undefined;
      if (status === 401) assert.equal(answer.headers.has('www-authenticate'), isBasic);
    });

  test('an unknown client and a wrong secret are told alike', async () => {
    const unknown = await post(server.token, CC, basic('nobody', SECRET));
    const wrong = await post(server.token, CC, basic(MACHINE.id, 'wrong'));
    assert.deepEqual(unknown.body, wrong.body);
  });

  test('a body that is too large is refused, and the connection is closed', async () => {
    const answer = await post(server.token, `${CC}&x=${'a'.repeat(70_000)}`, MACHINES);
    assert.equal(answer.status, 413);
  });

  test('a browser, an Accept for HTML and a method that is not taken', async () => {
    const html = await post(server.token, CC, { ...basic(MACHINE.id, 'x'), Accept: 'text/html' });
    assert.equal(html.body.error, 'invalid_client', 'Java asks for HTML first');
    const get = await fetch(`${server.token}?${CC}`);
    assert.equal(get.status, 405);
    assert.match(get.headers.get('allow') ?? '', /POST/);
    const head = await fetch(`${server.issuer}/connect/authorize`, { method: 'HEAD' });
    assert.equal(head.status, 400);
    assert.equal(await head.text(), '');
    const preflight = await fetch(server.token, {
      method: 'OPTIONS',
      headers: { Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST' },
    });
    assert.equal(preflight.headers.has('access-control-allow-credentials'), false);
  });

  test('a caller that hangs up, or sends two requests at once, holds up nobody', async () => {
    const { port } = new URL(server.issuer);
    const head = (length: number) =>
      `POST /connect/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n` +
      `Authorization: ${MACHINES.Authorization}\r\nContent-Length: ${length}\r\n\r\n`;
    const broken = connect(Number(port), '127.0.0.1');
    await once(broken, 'connect');
    broken.write(`${head(CC.length)}grant`);
    broken.resetAndDestroy();
    const twice = connect(Number(port), '127.0.0.1');
    twice.write(`${head(CC.length)}${CC}${head(1)}x`);
    twice.setEncoding('utf8');
    let text = '';
    for await (const chunk of twice) {
      text += chunk;
      if (text.includes('temporarily_unavailable')) break;
    }
    assert.ok(text.startsWith('HTTP/1.1 200') && text.indexOf('HTTP/1.1 503') > 0, text);
    assert.equal((await post(server.token, CC, MACHINES)).status, 200);
    assert.equal(/OAuth: /.test(server.output()), false, server.output());
  });

  test('a scope that is named often is one', async () => {
    const form = { grant_type: 'client_credentials', scope: Array(3000).fill('orders.read').join(' ') };
    const { body } = await post(server.token, form, MACHINES);
    assert.equal(body.scope, 'orders.read', JSON.stringify(body));
    assert.ok(String(body.access_token).length < 2000);
  });

  test('no scope is every scope that the client may have', async () => {
    const answer = await post(server.token, `${CC}&scope=`, MACHINES);
    assert.equal(answer.body.scope, 'orders.read billing.read');
  });

  test('no secret is in the log', async () => {
    await post(server.token, CC, MACHINES);
    const output = server.output();
    for (const secret of [SECRET, encodeURIComponent(SECRET), hashOf(SECRET)])
      assert.equal(output.includes(secret), false, secret);
    assert.doesNotMatch(output, /eyJ[\w-]+\.eyJ/, 'a token');
  });
});

function assertKeptNowhere({ headers }: Answer): void {
  assert.match(headers.get('cache-control') ?? '', /no-store/);
}
