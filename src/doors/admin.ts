/** The operator's door, on a socket of mode 0600: the keys, the documents to upload, the bootstrap CA. */
import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { Context } from 'koa';
import type { PublicDocuments } from '../core/discovery.ts';
import { IssuerError } from '../core/errors.ts';
import { ALGORITHMS, type Algorithm, type EpochSeconds, type RingKey } from '../core/ports.ts';
import { parseFields, readBody } from './body.ts';
import type { Door, Method, Route } from './door.ts';

export type AdminParts = {
  readonly keys: () => readonly RingKey[];
  readonly now: () => EpochSeconds;
  /** What a rotation waits for, and how long verifiers may keep an old JWKS. */
  readonly settings: () => {
    readonly rotateEverySeconds: number;
    readonly publishAtLeastSeconds: number;
    readonly cacheForSeconds: number;
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
    context.body = { now: parts.now(), settings: parts.settings(), keys: parts.keys().map(describeKey) };
  };
  const rotate = async (context: Context) => {
    const fields = await fieldsOf(context, ['algorithm', 'force']);
    const algorithm = fields.algorithm === undefined ? undefined : assertAlgorithm(fields.algorithm);
    await parts.rotate(algorithm, fields.force === true);
    list(context);
  };
  const revoke = async (context: Context) => {
    const { keyId } = await fieldsOf(context, ['keyId']);
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
    context.body = parts.documents();
  };
  const ca = (context: Context) => {
    const certificate = parts.caCertificate();
    if (certificate === undefined) throw new IssuerError('not_found', 'public.tls is not bootstrap');
    context.set('Content-Type', 'application/x-pem-file');
    context.body = certificate;
  };
  return {
    name: 'admin',
    surface: 'admin',
    routes: [
      route('GET', '/v1/keys', 'The key ring', list),
      route('POST', '/v1/keys/rotate', 'Let the published next key sign from now on', rotate),
      route('POST', '/v1/keys/revoke', 'Take a key out of the JWKS at once', revoke),
      route('POST', '/v1/keys/import', 'Bring a PKCS#8 key along as the next key', importKey),
      route('GET', '/v1/documents', 'The issuer metadata and the JWKS', documents),
      route('GET', '/v1/ca', 'The certificate of the bootstrap CA', ca),
    ],
  };
}

/** What may be said of a key: never its private half. */
function describeKey(key: RingKey): Readonly<Record<string, unknown>> {
  const { keyId, algorithm, state, publishedAt, activatedAt, retiredAt, removeAt } = key;
  return { keyId, algorithm, state, publishedAt, activatedAt, retiredAt, removeAt };
}

async function fieldsOf(
  context: Context,
  known: readonly string[],
): Promise<Readonly<Record<string, unknown>>> {
  const fields = parseFields(await readBody(context.req), context.req.headers['content-type']);
  const unknown = Object.keys(fields).find((name) => !known.includes(name));
  if (unknown !== undefined) throw new IssuerError('invalid_request', 'a field is not known here');
  return fields;
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

function route(method: Method, path: string, summary: string, handle: Route['handle']): Route {
  return { method, path, operation: { summary, responses: { 200: { description: summary } } }, handle };
}
