/**
 * Signs with the process's own keys (RFC 7515 section 5.1), in libuv's threads so
 * that all cores sign, except for a quick signature that is alone: the way there and
 * back would cost as much.
 */
import { constants, sign as cryptoSign, type KeyObject, type SigningOptions } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { IssuerError } from '../core/errors.ts';
import type { RingKey } from '../core/key-ports.ts';
import { activeKey, type KeyRing } from '../core/key-ring.ts';
import type { Algorithm, Claims, SignedToken, Signer, TokenType } from '../core/ports.ts';

type Scheme = {
  readonly digest: string | null;
  readonly options: SigningOptions;
  /** Takes less time than to wake a thread and to be woken by it. */
  readonly isQuick: boolean;
};

/** RFC 7518 section 3.1 and RFC 8037 section 3.1. */
const SCHEMES: Readonly<Record<Algorithm, Scheme>> = {
  RS256: { digest: 'sha256', options: {}, isQuick: false },
  PS256: {
    digest: 'sha256',
    options: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
    isQuick: false,
  },
  ES256: { digest: 'sha256', options: { dsaEncoding: 'ieee-p1363' }, isQuick: true },
  ES384: { digest: 'sha384', options: { dsaEncoding: 'ieee-p1363' }, isQuick: false },
  EdDSA: { digest: null, options: {}, isQuick: true },
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

/** Signs with the key of a token that another library builds; in libuv's threads. */
export function signWith({ algorithm, privateKey }: RingKey, bytes: Uint8Array): Promise<Buffer> {
  const { digest, options } = SCHEMES[algorithm];
  return new Promise((resolve, reject) => {
    cryptoSign(digest, bytes, { ...options, key: privateKey }, (error, signature) =>
      error === null ? resolve(signature) : reject(error),
    );
  });
}

export function open(parts: LocalSignerParts): Signer {
  let ring: KeyRing | undefined;
  let ready = new Map<string, ReadyKey>();
  let isClosed = false;
  const signBytes = createQueue();

  function readyKey(algorithm: Algorithm, type: TokenType): ReadyKey {
    if (ring !== parts.ring()) {
      ring = parts.ring();
      ready = new Map();
    }
    const name = type === 'JWT' ? algorithm : `${algorithm} ${type}`;
    let found = ready.get(name);
    if (found === undefined) {
      found = prepare(ring, algorithm, type);
      ready.set(name, found);
    }
    return found;
  }

  return {
    async sign(claims, algorithm, type = 'JWT') {
      if (isClosed) throw new IssuerError('temporarily_unavailable', 'the signer is closed');
      parts.assertFresh();
      const { key, header, input } = readyKey(algorithm, type);
      assertWithinLimit(key, claims);
      const signingInput = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
      const signature = await signBytes(algorithm, Buffer.from(signingInput), input);
      return {
        token: `${signingInput}.${signature.toString('base64url')}`,
        keyId: key.keyId,
      } satisfies SignedToken;
    },
    async close() {
      isClosed = true;
      ready.clear();
    },
  };
}

function prepare(ring: KeyRing, algorithm: Algorithm, type: TokenType): ReadyKey {
  const key = activeKey(ring, algorithm);
  if (key === undefined)
    throw new IssuerError('key_not_ready', `no ${algorithm} key is active yet`, { retryAfterSeconds: 60 });
  const header = Buffer.from(JSON.stringify({ alg: algorithm, typ: type, kid: key.keyId })).toString(
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

type Job = {
  readonly algorithm: Algorithm;
  readonly bytes: Buffer;
  readonly input: ReadyKey['input'];
  resolve(signature: Buffer): void;
  reject(error: unknown): void;
};

const CORES = availableParallelism();
const TOGETHER = 8;

/**
 * What is asked for in one turn of the event loop goes to the threads together: to
 * wake them one by one costs more than an elliptic curve's signature. What comes back
 * is handed on together too, for as long as every thread has more to sign: answers
 * one by one would take the cores from the signatures more often than they need.
 */
function createQueue(): (algorithm: Algorithm, bytes: Buffer, input: ReadyKey['input']) => Promise<Buffer> {
  let waiting: Job[] = [];
  let inThreads = 0;
  let signed: (() => void)[] = [];

  function signInThread({ algorithm, bytes, input, resolve, reject }: Job): void {
    inThreads++;
    cryptoSign(SCHEMES[algorithm].digest, bytes, input, (error, signature) => {
      inThreads--;
      signed.push(() => (error === null ? resolve(signature) : reject(error)));
      if (inThreads <= CORES || signed.length >= TOGETHER) handOn();
    });
  }

  function handOn(): void {
    const ready = signed;
    signed = [];
    for (const settle of ready) settle();
  }

  function flush(): void {
    const jobs = waiting;
    waiting = [];
    const [first] = jobs;
    if (first !== undefined && jobs.length === 1 && inThreads === 0 && SCHEMES[first.algorithm].isQuick)
      signNow(first);
    else for (const job of jobs) signInThread(job);
  }

  return (algorithm, bytes, input) =>
    new Promise((resolve, reject) => {
      if (waiting.push({ algorithm, bytes, input, resolve, reject }) === 1) setImmediate(flush);
    });
}

function signNow({ algorithm, bytes, input, resolve, reject }: Job): void {
  try {
    resolve(cryptoSign(SCHEMES[algorithm].digest, bytes, input));
  } catch (error) {
    reject(error);
  }
}
