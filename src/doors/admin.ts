/** The operator's door, on a socket of mode 0600: the keys, the documents to upload, the bootstrap CA. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { Context } from 'koa';
import type { PublicDocuments } from '../core/discovery.ts';
import { IssuerError } from '../core/errors.ts';
import type { RingKey } from '../core/key-ports.ts';
import { ALGORITHMS, type Algorithm, type EpochSeconds } from '../core/ports.ts';
import { readBody, readFields } from './body.ts';
import { answerJson, type Door, type Method, type Route } from './door.ts';
import { bodyErrors, errorAnswer, jsonAnswer, jsonBody } from './openapi.ts';

export type AdminParts = {
  readonly keys: () => readonly RingKey[];
  readonly now: () => EpochSeconds;
  /** What a rotation waits for, and how long verifiers may keep an old JWKS. */
  readonly settings: () => {
    readonly rotateEverySeconds: number;
    readonly publishAtLeastSeconds: number;
    readonly cacheForSeconds: number;
    /** Those that rules ask for. */
    readonly algorithms: readonly Algorithm[];
  };
  /** Each resolves once the change is stored; throws IssuerError. */
  readonly rotate: (algorithm: Algorithm | undefined, isForced: boolean) => Promise<void>;
  readonly revoke: (keyId: string) => Promise<void>;
  readonly importKey: (privateKey: KeyObject, algorithm: Algorithm) => Promise<void>;
  readonly documents: () => PublicDocuments;
  /** The bootstrap CA's certificate in PEM; undefined where TLS is not bootstrapped. */
  readonly caCertificate: () => string | undefined;
};

export function open(parts: AdminParts): Door {
  const list = (context: Context) => {
    answerJson(context, {
      now: parts.now(),
      settings: parts.settings(),
      keys: parts.keys().map(describeKey),
    });
  };
  const rotate = async (context: Context) => {
    const fields = await readFields(context.req, ['algorithm', 'force']);
    const algorithm = fields.algorithm === undefined ? undefined : assertAlgorithm(fields.algorithm);
    const { force = false } = fields;
    if (typeof force !== 'boolean') throw new IssuerError('invalid_request', 'force is no boolean');
    await parts.rotate(algorithm, force);
    list(context);
  };
  const revoke = async (context: Context) => {
    const { keyId } = await readFields(context.req, ['keyId']);
    if (typeof keyId !== 'string') throw new IssuerError('invalid_request', 'keyId is missing');
    await parts.revoke(keyId);
    list(context);
  };
  const importKey = async (context: Context) => {
    const algorithm = assertAlgorithm(context.query.algorithm);
    const der = await readBody(context.req);
    try {
      await parts.importKey(parsePrivateKey(der), algorithm);
    } finally {
      der.fill(0);
    }
    list(context);
  };
  const documents = (context: Context) => {
    answerJson(context, parts.documents());
  };
  const ca = (context: Context) => {
    const certificate = parts.caCertificate();
    if (certificate === undefined)
      throw new IssuerError('not_found', 'no bootstrap CA', {
        shown: { reason: 'neither public.tls nor private.tls is bootstrap' },
      });
    context.set('Content-Type', 'application/x-pem-file');
    context.body = certificate;
  };
  return {
    name: 'admin',
    surface: 'admin',
    routes: [
      route('GET', '/v1/keys', list, KEYS),
      route('POST', '/v1/keys/rotate', rotate, ROTATE),
      route('POST', '/v1/keys/revoke', revoke, REVOKE),
      route('POST', '/v1/keys/import', importKey, IMPORT),
      route('GET', '/v1/documents', documents, DOCUMENTS),
      route('GET', '/v1/ca', ca, CA),
    ],
  };
}

/** What may be said of a key: never its private half. */
function describeKey(key: RingKey): Readonly<Record<string, unknown>> {
  const { keyId, algorithm, state, publishedAt, activatedAt, retiredAt, removeAt } = key;
  return { keyId, algorithm, state, publishedAt, activatedAt, retiredAt, removeAt };
}

function assertAlgorithm(value: unknown): Algorithm {
  const found = ALGORITHMS.find((algorithm) => algorithm === value);
  if (found === undefined)
    throw new IssuerError('invalid_request', 'no such algorithm', {
      shown: { reason: `algorithms: ${ALGORITHMS.join(' ')}` },
    });
  return found;
}

function parsePrivateKey(der: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } catch {
    throw new IssuerError('invalid_request', 'the body is no PKCS#8 private key');
  }
}

type Operation = { readonly summary: string; readonly [part: string]: unknown };

function route(method: Method, path: string, handle: Route['handle'], given: Operation): Route {
  const { summary, responses } = given;
  const answers = { 200: jsonAnswer(summary), 503: errorAnswer('The keys cannot be had at the moment') };
  return { method, path, operation: { ...given, responses: { ...answers, ...Object(responses) } }, handle };
}

const ALGORITHM = { type: 'string', enum: ALGORITHMS };
const PKCS8 = { type: 'string', format: 'binary', description: 'PKCS#8 in DER' };

const KEYS: Operation = { summary: 'The key ring' };
const ROTATE: Operation = {
  summary: 'Let the published next key sign from now on',
  requestBody: jsonBody({ algorithm: ALGORITHM, force: { type: 'boolean' } }),
  responses: { ...bodyErrors, 409: errorAnswer('The next key was not published for long enough') },
};
const REVOKE: Operation = {
  summary: 'Take a key out of the JWKS at once',
  requestBody: jsonBody({ keyId: { type: 'string' } }, ['keyId']),
  responses: {
    ...bodyErrors,
    404: errorAnswer('There is no such key'),
  },
};
const IMPORT: Operation = {
  summary: 'Bring a key along as the next one',
  parameters: [{ name: 'algorithm', in: 'query', required: true, schema: ALGORITHM }],
  requestBody: { required: true, content: { 'application/octet-stream': { schema: PKCS8 } } },
  responses: { ...bodyErrors, 409: errorAnswer('The key is in the ring already, or the ring is full') },
};
const DOCUMENTS: Operation = { summary: 'The issuer metadata and the JWKS' };
const CA: Operation = {
  summary: 'The certificate of the bootstrap CA',
  responses: {
    200: { description: 'PEM', content: { 'application/x-pem-file': { schema: { type: 'string' } } } },
    404: errorAnswer('TLS is not bootstrapped'),
  },
};
