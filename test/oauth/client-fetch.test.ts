/** What clients have us fetch. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite, test } from 'node:test';
import { clientFetch } from '../../src/doors/oauth/client-fetch.ts';

import { defer, type Scope } from '../system/start.ts';

const internet = () => import('../../src/attestors/public-address.ts');

const NOBODYS = [
  'https://127.0.0.1/jwks',
  'https://127.1/jwks',
  'https://2130706433/jwks',
  'https://0x7f000001/jwks',
  'https://localhost/jwks',
  'https://10.0.0.1/jwks',
  'https://169.254.169.254/latest',
  'https://[::1]/jwks',
  'https://[::ffff:10.0.0.1]/jwks',
  'https://[fd00::1]/jwks',
  'https://[64:ff9b::a00:1]/jwks',
  'https://[fe80::1]/jwks',
  'https://0.0.0.0/jwks',
];

suite('what clients have us fetch', () => {
  const strict = clientFetch({ internet, trusted: new Set(), isDevelopment: false });

  for (const url of NOBODYS)
    test(`${url} is not asked`, () => assert.rejects(strict(url), /is no host of the internet/));

  test('nor is what has no TLS, or is no web at all', async () => {
    for (const url of ['http://example.com/jwks', 'file:///etc/passwd', 'ftp://example.com/'])
      await assert.rejects(strict(url), /no https URL/);
  });

  test('an URL of the configuration is, exactly that one, and redirects are not followed', async (t) => {
    const { at, asked } = await serve(t);
    const fetch = clientFetch({
      internet,
      trusted: new Set([`${at}/jwks`, `${at}/moved`]),
      isDevelopment: false,
    });
    const answer = await fetch(`${at}/jwks`);
    assert.deepEqual([answer.status, await answer.json()], [200, { keys: [] }]);
    assert.equal(answer.headers.get('cache-control'), 'max-age=60');
    const moved = await fetch(`${at}/moved`);
    assert.equal(moved.status, 302);
    await moved.body?.cancel();
    await assert.rejects(fetch(`${at}/other`), /no https URL/);
    assert.deepEqual(asked, ['/jwks', '/moved']);
  });

  test('in development anything is; whoever does not answer is given up', async (t) => {
    const { at } = await serve(t);
    const fetch = clientFetch({ internet, trusted: new Set(), isDevelopment: true });
    assert.equal((await fetch(`${at}/none`)).status, 204);
    await assert.rejects(fetch(`${at}/slow`, { signal: AbortSignal.timeout(50) }), { name: 'AbortError' });
  });
});

async function serve(
  scope: Scope,
): Promise<{ readonly at: string; readonly asked: readonly (string | undefined)[] }> {
  const asked: (string | undefined)[] = [];
  const server = createServer(({ url }, response) => {
    asked.push(url);
    if (url === '/slow') return;
    if (url === '/moved') response.writeHead(302, { Location: '/jwks' }).end();
    else if (url === '/none') response.writeHead(204).end();
    else response.writeHead(200, { 'Cache-Control': 'max-age=60' }).end('{"keys":[]}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(scope, () => {
    server.closeAllConnections();
    server.close();
  });
  return { at: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
}
