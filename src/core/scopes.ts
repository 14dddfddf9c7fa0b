/**
 * What an OAuth client's token is for: its scopes (RFC 6749 section 3.3) and its audience
 * (RFC 8707 section 2, RFC 9068 section 3). Pure.
 */
import type { Algorithm } from './ports.ts';

/** Scopes that ask for claims of a person, or for a refresh token (OpenID Connect Core 1.0 sections 5.4 and 11). */
export const IDENTITY_SCOPES: readonly string[] = [
  'openid',
  'profile',
  'email',
  'address',
  'phone',
  'offline_access',
];

/** A protected resource (RFC 6749 section 1.1) and the scopes that it knows. */
export type Resource = {
  readonly audience: string;
  readonly scopes: readonly string[];
  readonly ttlSeconds?: number | undefined;
  readonly algorithm?: Algorithm | undefined;
};

export type ScopeRequest = {
  /** Undefined: everything that the client may have. */
  readonly scopes: readonly string[] | undefined;
  /** `resource` or `audience`; none: those that the scopes belong to. */
  readonly audience: readonly string[];
  /** False where no person is there: identity scopes are then out of the question. */
  readonly isPerson: boolean;
};

export type Scoped = {
  readonly scopes: readonly string[];
  readonly audience: readonly string[];
  readonly ttlSeconds: number;
  readonly algorithm: Algorithm;
};

export type ScopeRefusal = { readonly refused: 'invalid_scope' | 'invalid_target'; readonly reason: string };

export type ScopedClient = {
  /** Every scope that it may ask for. */
  readonly scopes: readonly string[];
  readonly accessTokenTtlSeconds?: number | undefined;
};

export type ScopeContext = {
  readonly issuer: string;
  readonly resources: readonly Resource[];
  readonly ttlSeconds: number;
};

const isIdentity = (scope: string) => IDENTITY_SCOPES.includes(scope);

export function decideScopes(
  client: ScopedClient,
  asked: ScopeRequest,
  context: ScopeContext,
): Scoped | ScopeRefusal {
  const allowed = client.scopes.filter((scope) => asked.isPerson || !isIdentity(scope));
  const wanted = [...new Set(asked.scopes ?? allowed)];
  const refused = wanted.find((scope) => !allowed.includes(scope));
  if (refused !== undefined)
    return { refused: 'invalid_scope', reason: `the client may not have ${refused}` };
  const known = context.resources.filter(({ scopes }) => scopes.some((scope) => allowed.includes(scope)));
  const unknown = asked.audience.find((name) => !known.some(({ audience }) => audience === name));
  if (unknown !== undefined)
    return { refused: 'invalid_target', reason: 'the client has no scope of that resource' };
  const resources = known.filter(
    ({ audience, scopes }) =>
      scopes.some((scope) => wanted.includes(scope)) &&
      (asked.audience.length === 0 || asked.audience.includes(audience)),
  );
  if (resources.length === 0 && asked.audience.length > 0)
    return { refused: 'invalid_target', reason: 'none of the scopes belongs to that resource' };
  const covered = resources.flatMap(({ scopes }) => scopes);
  const ttls = resources.flatMap(({ ttlSeconds }) => ttlSeconds ?? []);
  return {
    scopes:
      asked.audience.length === 0
        ? wanted
        : wanted.filter((scope) => isIdentity(scope) || covered.includes(scope)),
    audience: resources.length === 0 ? [context.issuer] : resources.map(({ audience }) => audience),
    ttlSeconds: Math.min(client.accessTokenTtlSeconds ?? context.ttlSeconds, ...ttls),
    algorithm: resources.find(({ algorithm }) => algorithm !== undefined)?.algorithm ?? 'RS256',
  };
}
