/** The keys that another issuer publishes, asked for once, for whoever keeps them. */
import { fetchDocument, urlFault } from './jwks-fetch.ts';
import { jwksUriOf } from './jwks-remote.ts';
import { parseJson } from './jwks-source.ts';
import { hasPrivateKeys, parseKeySet } from './jwt-keys.ts';

export type PublishedKeys = {
  /** Public members only. */
  readonly keys: readonly Readonly<Record<string, string>>[];
  readonly freshForSeconds: number;
};

export type OnceParts = {
  readonly issuer: string;
  /** Its server may be on loopback or in a private network. */
  readonly allowPrivate: boolean;
};

const TIMEOUT_MS = 5000;
const MEMBERS = ['kty', 'kid', 'use', 'alg', 'n', 'e', 'crv', 'x', 'y'];
const DISCOVERY = '.well-known/openid-configuration';

/** Throws Error with a sentence: the discovery document is asked for, then the keys that it names. */
export async function fetchPublishedKeys({ issuer, allowPrivate }: OnceParts): Promise<PublishedKeys> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const get = async (url: string) => {
    const { body, freshForSeconds } = await fetchDocument({
      url,
      signal,
      allowPrivate,
      allowedBy: 'allowPrivateIssuers',
    });
    return { value: body === undefined ? undefined : parseJson(body), freshForSeconds };
  };
  const fault = urlFault(issuer);
  if (fault !== undefined) throw new Error(`its URL ${fault}`);
  const { value: metadata } = await get(`${issuer.replace(/\/$/, '')}/${DISCOVERY}`);
  const { value, freshForSeconds } = await get(jwksUriOf(metadata, issuer));
  return { keys: publicKeys(value), freshForSeconds };
}

/** Throws RangeError with a sentence where it is no set of public keys that can verify something. */
export function publicKeys(jwks: unknown): PublishedKeys['keys'] {
  parseKeySet(jwks);
  if (hasPrivateKeys(jwks)) throw new RangeError('it has a private or secret key');
  const { keys } = jwks as { readonly keys: readonly Readonly<Record<string, unknown>>[] };
  return keys.map((jwk) =>
    Object.fromEntries(
      MEMBERS.flatMap((member) => (typeof jwk[member] === 'string' ? [[member, jwk[member]]] : [])),
    ),
  );
}
