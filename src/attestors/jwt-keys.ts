/** The public keys of an issuer (JWK Set, RFC 7517 section 5), and what each may verify. */
import {
  constants,
  createPublicKey,
  type KeyObject,
  type SigningOptions,
  verify as verifyBytes,
} from 'node:crypto';

/** Asymmetric ones only: RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864 section 2.2. */
export const VERIFIABLE = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'],
  ...['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'],
] as const;

export type VerificationKey = {
  readonly keyId: string | undefined;
  readonly use: unknown;
  readonly algorithms: readonly string[];
  readonly key: KeyObject;
};

export type KeySet = readonly VerificationKey[];

const KEYS_MAX = 100;
const KEY_ID_MAX = 512;
/** A longer key costs whoever verifies. */
const RSA_BITS = { least: 2048, most: 8192 };
const RSA_EXPONENT_MAX = 2n ** 33n;
const MEMBERS: Readonly<Record<string, readonly string[]>> = {
  RSA: ['n', 'e'],
  EC: ['crv', 'x', 'y'],
  OKP: ['crv', 'x'],
};
/** RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1: whoever publishes such a member has given the key away. */
const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
const CURVES: Readonly<Record<string, string>> = {
  ES256: 'prime256v1',
  ES384: 'secp384r1',
  ES512: 'secp521r1',
};

/** RFC 7517 section 4.2; and what keys of JWTs have in a SPIFFE bundle (JWT-SVID section 5). */
const USES: readonly unknown[] = ['sig', 'jwt-svid'];

type Jwk = Readonly<Record<string, unknown>>;

/**
 * The keys of the set that can verify something; the others are left out (RFC 7517 section 5).
 * Throws RangeError with a sentence where it is no key set, or has none that can.
 */
export function parseKeySet(value: unknown): KeySet {
  const { keys } = Object(value) as { readonly keys?: unknown };
  if (!Array.isArray(keys)) throw new RangeError('it is no JWK Set: it has no keys');
  if (keys.length > KEYS_MAX) throw new RangeError(`it has more than ${KEYS_MAX} keys`);
  const usable = keys.flatMap((jwk) => parseKey(Object(jwk)) ?? []);
  if (usable.length === 0) throw new RangeError('it has no key that can verify a signature');
  return usable;
}

/** Whether some key of the set has members that only its owner may know. */
export function hasPrivateKeys(value: unknown): boolean {
  const { keys } = Object(value) as { readonly keys?: unknown };
  return Array.isArray(keys) && keys.some((jwk) => isPrivate(Object(jwk)));
}

function isPrivate(jwk: Jwk): boolean {
  return PRIVATE_MEMBERS.some((member) => Object.hasOwn(jwk, member));
}

function parseKey(jwk: Jwk): VerificationKey | undefined {
  const { kid, use, key_ops: operations, alg } = jwk;
  const isForSignatures =
    (use === undefined || USES.includes(use)) &&
    (operations === undefined || (Array.isArray(operations) && operations.includes('verify')));
  const isNamed = kid === undefined || (typeof kid === 'string' && kid !== '' && kid.length <= KEY_ID_MAX);
  if (!isForSignatures || !isNamed || isPrivate(jwk)) return undefined;
  const key = publicKey(jwk);
  if (key === undefined) return undefined;
  const algorithms = VERIFIABLE.filter((each) => fits(key, each) && (alg === undefined || alg === each));
  return algorithms.length === 0 ? undefined : { keyId: kid as string | undefined, use, algorithms, key };
}

function publicKey(jwk: Jwk): KeyObject | undefined {
  const { kty } = jwk;
  const members = typeof kty === 'string' && Object.hasOwn(MEMBERS, kty) ? MEMBERS[kty] : undefined;
  if (members === undefined) return undefined;
  const own = Object.fromEntries([['kty', kty], ...members.map((name) => [name, jwk[name]])]);
  try {
    return createPublicKey({ key: own, format: 'jwk' });
  } catch {
    return undefined;
  }
}

function fits(key: KeyObject, algorithm: string): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details = {} } = key;
  if (/^[RP]S/.test(algorithm)) {
    const { modulusLength: bits = 0, publicExponent: exponent = 0n } = details;
    const isStrong = bits >= RSA_BITS.least && exponent >= 3n && exponent % 2n === 1n;
    return type === 'rsa' && isStrong && bits <= RSA_BITS.most && exponent < RSA_EXPONENT_MAX;
  }
  if (algorithm.startsWith('ES')) return type === 'ec' && details.namedCurve === CURVES[algorithm];
  return type === 'ed25519';
}

/** The algorithm must be one of the key's. */
export function isSignedBy(
  { key, algorithms }: VerificationKey,
  algorithm: string,
  input: Buffer,
  signature: Buffer,
): boolean {
  if (!algorithms.includes(algorithm)) return false;
  try {
    return verifyBytes(digestOf(algorithm), input, { key, ...optionsOf(algorithm) }, signature);
  } catch {
    return false;
  }
}

function digestOf(algorithm: string): string | null {
  return /^[RPE]S/.test(algorithm) ? `sha${algorithm.slice(2)}` : null;
}

function optionsOf(algorithm: string): SigningOptions {
  if (algorithm.startsWith('PS'))
    return { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
  if (algorithm.startsWith('RS')) return { padding: constants.RSA_PKCS1_PADDING };
  return algorithm.startsWith('ES') ? { dsaEncoding: 'ieee-p1363' } : {};
}
