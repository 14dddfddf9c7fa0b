import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { IssuerError } from '../../src/core/errors.ts';
import { refusal } from '../conformance/key-store.ts';
import { DISCOVERY, json, serveJwks, status } from '../fakes/jwks-server.ts';
import { type FakeKey, makeKey, mint, openJwt, peerOf, published } from '../fakes/tokens.ts';
import { scratch } from '../net/openssl.ts';
import { selfSigned } from './tls.ts';

const NONE: ReadonlySet<string> = new Set();
const FIRST = makeKey('ES256', 'first');
const SECOND = makeKey('ES256', 'second');
const set = (...keys: readonly FakeKey[]) => ({ keys: keys.map(published) });
const DAY = 86_400;

/** A server, and an attestor that trusts it. */
async function world(t: TestContext, settings: object = {}, keys: readonly FakeKey[] = [FIRST]) {
  const server = await serveJwks(t, set(...keys));
  const issuers = {
    dev: { issuer: server.origin, allowPrivate: true, maxAgeSeconds: 366 * DAY, ...settings },
  };
  const given = await openJwt(issuers);
  t.after(() => given.attestor.close());
  const attest = async (key: FakeKey = FIRST) => {
    const token = mint(key, given.clock.now(), { claims: { iss: server.origin } });
    return given.attestor.attest(peerOf(token), NONE);
  };
  /** How often the keys were asked for. */
  const calls = () => server.asked.filter((path) => path === '/jwks').length;
  const settle = async (isDone: () => boolean) => {
    while (!isDone()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  return { ...given, server, attest, calls, settle };
}

const unknownKey = refusal('invalid_assertion', /no key of its kid/);
const away = (error: IssuerError) => {
  refusal('temporarily_unavailable', /keys of issuer "dev" are not known/)(error);
  assert.equal(error.retryAfterSeconds, 5);
  return true;
};

suite('the keys of another issuer', () => {
  test('are where its discovery document says, asked for once by many', async (t) => {
    const { server, attest, fetches } = await world(t);
    await Promise.all(Array.from({ length: 20 }, () => attest()));
    assert.deepEqual(server.asked, [DISCOVERY, '/jwks']);
    assert.deepEqual(fetches, [['dev', true]]);
  });

  test('or where the configuration says', async (t) => {
    const other = await serveJwks(t, set(FIRST));
    const { server, attest } = await world(t, { jwksUri: `${other.origin}/jwks` });
    await attest();
    assert.deepEqual([server.asked, other.asked], [[], ['/jwks']]);
  });

  test('are asked for again where a token names one that is new, and not for each that does', async (t) => {
    const { server, attest, clock, calls } = await world(t);
    await attest();
    server.answers['/jwks'] = json(set(FIRST, SECOND));
    await assert.rejects(attest(SECOND), unknownKey); // they were fetched a moment ago
    assert.equal(calls(), 1);
    clock.advance(30);
    await Promise.all([attest(SECOND), attest(SECOND)]);
    assert.equal(calls(), 2);
    const nobody = { ...SECOND, kid: 'nobody' };
    clock.advance(29);
    for (let i = 0; i < 100; i++) await assert.rejects(attest(nobody), unknownKey);
    assert.equal(calls(), 2);
    clock.advance(1);
    for (let i = 0; i < 100; i++) await assert.rejects(attest(nobody), unknownKey);
    assert.equal(calls(), 3);
  });

  test('that it takes back are gone when their time is over', async (t) => {
    const { server, attest, clock, calls, settle } = await world(t);
    server.answers['/jwks'] = json(set(FIRST), { 'cache-control': 'public, max-age=100' });
    await attest();
    server.answers['/jwks'] = json(set(SECOND), { 'cache-control': 'max-age=100' });
    clock.advance(79);
    await attest();
    assert.equal(calls(), 1);
    clock.advance(2); // the old ones still serve whoever comes now
    await attest();
    await settle(() => calls() === 2);
    await assert.doesNotReject(attest(SECOND));
    await assert.rejects(attest(), unknownKey);
    server.answers['/jwks'] = json(set(FIRST));
    clock.advance(200); // nobody came for long: the first who does waits
    await attest();
    assert.equal(calls(), 3);
  });

  test('are kept for a minute at the least and a day at the most', async (t) => {
    for (const [header, fresh] of [
      ['no-store', 60],
      ['max-age=0', 60],
      ['max-age=9999999', DAY],
      ['private, s-maxage=7', 300],
    ] as const) {
      const { server, attest, clock, calls } = await world(t);
      server.answers['/jwks'] = json(set(FIRST), { 'cache-control': header });
      await attest();
      clock.advance(fresh * 0.79);
      await attest();
      assert.equal(calls(), 1, header);
      clock.advance(fresh * 0.22);
      await attest();
      assert.equal(calls(), 2, header);
    }
  });

  test('that did not change are not sent again', async (t) => {
    const { server, attest, clock } = await world(t);
    const tags: (string | undefined)[] = [];
    server.answers['/jwks'] = (request, response) => {
      tags.push(request.headers['if-none-match']);
      if (request.headers['if-none-match'] === '"1"') return status(304, { etag: '"1"' })(request, response);
      return json(set(FIRST), { etag: '"1"' })(request, response);
    };
    for (let i = 0; i < 3; i++) {
      await attest();
      clock.advance(301);
    }
    assert.deepEqual(tags, [undefined, '"1"', '"1"']);
  });
});

suite('an issuer that is away or out of its mind', () => {
  test('its last keys stay for a day, and the operator is told once', async (t) => {
    const { server, attest, clock, warnings, fetches } = await world(t);
    await attest();
    server.answers = {};
    for (let i = 0; i < 3; i++) {
      clock.advance(301);
      await attest();
    }
    assert.deepEqual(warnings, [
      'the keys of issuer "dev" cannot be fetched: it answered 404; the last ones stay in use for a day',
    ]);
    assert.deepEqual(
      fetches.map(([, isFetched]) => isFetched),
      [true, false, false, false],
    );
    clock.advance(DAY + 300 - 3 * 301 - 1);
    await attest();
    clock.advance(1);
    await assert.rejects(attest(), away);
    server.answers = {
      [DISCOVERY]: json({ issuer: server.origin, jwks_uri: `${server.origin}/moved` }),
      '/moved': json(set(FIRST)),
    };
    clock.advance(30);
    await attest();
    assert.match(warnings[1] ?? '', /fetched again/);
  });

  test('none of its tokens is taken before its first answer, and it is not asked for each', async (t) => {
    const { server, attest, clock } = await world(t);
    const { answers } = server;
    server.answers = {};
    for (let i = 0; i < 20; i++) await assert.rejects(attest(), away);
    assert.equal(server.asked.length, 1);
    server.answers = answers;
    clock.advance(5);
    await attest();
  });

  const gzipped = gzipSync(JSON.stringify(set(FIRST)));
  const tooMany = { keys: Array.from({ length: 101 }, (_, i) => ({ ...published(FIRST), kid: `k${i}` })) };
  const privately = { keys: [{ ...published(FIRST), ...FIRST.privateKey.export({ format: 'jwk' }) }] };
  const weak = makeKey('RS256');
  for (const [what, answer, why] of [
    ['redirects', status(302, { location: '/other' }), /it answered 302/],
    ['moved for good', status(301, { location: 'http://169.254.169.254/' }), /it answered 301/],
    ['fails', status(500), /it answered 500/],
    ['says 304 to nothing', status(304), /it answered 304/],
    ['sends no JSON', json('<html>'), /it is no JSON/],
    ['sends null', json('null'), /no JWK Set/],
    ['sends another thing', json({ keys: {} }), /no JWK Set/],
    ['sends no key', json({ keys: [] }), /no key that can verify/],
    ['sends keys of nothing', json({ keys: [null, 7, {}, { kty: 'RSA' }] }), /no key that can verify/],
    ['sends too many', json(tooMany), /more than 100 keys/],
    ['sends its private key', json(privately), /no key that can verify/],
    [
      'sends a secret',
      json({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'first', alg: 'HS256' }] }),
      /no key that/,
    ],
    ['sends a key for encryption', json({ keys: [{ ...published(FIRST), use: 'enc' }] }), /no key that can/],
    [
      'sends a key of exponent 1',
      json({ keys: [{ ...published(weak), e: 'AQ' }] }),
      /no key that can verify/,
    ],
    [
      'says that it is large',
      (_: unknown, response: import('node:http').ServerResponse) => {
        response.writeHead(200, { 'content-length': String(256 * 1024 + 1) });
        response.write('{');
      },
      /larger than 262144/,
    ],
    [
      'sends for ever',
      (_: unknown, response: import('node:http').ServerResponse) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write(' '.repeat(65_536)), 1);
        response.on('close', () => clearInterval(timer));
      },
      /larger than 262144/,
    ],
    [
      'zips',
      (_: unknown, response: import('node:http').ServerResponse) => {
        response.writeHead(200, { 'content-encoding': 'gzip' });
        response.end(gzipped);
      },
      /encoding/,
    ],
    [
      'breaks off',
      (_: unknown, response: import('node:http').ServerResponse) => {
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{');
        setTimeout(() => response.destroy(), 10);
      },
      /aborted|broke off|hang up/,
    ],
  ] as const)
    test(`one that ${what} changes nothing`, async (t) => {
      const { server, attest, clock, warnings } = await world(t);
      await attest();
      server.answers['/jwks'] = answer;
      clock.advance(301);
      await attest();
      assert.match(warnings[0] ?? '', why);
      assert.ok(!server.asked.includes('/other'));
    });

  test('one that is slow is not waited for longer than 5 s, and by nobody twice', async (t) => {
    const { server, attest, clock, warnings } = await world(t);
    await attest();
    server.answers['/jwks'] = (_request, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 100); // never idle, never done
      response.on('close', () => clearInterval(timer));
    };
    clock.advance(301);
    const began = performance.now();
    await Promise.all([attest(), attest()]);
    const took = performance.now() - began;
    assert.ok(took > 4500 && took < 8000, `${took}`);
    assert.match(warnings[0] ?? '', /did not answer in time/);
    await attest();
    assert.ok(performance.now() - began - took < 1000);
  });

  test('a call that is open ends when the server stops', async (t) => {
    const { server, attest, attestor, warnings, clock } = await world(t);
    await attest();
    let isOpen = false;
    server.answers['/jwks'] = () => {
      isOpen = true;
    };
    clock.advance(301);
    const waiting = attest();
    while (!isOpen) await new Promise((resolve) => setTimeout(resolve, 5));
    await attestor.close();
    await waiting;
    assert.deepEqual(warnings, []);
  });

  for (const [what, document, why] of [
    [
      'of another issuer',
      { issuer: 'https://other.example.com', jwks_uri: 'https://other.example.com/jwks' },
      /another issuer/,
    ],
    [
      'with a slash too many',
      (origin: string) => ({ issuer: `${origin}/`, jwks_uri: `${origin}/jwks` }),
      /another issuer/,
    ],
    ['without a jwks_uri', (origin: string) => ({ issuer: origin }), /has no jwks_uri/],
    [
      'with http beyond loopback',
      (origin: string) => ({ issuer: origin, jwks_uri: 'http://10.0.0.1/' }),
      /https URL/,
    ],
    ['with a file', (origin: string) => ({ issuer: origin, jwks_uri: 'file:///etc/passwd' }), /https URL/],
    ['that is null', null, /another issuer/],
  ] as const)
    test(`a discovery document ${what} is not believed`, async (t) => {
      const { server, attest, warnings } = await world(t);
      server.answers[DISCOVERY] = json(typeof document === 'function' ? document(server.origin) : document);
      await assert.rejects(attest(), away);
      assert.match(warnings[0] ?? '', why);
      assert.deepEqual(server.asked, [DISCOVERY]);
    });
});

suite('TLS', () => {
  test('its server is known by the CA of its settings, and by no other', async (t) => {
    const { cert, key } = await selfSigned('localhost');
    const server = await serveJwks(t, set(FIRST), { cert, key });
    const directory = await scratch(t);
    const attestBy = async (caFile: string | undefined) => {
      const issuers = { dev: { issuer: server.origin, allowPrivate: true, caFile } };
      const { attestor, clock, warnings } = await openJwt(issuers);
      const token = mint(FIRST, clock.now(), { claims: { iss: server.origin } });
      await attestor.attest(peerOf(token), NONE).catch((error) => {
        throw new Error(warnings[0], { cause: error });
      });
    };
    const right = join(directory, 'right.pem');
    await writeFile(right, cert);
    await attestBy(right);
    const wrong = join(directory, 'wrong.pem');
    await writeFile(wrong, (await selfSigned('localhost')).cert);
    await assert.rejects(attestBy(wrong), /self-signed|unable to verify/i);
    await assert.rejects(attestBy(undefined), /self-signed|unable to verify/i);
    await assert.rejects(attestBy(join(directory, 'none.pem')), /ENOENT/);
  });
});
