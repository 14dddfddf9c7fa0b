/** What the OAuth server adds to the issuer's metadata (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3). */
import { allScopes } from './clients.ts';
import { GRANTS } from './grants/index.ts';
import type { OAuthConfig } from './settings.ts';

const SECRETS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt'];
const PROOFS = [...SECRETS, 'none'];
/** What assertions and DPoP proofs are signed with. */
export const ASSERTION_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519'] as const;
export const PROOF_ALGORITHMS = ['ES256', 'EdDSA', 'Ed25519', 'RS256', 'PS256'] as const;
const CLAIMS = [
  'sub',
  'name',
  'given_name',
  'family_name',
  'email',
  'email_verified',
  'idp',
  'amr',
  'auth_time',
];

export function metadata(config: OAuthConfig, issuer: string): Readonly<Record<string, unknown>> {
  const at = (name: string) => `${issuer}${config.path}/${name}`;
  const used = new Set(
    [...config.clients, config.registration ?? { grants: [] }].flatMap(
      ({ grants }) => grants as readonly string[],
    ),
  );
  return {
    authorization_endpoint: at('authorize'),
    token_endpoint: at('token'),
    device_authorization_endpoint: at('deviceauthorization'),
    introspection_endpoint: at('introspect'),
    revocation_endpoint: at('revocation'),
    userinfo_endpoint: at('userinfo'),
    end_session_endpoint: at('endsession'),
    pushed_authorization_request_endpoint: at('par'),
    ...(config.registration === undefined ? {} : { registration_endpoint: at('register') }),
    grant_types_supported: Object.entries(GRANTS)
      .filter(([name]) => used.has(name))
      .map(([, { type }]) => type),
    response_types_supported: ['code'],
    response_modes_supported: ['query', 'fragment'],
    code_challenge_methods_supported: ['S256'],
    scopes_supported: allScopes(config),
    claims_supported: CLAIMS,
    token_endpoint_auth_methods_supported: PROOFS,
    token_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
    introspection_endpoint_auth_methods_supported: SECRETS,
    revocation_endpoint_auth_methods_supported: PROOFS,
    dpop_signing_alg_values_supported: PROOF_ALGORITHMS,
    authorization_response_iss_parameter_supported: true,
    prompt_values_supported: ['none', 'login', 'consent'],
    claims_parameter_supported: false,
    request_parameter_supported: false,
    request_uri_parameter_supported: false,
  };
}
