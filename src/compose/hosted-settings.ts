/** What an issuer that a door has made is like: its OAuth settings, and what it decides of tokens for exchange. */
import type { Config } from '../config.ts';
import type { Policy } from '../core/policy.ts';
import type { Decision, TokenRequest, Workload } from '../core/ports.ts';
import type { ClientConfig, OAuthConfig } from '../doors/oauth/settings.ts';
import type { HostedSpec } from '../doors/vultr/parts.ts';
import type { ClientSettings, VultrConfig } from '../doors/vultr/settings.ts';
import { API_CLIENT, clientsOf } from '../doors/vultr/token.ts';

const SUBJECT_MAX = 255;

/** People are those of `doors.oauth`, where it is configured: its title, its identity providers, its limits. */
export function oauthSettings(config: Config, block: VultrConfig, spec: HostedSpec): OAuthConfig {
  const { people = {}, trustedProxies = [] } = (config.doors.oauth ?? {}) as Partial<OAuthConfig>;
  const named = spec.provider === undefined ? [] : clientsOf({ config: block }, spec.provider);
  const { accessTokenTtl, refreshTokenTtl, sessionTtl, resources } = block;
  return {
    path: '',
    clients: [...named.map(clientConfig), API_KEYS],
    resources: resources.map(({ audience, scopes }) => ({
      audience,
      scopes: [...scopes],
      introspectedBy: [],
    })),
    ...{ accessTokenTtl, refreshTokenTtl, sessionTtl, deviceCodeTtl: 600, deviceInterval: 5 },
    ...{ clientAssertionTtl: 300, trustedProxies },
    people,
  };
}

const COMMON = {
  ...{ postLogoutRedirectUris: [], corsOrigins: [], consent: true, dpop: false, tokenUrlAudience: false },
  ...{ scopeAs: 'string' as const, public: false, pkce: false },
};
/** Nothing on a listener has this selector: an API key speaks for such a client, and nobody else. */
const BY_API_KEY = { match: ['api:key'] };
const API_KEYS: ClientConfig = {
  ...{ ...COMMON, ...BY_API_KEY, id: API_CLIENT, name: API_CLIENT },
  ...{ grants: ['token_exchange'], scopes: [], redirectUris: [] },
};

function clientConfig(client: ClientSettings): ClientConfig {
  const { id, name, secrets, redirectUris, scopes, consent } = client;
  const isPublic = client.public;
  const grants = ['authorization_code', 'refresh_token', ...(isPublic ? [] : ['token_exchange'])];
  return {
    ...COMMON,
    ...{ id, name, grants, consent, public: isPublic, pkce: isPublic },
    ...{ scopes: [...scopes], redirectUris: [...redirectUris] },
    ...(secrets === undefined ? (isPublic ? {} : BY_API_KEY) : { secrets: [...secrets] }),
  };
}

/** An exchange gives a token for the provider itself, or one of the resources, to whoever a trusted issuer vouches for. */
export function exchangePolicy(block: VultrConfig, { identifier }: HostedSpec): Policy {
  const audiences = [identifier, ...block.resources.map(({ audience }) => audience)];
  return {
    wanted: new Set(['jwt:issuer', 'jwt:subject']),
    longestTtlSeconds: block.accessTokenTtl,
    algorithms: ['RS256'],
    vouch: () => undefined,
    restsOn: () => [],
    decide: (workload, request) => decide(workload, request, audiences, block.accessTokenTtl),
  };
}

function decide(
  { facts }: Workload,
  { audience, claims = {} }: TokenRequest,
  audiences: readonly string[],
  ttlSeconds: number,
): Decision {
  const refuse = (code: 'access_denied' | 'invalid_target', reason: string): Decision => ({
    ...{ allowed: false, code, reason, nearest: [], shown: [] },
  });
  const issuer = facts['jwt.issuer'];
  // Whoever is vouched for by another is nobody who signs in here.
  const subject = `${issuer}:${facts['jwt.subject']}`;
  if (issuer === undefined || facts['jwt.subject'] === undefined || subject.length > SUBJECT_MAX)
    return refuse('access_denied', 'its sub can be nobody here');
  if (audience.length !== 1 || !audiences.includes(audience[0] ?? ''))
    return refuse('invalid_target', 'audience is neither the provider nor a resource of it');
  return {
    ...{ allowed: true, rule: `issuer ${issuer}`, subject, audience, ttlSeconds },
    ...{ claims: { ...claims, idp: issuer }, algorithm: 'RS256', type: 'at+jwt' },
  };
}
