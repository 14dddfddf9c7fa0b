/** `mintmark token --verify`: a token is taken by what its issuer publishes, wherever that is read. */
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { before, describe, it, type TestContext } from 'node:test';
import { AUDIENCE, createPlace, mintmark, type Place, start, writeConfig } from './start.ts';
import { scopeOf } from './suite.ts';

describe('token --verify', () => {
  const scope = scopeOf();
  let place: Place;

  before(async () => {
    place = await createPlace(scope);
    writeConfig(place, { issuer: `${place.issuer}/acme` });
    await start(scope, place);
  });

  const verify = (url: string) =>
    mintmark(['token', '--aud', AUDIENCE, '--verify', url], { env: { MINTMARK_SOCKET: place.socket } });

  it('prints the token that the published keys verify', async () => {
    for (const url of [`${place.issuer}/acme`, `${place.issuer}/acme/`]) {
      const { code, stdout, stderr } = await verify(url);
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    }
  });

  it('takes another way to the same issuer', async (t) => {
    const url = await publish(t, async (path) => (await fetch(`${place.issuer}/acme${path}`)).json());
    assert.equal((await verify(url)).code, 0);
  });

  it('prints no token that they do not verify, and says why', async (t) => {
    const own = { issuer: `${place.issuer}/acme`, jwks_uri: `${place.issuer}/acme/.well-known/jwks` };
    const cases: readonly [string, unknown, RegExp][] = [
      [
        'another issuer',
        { ...own, issuer: 'https://x.example.com' },
        /but \S+ publishes the keys of https:\/\/x/,
      ],
      [
        'keys elsewhere',
        { ...own, jwks_uri: 'https://x.example.com/jwks' },
        /JWKS that is not below its issuer/,
      ],
      ['other keys', own, /the token does not verify by the keys at/],
    ];
    for (const [name, metadata, reason] of cases) {
      const url = await publish(t, async (path) => (path.endsWith('/jwks') ? { keys: [] } : metadata));
      const { code, stdout, stderr } = await verify(url);
      assert.deepEqual([code, stdout], [1, ''], name);
      assert.match(stderr, reason);
    }
  });

  it('nothing published is exit code 3, and no URL is a wrong command line', async (t) => {
    const url = await publish(t, async () => undefined);
    assert.equal((await verify(url)).code, 3);
    assert.match((await verify('http://127.0.0.1:1')).stderr, /openid-configuration cannot be read/);
    assert.equal((await verify('id.example.com')).code, 2);
  });
});

/** A server that answers with JSON, or 404. Resolves to its URL. */
async function publish(t: TestContext, answer: (path: string) => Promise<unknown>): Promise<string> {
  const server = createServer(async ({ url = '/' }, response) => {
    const body = await answer(url);
    response.statusCode = body === undefined ? 404 : 200;
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  t.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
