/**
 * What clients have us fetch: their keys at `jwks_uri` (RFC 7591 section 5). Of the internet only, over
 * TLS, without a detour; URLs that the configuration names may be anywhere.
 */
import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP, type LookupFunction } from 'node:net';
import { Readable } from 'node:stream';

export const FETCH_MAX_BYTES = 64 * 1024;
const TIMEOUT_MS = 2500;
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/** Which addresses are the internet's. */
export type Internet = {
  readonly isPublicAddress: (address: string) => boolean;
  readonly publicLookup: (fault: (host: string) => Error) => LookupFunction;
};

export type FetchRules = {
  readonly internet: () => Promise<Internet>;
  /** The configuration's own URLs. */
  readonly trusted: ReadonlySet<string>;
  /** In development everything is on loopback. */
  readonly isDevelopment: boolean;
};

type FetchOptions = { readonly method?: string | undefined; readonly signal?: AbortSignal | null };

/** Throws Error where the URL may not be asked, or does not answer. Redirects are not followed. */
export function clientFetch({ internet, trusted, isDevelopment }: FetchRules) {
  return async (given: string | URL, options: FetchOptions = {}): Promise<Response> => {
    const url = new URL(given);
    const isTrusted = isDevelopment || trusted.has(url.href);
    if (url.protocol !== 'https:' && !isTrusted) throw new Error('is no https URL');
    const { isPublicAddress, publicLookup } = await internet();
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    if (isIP(host) !== 0 && !isTrusted && !isPublicAddress(host)) throw privateHost(host);
    const answer = await ask(url, options, isTrusted ? undefined : publicLookup(privateHost));
    const status = answer.statusCode ?? 502;
    const body = WITHOUT_BODY.has(status) ? null : (Readable.toWeb(answer) as ReadableStream);
    const headers = Object.entries(answer.headers).map(([name, value]) => [name, String(value)]);
    return new Response(body, { status, headers: headers as [string, string][] });
  };
}

function ask(
  url: URL,
  { method, signal }: FetchOptions,
  lookup: LookupFunction | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'http:' ? requestHttp : requestHttps;
    const call = request(url, {
      method: method ?? 'GET',
      headers: { Accept: 'application/json', 'Accept-Encoding': 'identity' },
      agent: false,
      signal: signal ?? AbortSignal.timeout(TIMEOUT_MS),
      ...(lookup === undefined ? {} : { lookup }),
    });
    call.on('response', resolve);
    call.on('error', reject);
    call.end();
  });
}

function privateHost(host: string): Error {
  return new Error(`${host} is no host of the internet`);
}
