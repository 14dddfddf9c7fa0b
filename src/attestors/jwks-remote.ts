/**
 * The keys that another issuer publishes. They are asked for again before they are old, by one call
 * at a time, and never more often than every 30 s whatever tokens say. While the issuer is away its
 * last keys stay in use for a day.
 */
import { readFile } from 'node:fs/promises';
import { IssuerError } from '../core/errors.ts';
import { type Fetched, fetchDocument, urlFault } from './jwks-fetch.ts';
import { type KeySource, parseJson } from './jwks-source.ts';
import { type KeySet, parseKeySet } from './jwt-keys.ts';

export type RemoteParts = {
  /** What the configuration calls the issuer. */
  readonly name: string;
  readonly issuer: string;
  /** Undefined: the discovery document says it (OpenID Connect Discovery 1.0 section 4). */
  readonly jwksUri: string | undefined;
  readonly caFile: string | undefined;
  readonly allowPrivate: boolean;
  /** Monotonic seconds. */
  readonly elapsed: () => number;
  readonly warn: (message: string) => void;
  /** One call of the issuer has ended. */
  readonly onFetch: (name: string, isFetched: boolean) => void;
};

const TIMEOUT_MS = 5000;
/** Between two calls: with keys in hand, and without. */
const PAUSE_SECONDS = { known: 30, unknown: 5 };
/** After this part of their time keys are asked for again while they still serve. */
const RENEW_AT = 0.8;
const KEEP_SECONDS = 86_400;

type Copy = {
  readonly value: KeySet;
  readonly etag: string | undefined;
  readonly at: number;
  readonly freshFor: number;
};
type Place = { readonly url: string; readonly until: number };

export function remoteKeys(parts: RemoteParts): KeySource {
  return new RemoteKeys(parts);
}

class RemoteKeys implements KeySource {
  readonly #parts: RemoteParts;
  readonly #closing = new AbortController();
  #copy: Copy | undefined;
  #place: Place | undefined;
  #pending: Promise<void> | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #isFailing = false;

  constructor(parts: RemoteParts) {
    this.#parts = parts;
  }

  async keys(): Promise<KeySet> {
    const age = this.#age();
    const { freshFor } = this.#copy ?? { freshFor: 0 };
    if (age >= freshFor) await this.#renew();
    else if (age >= freshFor * RENEW_AT) void this.#renew();
    return this.#usable();
  }

  async freshKeys(): Promise<KeySet> {
    await this.#renew();
    return this.#usable();
  }

  close(): void {
    this.#closing.abort();
  }

  #age(): number {
    return this.#copy === undefined ? Number.POSITIVE_INFINITY : this.#parts.elapsed() - this.#copy.at;
  }

  #usable(): KeySet {
    const copy = this.#copy;
    if (copy !== undefined && this.#age() < copy.freshFor + KEEP_SECONDS) return copy.value;
    throw new IssuerError(
      'temporarily_unavailable',
      `the keys of issuer "${this.#parts.name}" are not known`,
      {
        retryAfterSeconds: PAUSE_SECONDS.unknown,
      },
    );
  }

  /** One call for all who wait; none where the last one was just made. Never rejects. */
  #renew(): Promise<void> {
    if (this.#pending !== undefined) return this.#pending;
    const pause = this.#copy === undefined ? PAUSE_SECONDS.unknown : PAUSE_SECONDS.known;
    const { elapsed } = this.#parts;
    if (this.#closing.signal.aborted || elapsed() - this.#askedAt < pause) return Promise.resolve();
    this.#askedAt = elapsed();
    this.#pending = this.#ask().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #ask(): Promise<void> {
    const { name, warn, onFetch } = this.#parts;
    try {
      this.#copy = await this.#fetchKeys();
      onFetch(name, true);
      if (this.#isFailing) warn(`the keys of issuer "${name}" are fetched again`);
      this.#isFailing = false;
    } catch (error) {
      this.#place = undefined; // it may have moved
      if (this.#closing.signal.aborted) return;
      onFetch(name, false);
      const what =
        this.#copy === undefined ? 'its tokens are not taken' : 'the last ones stay in use for a day';
      if (!this.#isFailing)
        warn(`the keys of issuer "${name}" cannot be fetched: ${reasonOf(error)}; ${what}`);
      this.#isFailing = true;
    }
  }

  async #fetchKeys(): Promise<Copy> {
    const { caFile, elapsed, jwksUri } = this.#parts;
    const ca = caFile === undefined ? undefined : await readFile(caFile);
    const signal = AbortSignal.any([this.#closing.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    const get = (url: string, etag?: string) =>
      fetchDocument({ url, ca, etag, signal, allowPrivate: this.#parts.allowPrivate });
    const url = jwksUri ?? (await this.#discover(get));
    const { body, etag, freshForSeconds } = await get(url, this.#copy?.etag);
    const value = body === undefined ? this.#copy?.value : parseKeySet(parseJson(body));
    if (value === undefined) throw new Error('it answered 304 to nothing');
    return { value, etag, at: elapsed(), freshFor: freshForSeconds };
  }

  async #discover(get: (url: string) => Promise<Fetched>): Promise<string> {
    const { issuer, elapsed } = this.#parts;
    if (this.#place !== undefined && elapsed() < this.#place.until) return this.#place.url;
    const { body, freshForSeconds } = await get(
      `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`,
    );
    const url = jwksUriOf(body === undefined ? undefined : parseJson(body), issuer);
    this.#place = { url, until: elapsed() + freshForSeconds };
    return url;
  }
}

/** Of several addresses that fail each has an error, and all of them together only a code. */
function reasonOf(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException;
  return message === '' ? (code ?? 'unknown fault') : message;
}

/** Throws Error: the document must be the issuer's own (section 4.3), and name a place that may be asked. */
export function jwksUriOf(document: unknown, issuer: string): string {
  const { issuer: named, jwks_uri: url } = Object(document) as {
    readonly issuer?: unknown;
    readonly jwks_uri?: unknown;
  };
  if (named !== issuer) throw new Error('its discovery document is of another issuer');
  if (typeof url !== 'string') throw new Error('its discovery document has no jwks_uri');
  const fault = urlFault(url);
  if (fault !== undefined || (url.startsWith('http:') && !issuer.startsWith('http:')))
    throw new Error(`the jwks_uri of its discovery document ${fault ?? 'must be an https URL'}`);
  return url;
}
