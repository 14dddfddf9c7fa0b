/** One document from another issuer's server: bounded in size and time, from a public address, without a detour. */
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { isLoopbackHost, isPublicAddress, publicLookup, unbracketed } from './public-address.ts';

export const DOCUMENT_MAX_BYTES = 256 * 1024;
const FRESH_SECONDS = { least: 60, most: 86_400, unsaid: 300 };

export type FetchSettings = {
  /** See `urlFault`. */
  readonly url: string;
  /** Certificates in PEM that are trusted in place of the public ones. */
  readonly ca?: Buffer | undefined;
  /** Addresses that are not the internet's may be asked too. */
  readonly allowPrivate: boolean;
  /** The setting that says so. */
  readonly allowedBy?: string;
  /** The copy that is there already (If-None-Match, RFC 9110 section 13.1.2). */
  readonly etag?: string | undefined;
  readonly signal: AbortSignal;
};

export type Fetched = {
  /** Undefined: the copy that is there is still the newest. */
  readonly body: Buffer | undefined;
  readonly etag: string | undefined;
  /** By Cache-Control (RFC 9111 section 5.2.2), between a minute and a day. */
  readonly freshForSeconds: number;
};

/** Why a URL is not asked, if so: it must be https, or http on loopback. */
export function urlFault(text: string): string | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined) return 'must be a URL';
  if (url.username + url.password + url.hash !== '') return 'must have no user and no fragment';
  if (url.protocol === 'https:') return undefined;
  return url.protocol === 'http:' && isLoopbackHost(url.hostname)
    ? undefined
    : 'must be an https URL (http on loopback only)';
}

/** Throws Error with a sentence that has nothing of the answer in it. Redirects are not followed. */
export async function fetchDocument(settings: FetchSettings): Promise<Fetched> {
  try {
    const answer = await ask(settings);
    return await read(answer, settings.etag);
  } catch (error) {
    if (settings.signal.aborted) throw new Error('it did not answer in time', { cause: error });
    throw error;
  }
}

function ask(settings: FetchSettings): Promise<IncomingMessage> {
  const { url: text, ca, allowPrivate, etag, signal, allowedBy = 'allowPrivate' } = settings;
  const privateHost = (host: string) =>
    new Error(`${host} is no host of the internet (${allowedBy} lets it be asked)`);
  const fault = urlFault(text);
  if (fault !== undefined) throw new Error(`its URL ${fault}`);
  const url = new URL(text);
  const host = unbracketed(url.hostname);
  if (isIP(host) !== 0 && !allowPrivate && !isPublicAddress(host)) throw privateHost(host);
  const headers = {
    Accept: 'application/json, application/jwk-set+json',
    'Accept-Encoding': 'identity',
    ...(etag === undefined ? {} : { 'If-None-Match': etag }),
  };
  const internet = publicLookup(privateHost);
  const common = { headers, agent: false, signal, ...(allowPrivate ? {} : { lookup: internet }) };
  return new Promise((resolve, reject) => {
    const call =
      url.protocol === 'http:'
        ? requestHttp(url, common)
        : requestHttps(url, { ...common, ca, rejectUnauthorized: true, minVersion: 'TLSv1.2' });
    call.on('response', resolve);
    call.on('error', reject);
    call.end();
  });
}

async function read(answer: IncomingMessage, etag: string | undefined): Promise<Fetched> {
  const { statusCode, headers } = answer;
  const freshForSeconds = freshness(headers['cache-control'], headers.age);
  try {
    if (statusCode === 304 && etag !== undefined) return { body: undefined, etag, freshForSeconds };
    if (statusCode !== 200) throw new Error(`it answered ${statusCode}`);
    const encoding = headers['content-encoding'] ?? 'identity';
    if (encoding !== 'identity') throw new Error('it answered in an encoding that was not asked for');
    return { body: await readBody(answer), etag: headers.etag, freshForSeconds };
  } finally {
    answer.destroy();
  }
}

async function readBody(answer: IncomingMessage): Promise<Buffer> {
  const tooLarge = () => new Error(`its answer is larger than ${DOCUMENT_MAX_BYTES} bytes`);
  if (Number(answer.headers['content-length'] ?? 0) > DOCUMENT_MAX_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > DOCUMENT_MAX_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  if (!answer.complete) throw new Error('its answer broke off');
  return Buffer.concat(chunks);
}

export function freshness(cacheControl = '', age = '0'): number {
  const { least, most, unsaid } = FRESH_SECONDS;
  const directives = cacheControl.toLowerCase().split(',');
  if (directives.some((each) => /^\s*no-(?:store|cache)\b/.test(each))) return least;
  const [seconds] = directives.flatMap(
    (each) => /^\s*max-age\s*=\s*"?(\d{1,10})"?\s*$/.exec(each)?.[1] ?? [],
  );
  const old = /^\d{1,10}$/.test(age) ? Number(age) : 0;
  const left = seconds === undefined ? unsaid : Number(seconds) - old;
  return Math.min(Math.max(left, least), most);
}
