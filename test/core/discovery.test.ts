import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { buildDocuments } from '../../src/core/discovery.ts';
import { advance, EMPTY_RING } from '../../src/core/key-ring.ts';
import type { Algorithm } from '../../src/core/ports.ts';
import { fakeKey } from '../fakes/keys.ts';
import { ISSUER } from '../fakes/policy.ts';

function ringOf(...algorithms: readonly Algorithm[]) {
  const settings = {
    algorithms,
    rotateEverySeconds: 7,
    publishAtLeastSeconds: 7,
    longestTtlSeconds: 60,
    keepSeconds: 1,
  };
  const spares = [...algorithms, ...algorithms].map(fakeKey);
  return advance(EMPTY_RING, 1_800_000_000, settings, spares).ring;
}

suite('the public documents', () => {
  test('name the issuer, its keys and what its tokens are', () => {
    const { metadata } = buildDocuments(`${ISSUER}/acme`, ringOf('ES256', 'RS256'));
    assert.deepEqual(metadata, {
      issuer: `${ISSUER}/acme`,
      jwks_uri: `${ISSUER}/acme/.well-known/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256', 'ES256'],
      scopes_supported: ['openid'],
      claims_supported: ['iss', 'sub', 'aud', 'iat', 'nbf', 'exp', 'jti'],
    });
  });

  test('publish every key of the ring, also those that do not sign', () => {
    const ring = ringOf('RS256', 'EdDSA');
    const { jwks } = buildDocuments(ISSUER, ring);
    assert.deepEqual(
      jwks.keys,
      ring.keys.map(({ publicJwk }) => publicJwk),
    );
    assert.equal(jwks.keys.length, 4);
  });

  test('take what doors add', () => {
    const { metadata } = buildDocuments(ISSUER, ringOf('RS256'), { token_endpoint: `${ISSUER}/token` });
    assert.equal(metadata.token_endpoint, `${ISSUER}/token`);
  });
});
