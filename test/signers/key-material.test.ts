import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { suite, test } from 'node:test';
import { calculateJwkThumbprint } from 'jose';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
import { describeKey, generateKey } from '../../src/signers/key-material.ts';
import { refusal } from '../conformance/key-store.ts';

const MEMBERS: Readonly<Record<Algorithm, readonly string[]>> = {
  RS256: ['alg', 'e', 'kid', 'kty', 'n', 'use'],
  PS256: ['alg', 'e', 'kid', 'kty', 'n', 'use'],
  ES256: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
  ES384: ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
  EdDSA: ['alg', 'crv', 'kid', 'kty', 'use', 'x'],
};

suite('a new key', () => {
  for (const algorithm of ALGORITHMS)
    test(`for ${algorithm}: RFC 7638 thumbprint as kid, nothing but public members`, async () => {
      const key = await generateKey(algorithm);
      assert.deepEqual(Object.keys(key.publicJwk).sort(), MEMBERS[algorithm]);
      assert.equal(key.publicJwk.kid, key.keyId);
      assert.equal(key.publicJwk.alg, algorithm);
      assert.equal(key.publicJwk.use, 'sig');
      assert.equal(key.keyId, await calculateJwkThumbprint(key.publicJwk, 'sha256'));
      assert.equal(key.privateKey.type, 'private');
    });

  test('is another one each time', async () => {
    const [one, other] = await Promise.all([generateKey('EdDSA'), generateKey('EdDSA')]);
    assert.notEqual(one.keyId, other.keyId);
  });
});

suite('a key that somebody brings', () => {
  const rsa = (bits: number) => generateKeyPairSync('rsa', { modulusLength: bits }).privateKey;
  const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;

  test('is taken for the algorithms that it is for', () => {
    const key = rsa(2048);
    assert.equal(describeKey(key, 'RS256').keyId, describeKey(key, 'PS256').keyId);
    describeKey(rsa(3072), 'RS256');
    describeKey(ec('P-256'), 'ES256');
    describeKey(ec('P-384'), 'ES384');
    describeKey(generateKeyPairSync('ed25519').privateKey, 'EdDSA');
  });

  test('is refused for others, and where it is too short', () => {
    const keys = {
      'RSA 1024': [rsa(1024), []],
      'RSA 2048': [rsa(2048), ['RS256', 'PS256']],
      'RSA-PSS': [generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey, []],
      'P-256': [ec('P-256'), ['ES256']],
      'P-384': [ec('P-384'), ['ES384']],
      'P-521': [ec('P-521'), []],
      secp256k1: [ec('secp256k1'), []],
      Ed25519: [generateKeyPairSync('ed25519').privateKey, ['EdDSA']],
      Ed448: [generateKeyPairSync('ed448').privateKey, []],
      X25519: [generateKeyPairSync('x25519').privateKey, []],
    } as const;
    for (const [name, [key, taken]] of Object.entries(keys))
      for (const algorithm of ALGORITHMS.filter((each) => !(taken as readonly string[]).includes(each)))
        assert.throws(
          () => describeKey(key, algorithm),
          refusal('invalid_request', /takes an? /),
          `${name} ${algorithm}`,
        );
  });

  test('has the same kid after a way through PKCS#8', () => {
    const key = ec('P-256');
    const der = key.export({ format: 'der', type: 'pkcs8' });
    const again = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
    assert.equal(describeKey(again, 'ES256').keyId, describeKey(key, 'ES256').keyId);
  });
});
