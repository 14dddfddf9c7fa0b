/** Making keys, and what is public of them. */
import { createHash, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import type { Algorithm, KeyMaterial, PublicJwk } from '../core/ports.ts';

const generatePair = promisify(generateKeyPair);
const RSA_BITS = 2048;

/** A new private key for the algorithm, made off the event loop. */
export async function generateKey(algorithm: Algorithm): Promise<KeyMaterial> {
  return describeKey(await generatePrivateKey(algorithm), algorithm);
}

async function generatePrivateKey(algorithm: Algorithm): Promise<KeyObject> {
  if (algorithm === 'EdDSA') return (await generatePair('ed25519')).privateKey;
  if (algorithm === 'ES256') return (await generatePair('ec', { namedCurve: 'P-256' })).privateKey;
  if (algorithm === 'ES384') return (await generatePair('ec', { namedCurve: 'P-384' })).privateKey;
  return (await generatePair('rsa', { modulusLength: RSA_BITS })).privateKey;
}

/** Members of each kty in the order of RFC 7638 section 3.2. */
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  RSA: ['e', 'kty', 'n'],
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
};

/** The private key with its RFC 7638 thumbprint as `kid` and its public JWK; never a private JWK. */
export function describeKey(privateKey: KeyObject, algorithm: Algorithm): KeyMaterial {
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' }) as Record<string, string>;
  const members = (MEMBERS[jwk.kty ?? ''] ?? []).map((name) => [name, jwk[name] ?? ''] as const);
  const keyId = createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(members)))
    .digest('base64url');
  const publicJwk: PublicJwk = { ...Object.fromEntries(members), kid: keyId, use: 'sig', alg: algorithm };
  return { keyId, algorithm, publicJwk, privateKey };
}
