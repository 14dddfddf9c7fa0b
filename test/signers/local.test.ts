import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { createLocalJWKSet, decodeProtectedHeader, type JSONWebKeySet, jwtVerify } from 'jose';
import { buildDocuments } from '../../src/core/discovery.ts';
import { IssuerError } from '../../src/core/errors.ts';
import { activeKey, EMPTY_RING, type KeyRing, revoke, rotate } from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Claims } from '../../src/core/ports.ts';
import { open } from '../../src/signers/local.ts';
import { refusal } from '../conformance/key-store.ts';
import { ISSUER } from '../fakes/policy.ts';
import { RING_SETTINGS, realRing } from '../fakes/rings.ts';

const NOW = 1_800_000_000;
const SETTINGS = { ...RING_SETTINGS, algorithms: ALGORITHMS };

function claimsFor(ttlSeconds = 600): Claims {
  return {
    iss: ISSUER,
    sub: 'acme:web',
    aud: 'sts.amazonaws.com',
    iat: NOW,
    nbf: NOW - 60,
    exp: NOW + ttlSeconds,
    jti: 'jti-1',
    text: 'ä\u0000"\u2028𝔘',
  };
}

/** As a relying party does it. */
function verify(token: string, ring: KeyRing, audience = 'sts.amazonaws.com') {
  const jwks = buildDocuments(ISSUER, ring).jwks as unknown as JSONWebKeySet;
  const currentDate = new Date(NOW * 1000);
  return jwtVerify(token, createLocalJWKSet(jwks), { issuer: ISSUER, audience, currentDate });
}

suite('the local signer', () => {
  let ring: KeyRing;
  before(async () => {
    ring = await realRing(ALGORITHMS);
  });
  const signerOf = (current: () => KeyRing, assertFresh = () => {}) => open({ ring: current, assertFresh });

  for (const algorithm of ALGORITHMS)
    test(`${algorithm}: jose takes the token by the published JWKS, and by nothing else`, async () => {
      const claims = claimsFor();
      const { token, keyId } = await signerOf(() => ring).sign(claims, algorithm);
      const { payload, protectedHeader } = await verify(token, ring);
      assert.deepEqual(payload, claims);
      assert.deepEqual(protectedHeader, { alg: algorithm, typ: 'JWT', kid: keyId });
      assert.deepEqual(Object.keys(decodeProtectedHeader(token)), ['alg', 'typ', 'kid']);
      assert.equal(keyId, activeKey(ring, algorithm)?.keyId);
      assert.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
      await assert.rejects(verify(token, ring, 'another.example'), /"aud"/);
      const without = revoke(ring, keyId, NOW, SETTINGS);
      await assert.rejects(verify(token, without), /no applicable key/);
      const [header, , signature] = token.split('.');
      const forged = Buffer.from(JSON.stringify({ ...claims, sub: 'evil' })).toString('base64url');
      await assert.rejects(verify(`${header}.${forged}.${signature}`, ring), /signature verification failed/);
    });

  test('signs with the key of the moment, and what the old one signed still verifies', async () => {
    let current = ring;
    const signer = signerOf(() => current);
    const first = await signer.sign(claimsFor(), 'EdDSA');
    current = rotate(ring, 'EdDSA', true, NOW, SETTINGS);
    const second = await signer.sign(claimsFor(), 'EdDSA');
    assert.notEqual(first.keyId, second.keyId);
    for (const { token } of [first, second]) await verify(token, current);
  });

  test('without an active key it says that it is not ready', async () => {
    await assert.rejects(signerOf(() => EMPTY_RING).sign(claimsFor(), 'RS256'), refusal('key_not_ready'));
    const others = { ...ring, keys: ring.keys.filter(({ algorithm }) => algorithm !== 'ES384') };
    const signer = signerOf(() => others);
    await assert.rejects(signer.sign(claimsFor(), 'ES384'), refusal('key_not_ready', /ES384/));
    await signer.sign(claimsFor(), 'ES256');
  });

  test('signs no token that could outlive its key', async () => {
    const signer = signerOf(() => ring);
    await signer.sign(claimsFor(3600), 'EdDSA');
    await assert.rejects(signer.sign(claimsFor(3601), 'EdDSA'), (error: IssuerError) => {
      return refusal('temporarily_unavailable', /longer/)(error) && error.retryAfterSeconds === 1;
    });
  });

  test('signs nothing with a ring that may be stale', async () => {
    const stale = () => {
      throw new IssuerError('temporarily_unavailable', 'not read for long');
    };
    await assert.rejects(
      signerOf(() => ring, stale).sign(claimsFor(), 'EdDSA'),
      refusal('temporarily_unavailable'),
    );
  });

  test('signs nothing once it is closed', async () => {
    const signer = signerOf(() => ring);
    await signer.close();
    await assert.rejects(signer.sign(claimsFor(), 'EdDSA'), refusal('temporarily_unavailable', /closed/));
  });

  test('signs many at once, each its own claims', async () => {
    const signer = signerOf(() => ring);
    const jobs = ALGORITHMS.flatMap((algorithm) =>
      Array.from({ length: 8 }, (_, index) => ({ algorithm, index })),
    );
    await Promise.all(
      jobs.map(async ({ algorithm, index }) => {
        const { token } = await signer.sign({ ...claimsFor(), jti: `${algorithm}-${index}` }, algorithm);
        assert.equal((await verify(token, ring)).payload.jti, `${algorithm}-${index}`);
      }),
    );
  });

  test('leaves nobody waiting, however many ask at once', async () => {
    const signer = signerOf(() => ring);
    for (let count = 1; count <= 24; count++)
      await Promise.all(Array.from({ length: count }, () => signer.sign(claimsFor(), 'RS256')));
  });
});
