/**
 * What clients have us fetch: their keys at `jwks_uri` (RFC 7591 section 5). Of the internet only, over
 * TLS, without a detour; URLs that the configuration names may be anywhere.
 */
import { lookup } from 'node:dns';
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { isPublicAddress, unbracketed } from './public-address.ts';

export const FETCH_MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 2500;
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

export type FetchRules = {
  /** The configuration's own URLs. */
  readonly trusted: ReadonlySet<string>;
  /** In development everything is on loopback. */
  readonly isDevelopment: boolean;
};

type FetchOptions = { readonly method?: string | undefined; readonly signal?: AbortSignal | null };

/** Throws Error where the URL may not be asked, or does not answer. Redirects are not followed. */
export function clientFetch({ trusted, isDevelopment }: FetchRules) {
  return async (given: string | URL, options: FetchOptions = {}): Promise<Response> => {
    const url = new URL(given);
    const isTrusted = isDevelopment || trusted.has(url.href);
    if (url.protocol !== 'https:' && !isTrusted) throw new Error('is no https URL');
    const host = unbracketed(url.hostname);
    if (isIP(host) !== 0 && !isTrusted && !isPublicAddress(host)) throw privateHost(host);
    const answer = await ask(url, options, isTrusted);
    const status = answer.statusCode ?? 502;
    const body = WITHOUT_BODY.has(status) ? null : (Readable.toWeb(answer) as ReadableStream);
    const headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    return new Response(body, { status, headers: headers as [string, string][] });
  };
}

function ask(url: URL, { method, signal }: FetchOptions, isTrusted: boolean): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'http:' ? requestHttp : requestHttps;
    const call = request(url, {
      method: method ?? 'GET',
      headers: { Accept: 'application/json', 'Accept-Encoding': 'identity' },
      agent: false,
      signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
      ...(isTrusted ? {} : { lookup: publicLookup }),
    });
    call.on('response', resolve);
    call.on('error', reject);
    call.end();
  });
}

/** What it answers is what is connected to: a name that changes in between gains nothing. */
const publicLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    if (error !== null) return callback(error, []);
    const [first, ...more] = found.filter(({ address }) => isPublicAddress(address));
    if (first === undefined) return callback(privateHost(hostname), []);
    if (options.all === true) return callback(null, [first, ...more]);
    callback(null, first.address, first.family);
  });
};

function privateHost(host: string): Error {
  return new Error(`${host} is no host of the internet`);
}
