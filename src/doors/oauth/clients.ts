/** The register of clients: from the configuration to the metadata of RFC 7591 section 2, and their secrets. */
import { readFile } from 'node:fs/promises';
import type { ClientMetadata, Provider } from 'oidc-provider';
import { hashSecret, matchesHash } from '../../core/client-secrets.ts';
import { IDENTITY_SCOPES } from '../../core/scopes.ts';
import { GRANTS } from './grants/index.ts';
import { CLIENT_PROPERTIES } from './people/contract.ts';
import type { ClientConfig, OAuthConfig } from './settings.ts';

/** RFC 8252 section 7: programs on a device are sent to loopback, or to a scheme of their own. */
const WEB = /^https:/;
const PROVEN = 'mintmark:client:';

/** Properties of our own in a client's metadata. */
export const OWN_PROPERTIES = [
  ...CLIENT_PROPERTIES,
  'scope_as',
  'require_pkce',
  'access_token_ttl',
  'refresh_token_ttl',
  'allowed_scopes',
  'token_url_audience',
  'any_loopback_port',
];

/** What `certificateSubjectMatches` compares: a client that was proven elsewhere (attested, federated). */
export function provenName(clientId: string): string {
  return `${PROVEN}${encodeURIComponent(clientId)}`;
}

/** Throws where a file cannot be read. */
export async function clientMetadata(client: ClientConfig): Promise<ClientMetadata> {
  const isWeb = client.redirectUris.every((uri) => WEB.test(uri));
  return {
    client_id: client.id,
    client_name: client.name ?? client.id,
    application_type: isWeb ? 'web' : 'native',
    grant_types: client.grants.map((name) => GRANTS[name]?.type ?? name),
    response_types: client.grants.includes('authorization_code') ? ['code'] : [],
    redirect_uris: [...client.redirectUris],
    post_logout_redirect_uris: [...client.postLogoutRedirectUris],
    scope: client.scopes.join(' ') || undefined,
    dpop_bound_access_tokens: client.dpop,
    require_consent: client.consent,
    require_pkce: client.pkce ?? true,
    scope_as: client.scopeAs,
    allowed_scopes: [...client.scopes],
    token_url_audience: client.tokenUrlAudience,
    access_token_ttl: client.accessTokenTtl,
    refresh_token_ttl: client.refreshTokenTtl,
    identity_providers: client.identityProviders === undefined ? undefined : [...client.identityProviders],
    cors_origins: [...client.corsOrigins],
    ...(await authentication(client)),
  } as ClientMetadata;
}

async function authentication(client: ClientConfig): Promise<Partial<ClientMetadata>> {
  if (client.public) return { token_endpoint_auth_method: 'none' };
  if (client.jwks !== undefined || client.jwksUri !== undefined)
    return {
      token_endpoint_auth_method: 'private_key_jwt',
      ...(client.jwks === undefined ? { jwks_uri: client.jwksUri } : { jwks: client.jwks as never }),
    };
  if (client.match !== undefined || client.federated !== undefined)
    return { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_san_uri: provenName(client.id) };
  return {
    token_endpoint_auth_method: 'client_secret_basic',
    client_secret: (await secretsOf(client)).join(' '),
  };
}

async function secretsOf({ secrets = [], secretFile }: ClientConfig): Promise<readonly string[]> {
  if (secretFile === undefined) return secrets;
  return [hashSecret((await readFile(secretFile, 'utf8')).replace(/\r?\n$/, ''))];
}

/** Secrets are compared by their hashes, but where a door has proven the client in a way of its own. */
export function compareHashes(provider: Provider, isProven: (clientId: string) => boolean): void {
  const client = provider.Client.prototype as unknown as {
    clientId: string;
    clientSecret?: string;
    compareClientSecret(given: string): boolean;
  };
  client.compareClientSecret = function compareClientSecret(given) {
    if (isProven(this.clientId)) return true;
    return (this.clientSecret ?? '').split(' ').some((hash) => matchesHash(given, hash));
  };
}

const LOOPBACK = /^http:\/\/(127\.0\.0\.1|\[::1\])[:/]/;

/**
 * RFC 8252 section 7.3: a program on the person's own machine takes the port that is free. The provider
 * lets every client do so that has an address there, by the name localhost too.
 */
export function matchExactly(provider: Provider): void {
  const client = provider.Client.prototype as unknown as {
    redirectUris?: readonly string[];
    clientAuthMethod: string;
    any_loopback_port?: boolean;
    redirectUriAllowed(uri: string): boolean;
  };
  const { redirectUriAllowed } = client;
  client.redirectUriAllowed = function isAllowed(uri) {
    const isPortFree = this.clientAuthMethod === 'none' || this.any_loopback_port === true;
    return isPortFree && LOOPBACK.test(uri)
      ? redirectUriAllowed.call(this, uri)
      : this.redirectUris?.includes(uri) === true;
  };
}

/** Of a URL that people are to be sent to: who reads it may take it for more than it says. */
export function redirectFault(uri: string): string | undefined {
  const { username = '', password = '' } = URL.parse(uri) ?? {};
  if (`${username}${password}` !== '') return 'must name no user';
  return uri.includes('*') ? 'must have no *: it counts as it is written' : undefined;
}

/** Every scope that the issuer knows. */
export function allScopes({ clients, resources, registration }: OAuthConfig): readonly string[] {
  const own = [...clients, ...resources, ...(registration === undefined ? [] : [registration])];
  return [...new Set([...IDENTITY_SCOPES, ...own.flatMap(({ scopes }) => scopes)])];
}
