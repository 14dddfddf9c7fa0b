/** Making keys, and what is public of them. */
import { createHash, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { IssuerError } from '../core/errors.ts';
import type { KeyMaterial, PublicJwk } from '../core/key-ports.ts';
import type { Algorithm } from '../core/ports.ts';

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

const RSA = {
  name: `an RSA key of ${RSA_BITS} bits or more`,
  fits: ({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject) =>
    asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= RSA_BITS,
};
const curve = (name: string, opensslName: string) => ({
  name: `a key on ${name}`,
  fits: ({ asymmetricKeyDetails }: KeyObject) => asymmetricKeyDetails?.namedCurve === opensslName,
});

/** What an algorithm takes: RFC 7518 sections 3.1 and 3.3, RFC 8037 section 3.1. */
const KEY_KINDS: Readonly<
  Record<Algorithm, { readonly name: string; readonly fits: (key: KeyObject) => boolean }>
> = {
  RS256: RSA,
  PS256: RSA,
  ES256: curve('P-256', 'prime256v1'),
  ES384: curve('P-384', 'secp384r1'),
  EdDSA: { name: 'an Ed25519 key', fits: ({ asymmetricKeyType }) => asymmetricKeyType === 'ed25519' },
};

/** The private key with its RFC 7638 thumbprint as `kid` and its public JWK; never a private JWK. Throws `invalid_request` where it is no key for the algorithm. */
export function describeKey(privateKey: KeyObject, algorithm: Algorithm): KeyMaterial {
  const { name, fits } = KEY_KINDS[algorithm];
  if (!fits(privateKey)) {
    const reason = `${algorithm} takes ${name}`;
    throw new IssuerError('invalid_request', reason, { shown: { reason } });
  }
  const jwk = createPublicKey(privateKey).export({ format: 'jwk' }) as Record<string, string>;
  const members = (MEMBERS[jwk.kty ?? ''] ?? []).map((name) => [name, jwk[name] ?? ''] as const);
  const keyId = createHash('sha256')
    .update(JSON.stringify(Object.fromEntries(members)))
    .digest('base64url');
  const publicJwk: PublicJwk = { ...Object.fromEntries(members), kid: keyId, use: 'sig', alg: algorithm };
  return { keyId, algorithm, publicJwk, privateKey };
}
