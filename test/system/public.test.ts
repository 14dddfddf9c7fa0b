/** What the world sees of a running issuer, here one with a path as Fly's `/<org>`. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { before, describe, it } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { ask, mint } from './ask.ts';
import { AUDIENCE, createPlace, type Place, start, writeConfig } from './start.ts';
import { scopeOf } from './suite.ts';

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];

describe('the public documents', () => {
  const scope = scopeOf();
  let place: Place;
  let origin: string;
  let issuer: string;

  before(async () => {
    place = await createPlace(scope);
    origin = place.issuer;
    issuer = `${origin}/acme`;
    writeConfig(place, {
      issuer,
      public: { listen: `127.0.0.1:${place.port}`, cacheFor: '7m' },
      keys: { store: 'memory' },
    });
    await start(scope, place);
  });

  it('lead from the issuer in a token to the key that it verifies by', async () => {
    const token = await mint(place.socket, { aud: AUDIENCE });
    const metadata = (await ask(origin, '/acme/.well-known/openid-configuration')).json<{
      issuer: string;
      jwks_uri: string;
    }>();
    assert.equal(metadata.issuer, issuer);
    assert.ok(metadata.jwks_uri.startsWith(`${issuer}/`));
    await jwtVerify(token, createRemoteJWKSet(new URL(metadata.jwks_uri)), { issuer, audience: AUDIENCE });
  });

  it('are at every place where one may look for them', async () => {
    const metadata = [
      '/acme/.well-known/openid-configuration',
      '/acme/.well-known/oauth-authorization-server',
      '/.well-known/oauth-authorization-server/acme',
    ];
    const jwks = ['/acme/.well-known/jwks', '/acme/.well-known/jwks.json'];
    for (const paths of [metadata, jwks]) {
      const answers = await Promise.all(paths.map((path) => ask(origin, path)));
      for (const { status, text: body, headers } of answers) {
        assert.equal(status, 200);
        assert.equal(body, answers[0]?.text);
        assert.equal(headers['cache-control'], 'public, max-age=420, stale-if-error=86400');
        assert.equal(headers['access-control-allow-origin'], '*');
      }
    }
    assert.equal((await ask(origin, '/.well-known/openid-configuration')).status, 404);
  });

  it('have no private number', async () => {
    const { keys } = (await ask(origin, '/acme/.well-known/jwks')).json<{ keys: Record<string, string>[] }>();
    assert.equal(keys.length, 2);
    for (const key of keys) {
      assert.deepEqual(Object.keys(key).sort(), ['alg', 'e', 'kid', 'kty', 'n', 'use']);
      for (const member of PRIVATE_MEMBERS) assert.ok(!(member in key));
    }
  });

  it('are cheap to ask for again: ETag, 304, HEAD', async () => {
    const first = await ask(origin, '/acme/.well-known/jwks');
    const { etag } = first.headers;
    const again = await ask(origin, '/acme/.well-known/jwks', { headers: { 'If-None-Match': String(etag) } });
    assert.deepEqual([again.status, again.text, again.headers.etag], [304, '', etag]);
    const head = await ask(origin, '/acme/.well-known/jwks', { method: 'HEAD' });
    assert.deepEqual([head.status, head.text], [200, '']);
    assert.equal(head.headers['content-length'], String(Buffer.byteLength(first.text)));
    assert.equal(head.headers.etag, etag);
  });

  it('take no other method', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      const refused = await ask(origin, '/acme/.well-known/jwks', { method });
      assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET, HEAD']);
    }
  });

  it('say nothing that a request put into them', async () => {
    const honest = (await ask(origin, '/acme/.well-known/openid-configuration')).text;
    for (const host of ['evil:x@good', 'evil.example.com', 'evil.example.com:80']) {
      const headers = { Host: host, 'X-Forwarded-Host': 'evil.example.com', 'X-Forwarded-Proto': 'https' };
      const { text: body } = await ask(origin, '/acme/.well-known/openid-configuration?issuer=evil', {
        headers,
      });
      assert.equal(body, honest);
    }
    const { port } = place;
    const absolute = connect(port, '127.0.0.1');
    absolute.end(
      `GET http://evil.example.com/acme/.well-known/openid-configuration HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n`,
    );
    const answer = await text(absolute);
    assert.ok(!answer.includes('evil'), answer);
  });

  it('are all that is there: no token, no key and no status on this listener', async () => {
    for (const path of ['/v1/tokens/oidc', '/v1/keys', '/v1/explain', '/metrics', '/readyz']) {
      assert.equal((await ask(origin, path)).status, 404);
      assert.equal((await ask(origin, path, { method: 'POST', body: '{}' })).status, 404);
    }
  });
});
