import assert from 'node:assert/strict';
import { before, suite, type TestContext, test } from 'node:test';
import { buildDocuments, type PublicDocuments } from '../../src/core/discovery.ts';
import { IssuerError } from '../../src/core/errors.ts';
import { type KeyRing, rotate } from '../../src/core/key-ring.ts';
import { ALGORITHMS } from '../../src/core/ports.ts';
import { open } from '../../src/doors/discovery.ts';
import { serve } from '../fakes/http.ts';
import { ISSUER } from '../fakes/policy.ts';
import { RING_SETTINGS, realRing } from '../fakes/rings.ts';

const METADATA = '/.well-known/openid-configuration';
const JWKS = '/.well-known/jwks';
const ALL = [METADATA, '/.well-known/oauth-authorization-server', JWKS, `${JWKS}.json`, `${METADATA}/jwks`];

suite('the public documents', () => {
  let ring: KeyRing;
  before(async () => {
    ring = await realRing(ALGORITHMS);
  });

  async function door(t: TestContext, issuer = ISSUER, documents?: () => PublicDocuments) {
    let built = buildDocuments(issuer, ring);
    const fetches: number[] = [];
    const parts = {
      issuer,
      documents: documents ?? (() => built),
      cacheForSeconds: 300,
      onJwks: (status: number) => fetches.push(status),
    };
    const served = await serve(t, open(parts), { peerOf: () => undefined });
    const rebuild = (changed: KeyRing) => {
      built = buildDocuments(issuer, changed);
    };
    return { ...served, fetches, rebuild };
  }

  test('are found where verifiers look, and may be kept', async (t) => {
    const { ask } = await door(t);
    for (const path of ALL) {
      const { status, headers } = await ask(path);
      assert.equal(status, 200, path);
      assert.equal(headers['cache-control'], 'public, max-age=300, stale-if-error=86400');
      assert.equal(headers['access-control-allow-origin'], '*');
      assert.match(headers.etag!, /^"[\w-]{22}"$/);
    }
    assert.equal((await ask(METADATA)).headers['content-type'], 'application/json');
    assert.equal((await ask(JWKS)).headers['content-type'], 'application/jwk-set+json');
    for (const other of [`${JWKS}.json`, `${METADATA}/jwks`])
      assert.equal((await ask(JWKS)).text, (await ask(other)).text, other);
  });

  test('of an issuer with a path lie below it, and where RFC 8414 puts them', async (t) => {
    const { ask } = await door(t, `${ISSUER}/acme`);
    const metadata = '/.well-known/oauth-authorization-server';
    for (const path of [...ALL.map((each) => `/acme${each}`), `${metadata}/acme`])
      assert.equal((await ask(path)).status, 200, path);
    for (const path of [...ALL, `${METADATA}/acme`, `/acme/acme${METADATA}`])
      assert.equal((await ask(path)).status, 404, path);
    const { issuer, jwks_uri } = JSON.parse((await ask(`/acme${METADATA}`)).text);
    assert.deepEqual({ issuer, jwks_uri }, { issuer: `${ISSUER}/acme`, jwks_uri: `${ISSUER}/acme${JWKS}` });
  });

  test('have public members only', async (t) => {
    const { ask } = await door(t);
    const { keys } = JSON.parse((await ask(JWKS)).text);
    assert.equal(keys.length, 10);
    const members = { RSA: ['n', 'e'], EC: ['crv', 'x', 'y'], OKP: ['crv', 'x'] };
    for (const key of keys) {
      const expected = ['kty', 'kid', 'use', 'alg', ...members[key.kty as keyof typeof members]];
      assert.deepEqual(Object.keys(key).sort(), expected.sort());
    }
  });

  test('need not be sent again to who has them', async (t) => {
    const { ask, fetches, rebuild } = await door(t);
    const { headers, text } = await ask(JWKS);
    for (const tag of [headers.etag!, `W/${headers.etag}`, `"x", ${headers.etag}`, '*']) {
      const again = await ask(JWKS, { headers: { 'if-none-match': tag } });
      assert.equal(`${again.status}${again.text}`, '304', tag);
      assert.equal(again.headers.etag, headers.etag);
      assert.equal(again.headers['cache-control'], headers['cache-control']);
    }
    const stale = await ask(JWKS, { headers: { 'if-none-match': '"x"' } });
    assert.equal(stale.text, text);
    rebuild(rotate(ring, 'ES256', true, ring.changedAt, { ...RING_SETTINGS, algorithms: ALGORITHMS }));
    // The states of keys are no one's business: the same keys are the same document.
    assert.equal((await ask(JWKS)).headers.etag, headers.etag);
    rebuild({ ...ring, keys: ring.keys.slice(1) });
    const changed = await ask(JWKS, { headers: { 'if-none-match': headers.etag! } });
    assert.equal(changed.status, 200);
    assert.equal(JSON.parse(changed.text).keys.length, 9);
    assert.deepEqual(fetches, [200, 304, 304, 304, 304, 200, 200, 200]);
  });

  test('HEAD tells all but the document, other methods nothing', async (t) => {
    const { ask } = await door(t);
    for (const path of ALL) {
      const get = await ask(path);
      const head = await ask(path, { method: 'HEAD' });
      assert.equal(head.status, 200);
      assert.equal(head.text, '');
      assert.equal(head.headers['content-length'], get.headers['content-length']);
      assert.equal(head.headers.etag, get.headers.etag);
      const post = await ask(path, { method: 'POST', body: 'x' });
      assert.equal(`${post.status} ${post.headers.allow}`, '405 GET, HEAD');
    }
  });

  test('say nothing that the request said', async (t) => {
    const { ask, sendRaw } = await door(t);
    const plain = await ask(METADATA);
    const odd = [
      { host: 'evil:x@good' },
      { host: 'evil.example' },
      { 'x-forwarded-host': 'evil' },
      { forwarded: 'host=evil' },
    ];
    for (const headers of odd) assert.equal((await ask(METADATA, { headers })).text, plain.text);
    const absolute = await sendRaw(
      `GET http://evil${METADATA} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n`,
    );
    assert.doesNotMatch(absolute, /evil/);
  });

  test('where there are none yet it is a 503 that nobody keeps, not an empty list', async (t) => {
    const { ask } = await door(t, ISSUER, () => {
      throw new IssuerError('temporarily_unavailable', 'no key is published yet');
    });
    const { status, headers, text } = await ask(JWKS);
    assert.equal(status, 503);
    assert.equal(headers['cache-control'], 'no-store');
    assert.doesNotMatch(text, /keys/);
  });
});
