/** The issuer's public documents, built once a change and never from a request. */
import type { KeyRing } from './key-ring.ts';
import type { Algorithm } from './ports.ts';

export type PublicDocuments = {
  /** OpenID Connect Discovery 1.0 section 3, and RFC 8414 section 2. */
  readonly metadata: Readonly<Record<string, unknown>>;
  /** RFC 7517 section 5. */
  readonly jwks: { readonly keys: readonly Readonly<Record<string, string>>[] };
};

const REGISTERED_CLAIMS = ['iss', 'sub', 'aud', 'iat', 'nbf', 'exp', 'jti'];

/** `extra` is what doors add (token endpoint, grant types …). */
export function buildDocuments(
  issuer: string,
  ring: KeyRing,
  extra: Readonly<Record<string, unknown>> = {},
): PublicDocuments {
  const algorithms: readonly Algorithm[] = [...new Set(ring.keys.map((key) => key.algorithm))].sort(
    byDefaultFirst,
  );
  return {
    metadata: {
      issuer,
      jwks_uri: `${issuer}/.well-known/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: algorithms,
      scopes_supported: ['openid'],
      claims_supported: REGISTERED_CLAIMS,
      ...extra,
    },
    jwks: { keys: ring.keys.map((key) => key.publicJwk) },
  };
}

/** RS256 is the one that every relying party takes. */
function byDefaultFirst(a: Algorithm, b: Algorithm): number {
  return Number(b === 'RS256') - Number(a === 'RS256');
}
