import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { before, suite, type TestContext, test } from 'node:test';
import { buildDocuments } from '../../src/core/discovery.ts';
import { IssuerError } from '../../src/core/errors.ts';
import { adopt, type KeyRing, revoke, rotate } from '../../src/core/key-ring.ts';
import { type AdminParts, open } from '../../src/doors/admin.ts';
import { describeKey } from '../../src/signers/key-material.ts';
import { serve } from '../fakes/http.ts';
import { ISSUER } from '../fakes/policy.ts';
import { RING_SETTINGS, realRing } from '../fakes/rings.ts';

const SETTINGS = { ...RING_SETTINGS, algorithms: ['ES256' as const] };
const PERIODS = {
  rotateEverySeconds: 604_800,
  publishAtLeastSeconds: 86_400,
  cacheForSeconds: 300,
  algorithms: ['RS256'] as const,
};
const JSON_TYPE = { 'content-type': 'application/json' };

suite('the admin socket', () => {
  let fresh: KeyRing;
  before(async () => {
    fresh = await realRing(['ES256']);
  });

  async function door(t: TestContext, parts: Partial<AdminParts> = {}) {
    let ring = fresh;
    const calls: unknown[][] = [];
    const now = fresh.changedAt + 10;
    const admin = open({
      keys: () => ring.keys,
      now: () => now,
      settings: () => PERIODS,
      rotate: async (...args) => {
        calls.push(['rotate', ...args]);
        ring = rotate(ring, 'ES256', args[1], now, SETTINGS);
      },
      revoke: async (keyId) => {
        ring = revoke(ring, keyId, now, SETTINGS);
      },
      importKey: async (privateKey, algorithm) => {
        ring = adopt(ring, describeKey(privateKey, algorithm), now);
      },
      documents: () => buildDocuments(ISSUER, ring),
      caCertificate: () => undefined,
      ...parts,
    });
    const served = await serve(t, admin);
    const post = async (path: string, body?: unknown) => {
      const text = body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body);
      const answer = await served.ask(path, {
        method: 'POST',
        headers: JSON_TYPE,
        ...(text === undefined ? {} : { body: text }),
      });
      return { status: answer.status, ...JSON.parse(answer.text) };
    };
    return { ...served, post, calls };
  }

  test('lists the keys without their private half', async (t) => {
    const { ask } = await door(t);
    const { text } = await ask('/v1/keys');
    const { now, settings, keys } = JSON.parse(text);
    assert.equal(now, fresh.changedAt + 10);
    assert.deepEqual(settings, PERIODS);
    assert.deepEqual(
      keys.map(({ state }: { state: string }) => state),
      ['active', 'next'],
    );
    const { keyId, publishedAt, activatedAt } = fresh.keys[0]!;
    assert.deepEqual(keys[0], { keyId, algorithm: 'ES256', state: 'active', publishedAt, activatedAt });
  });

  test('rotates, and early only by force', async (t) => {
    const { post, calls } = await door(t);
    const early = await post('/v1/keys/rotate', { algorithm: 'ES256' });
    assert.equal(`${early.status} ${early.error}`, '409 conflict');
    assert.match(early.reason, /must stay published for 86390 s more/);
    const forced = await post('/v1/keys/rotate', { force: true });
    assert.equal(forced.status, 200);
    assert.equal(forced.keys[1].state, 'active');
    assert.deepEqual(calls, [
      ['rotate', 'ES256', false],
      ['rotate', undefined, true],
    ]);
    for (const body of [
      { algorithm: 'HS256' },
      { algorithm: 1 },
      { force: 'true' },
      { force: 1 },
      { forced: true },
      [],
    ])
      assert.equal((await post('/v1/keys/rotate', body)).error, 'invalid_request', JSON.stringify(body));
    assert.equal(calls.length, 2);
  });

  test('revokes', async (t) => {
    const { post } = await door(t);
    const { keyId } = fresh.keys[0]!;
    const left = await post('/v1/keys/revoke', { keyId });
    assert.deepEqual(
      left.keys.map((key: { keyId: string }) => key.keyId),
      [fresh.keys[1]!.keyId],
    );
    assert.equal((await post('/v1/keys/revoke', { keyId })).status, 404);
    for (const body of [{}, { keyId: 7 }, { keyId, x: 1 }])
      assert.equal((await post('/v1/keys/revoke', body)).status, 400);
  });

  test('imports a PKCS#8 key for its algorithm only', async (t) => {
    const { post } = await door(t);
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const der = () => privateKey.export({ format: 'der', type: 'pkcs8' });
    const wrong = await post('/v1/keys/import?algorithm=RS256', der());
    assert.equal(`${wrong.status} ${wrong.reason}`, '400 RS256 takes an RSA key of 2048 bits or more');
    const imported = await post('/v1/keys/import?algorithm=ES256', der());
    assert.equal(imported.keys.at(-1).keyId, describeKey(privateKey, 'ES256').keyId);
    assert.equal(imported.keys.at(-1).state, 'next');
    assert.equal((await post('/v1/keys/import?algorithm=ES256', der())).status, 409);
    for (const query of ['', '?algorithm=HS256', '?algorithm=ES256&algorithm=ES256'])
      assert.equal((await post(`/v1/keys/import${query}`, der())).status, 400, query);
    for (const body of [Buffer.from('no key'), Buffer.alloc(0), der().subarray(0, 50)])
      assert.equal((await post('/v1/keys/import?algorithm=ES256', body)).status, 400);
    assert.equal((await post('/v1/keys/import?algorithm=ES256', Buffer.alloc(65_537))).status, 413);
  });

  test('hands out the documents and the CA', async (t) => {
    const { ask } = await door(t);
    const { metadata, jwks } = JSON.parse((await ask('/v1/documents')).text);
    assert.equal(metadata.issuer, ISSUER);
    assert.equal(jwks.keys.length, 2);
    assert.equal((await ask('/v1/ca')).status, 404);
    const pem = '-----BEGIN CERTIFICATE-----\n';
    const bootstrapped = await door(t, { caCertificate: () => pem });
    const { headers, text } = await bootstrapped.ask('/v1/ca');
    assert.deepEqual([headers['content-type'], text], ['application/x-pem-file', pem]);
  });

  test('a store that cannot write is told to the operator', async (t) => {
    const { post } = await door(t, {
      rotate: () => Promise.reject(new IssuerError('temporarily_unavailable', 'disk full')),
    });
    const { status, reason } = await post('/v1/keys/rotate', {});
    assert.deepEqual([status, reason], [503, 'disk full']);
  });
});
