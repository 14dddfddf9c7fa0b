/** What the token endpoint says to wrong requests: RFC 6749 section 5.2, RFC 7009, RFC 7662, RFC 8628, RFC 8707. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { before, suite, test } from 'node:test';
import { scopeOf } from '../system/suite.ts';
import { type Answer, basic, hashOf, MACHINE, post, SECRET, startOAuth } from './server.ts';
import { CC, CLIENTS, MACHINES, VECTORS } from './wrong-requests.ts';

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
    const empty = await post(server.token, `${CC}&resource=&audience=`, MACHINES);
    assert.equal(empty.body.scope, 'orders.read billing.read', 'a parameter without a value is none');
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
