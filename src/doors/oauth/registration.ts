/**
 * Dynamic registration of clients (RFC 7591): for whoever has the initial access token, and without
 * anything that only the configuration may give.
 */
import { readFile } from 'node:fs/promises';
import { errors } from 'oidc-provider';
import { GRANTS } from './grants/index.ts';
import type { OAuthConfig } from './settings.ts';

export type Registration = {
  readonly feature: { readonly enabled: boolean; readonly initialAccessToken?: string };
  /** oidc-provider's validator of our own properties; `context` is there for a registration alone. */
  readonly validate: (context: unknown, key: string, value: unknown, metadata: Metadata) => void;
};

type Metadata = {
  scope?: string;
  grant_types?: readonly string[];
  allowed_scopes?: readonly string[];
  readonly [name: string]: unknown;
};

/** RFC 6750 section 2.1. */
const BEARER = /^[\w.~+/-]{16,512}=*$/;
/** The others show a password, or let a client speak for others. */
const TAKEN = ['authorization_code', 'refresh_token', 'device_code', 'client_credentials'].map(
  (name) => GRANTS[name]?.type,
);
/** What would have us call another server. */
const ADDRESSES = ['jwks_uri', 'sector_identifier_uri'];

/** Throws where the file cannot be read, or holds no token. */
export async function openRegistration({ registration }: OAuthConfig): Promise<Registration> {
  if (registration === undefined) return { feature: { enabled: false }, validate: () => undefined };
  const token = (await readFile(registration.accessTokenFile, 'utf8')).trim();
  if (!BEARER.test(token))
    throw new Error(`${registration.accessTokenFile} holds no bearer token (RFC 6750)`);
  return {
    feature: { enabled: true, initialAccessToken: token },
    validate(context, key, value, metadata) {
      if (context === undefined) return;
      if (key === 'allowed_scopes') restrict(metadata, registration.scopes);
      else if (value !== undefined) throw refused(`${key} is not for clients to say`);
    },
  };
}

function restrict(metadata: Metadata, scopes: readonly string[]): void {
  if (metadata.allowed_scopes !== undefined) throw refused('allowed_scopes is not for clients to say');
  const asked = metadata.scope?.split(' ') ?? scopes;
  if (!asked.every((scope) => scopes.includes(scope))) throw refused('scope is more than may be registered');
  if (metadata.grant_types?.every((type) => TAKEN.includes(type)) === false)
    throw refused('grant_types has one that may not be registered');
  if (metadata.token_endpoint_auth_method === 'tls_client_auth')
    throw refused('token_endpoint_auth_method may not be registered');
  for (const name of ADDRESSES)
    if (metadata[name] !== undefined) throw refused(`${name} may not be registered`);
  metadata.allowed_scopes = asked;
  metadata.scope = asked.join(' ');
}

function refused(description: string): Error {
  return new errors.InvalidClientMetadata(description);
}
