/**
 * Signs with the process's own keys (RFC 7515 section 5.1). RSA is signed in
 * libuv's threads, so that all cores sign; the elliptic curves are so quick that
 * the way there and back would cost more than the signature.
 */
import { constants, sign as cryptoSign, type KeyObject, type SigningOptions } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import { activeKey, type KeyRing } from '../core/key-ring.ts';
import type { Algorithm, Claims, RingKey, SignedToken, Signer } from '../core/ports.ts';

type Scheme = {
  readonly digest: string | null;
  readonly options: SigningOptions;
  readonly isThreaded: boolean;
};

/** RFC 7518 section 3.1 and RFC 8037 section 3.1. */
const SCHEMES: Readonly<Record<Algorithm, Scheme>> = {
  RS256: { digest: 'sha256', options: {}, isThreaded: true },
  PS256: {
    digest: 'sha256',
    options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
    isThreaded: true,
  },
  ES256: { digest: 'sha256', options: { dsaEncoding: 'ieee-p1363' }, isThreaded: false },
  ES384: { digest: 'sha384', options: { dsaEncoding: 'ieee-p1363' }, isThreaded: true },
  EdDSA: { digest: null, options: {}, isThreaded: false },
};

export type LocalSignerParts = {
  /** The ring in effect. */
  readonly ring: () => KeyRing;
  /** Throws where the ring may be too old to sign with. */
  readonly assertFresh: () => void;
};

type ReadyKey = {
  readonly key: RingKey;
  readonly header: string;
  readonly input: SigningOptions & { key: KeyObject };
};

export function open(parts: LocalSignerParts): Signer {
  let ring: KeyRing | undefined;
  let ready = new Map<Algorithm, ReadyKey>();

  function readyKey(algorithm: Algorithm): ReadyKey {
    if (ring !== parts.ring()) {
      ring = parts.ring();
      ready = new Map();
    }
    let found = ready.get(algorithm);
    if (found === undefined) {
      found = prepare(ring, algorithm);
      ready.set(algorithm, found);
    }
    return found;
  }

  return {
    async sign(claims, algorithm) {
      parts.assertFresh();
      const { key, header, input } = readyKey(algorithm);
      assertWithinLimit(key, claims);
      const signingInput = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
      const signature = await signBytes(algorithm, Buffer.from(signingInput), input);
      return {
        token: `${signingInput}.${signature.toString('base64url')}`,
        keyId: key.keyId,
      } satisfies SignedToken;
    },
    async close() {
      ready.clear();
    },
  };
}

function prepare(ring: KeyRing, algorithm: Algorithm): ReadyKey {
  const key = activeKey(ring, algorithm);
  if (key === undefined) throw new IssuerError('key_not_ready', `no ${algorithm} key is active yet`);
  const header = Buffer.from(JSON.stringify({ alg: algorithm, typ: 'JWT', kid: key.keyId })).toString(
    'base64url',
  );
  return { key, header, input: { ...SCHEMES[algorithm].options, key: key.privateKey } };
}

/** The ring keeps a retired key for as long as its tokens may live: none may live longer. */
function assertWithinLimit(key: RingKey, { exp, iat }: Claims): void {
  if (exp - iat > key.ttlLimitSeconds)
    throw new IssuerError(
      'temporarily_unavailable',
      'the key ring has not taken up the longer token life yet',
      {
        retryAfterSeconds: 1,
      },
    );
}

function signBytes(algorithm: Algorithm, bytes: Buffer, input: ReadyKey['input']): Promise<Buffer> | Buffer {
  const { digest, isThreaded } = SCHEMES[algorithm];
  if (!isThreaded) return cryptoSign(digest, bytes, input);
  return new Promise((resolve, reject) => {
    cryptoSign(digest, bytes, input, (error, signature) =>
      error === null ? resolve(signature) : reject(error),
    );
  });
}
