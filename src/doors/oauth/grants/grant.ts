/** A grant of our own: a handler below oidc-provider's token endpoint, which has authenticated the client. */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { errors } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import type { IssuedToken } from '../../../core/ports.ts';
import { decideScopes, type Scoped } from '../../../core/scopes.ts';
import { UnavailableError } from '../faults.ts';
import type { Engine } from '../parts.ts';

export type GrantModule = {
  /** The parameters that it reads; all others are left out. */
  readonly parameters: readonly string[];
  /** Those that may be repeated. */
  readonly repeatable?: readonly string[];
  /** Sets `ctx.body`, or throws an error of oidc-provider's. */
  handle(ctx: KoaContextWithOIDC, engine: Engine): Promise<void>;
};

type Parameter = string | readonly string[] | undefined;

/** Between the values of a parameter that was repeated, where the provider takes but one; none of them has it. */
export const BETWEEN = '\n';

/** A parameter without a value is none (RFC 6749 section 3.2). */
export function listOf(value: unknown): readonly string[] {
  const given = value as Parameter;
  const all = given === undefined ? [] : typeof given === 'string' ? given.split(BETWEEN) : given;
  return all.filter((name) => name !== '');
}

function wordsOf(text: unknown): readonly string[] {
  return typeof text === 'string' ? [...new Set(text.split(' '))].filter((name) => name !== '') : [];
}

/** `scope`, as it was sent; undefined where it was not, or was empty. */
export function scopesOf(ctx: KoaContextWithOIDC): readonly string[] | undefined {
  const { scope } = ctx.oidc.params ?? {};
  const names = wordsOf(scope);
  return names.length === 0 ? undefined : names;
}

/** `resource` (RFC 8707) and `audience` (RFC 8693) name the same. */
export function audienceOf(ctx: KoaContextWithOIDC): readonly string[] {
  const { resource, audience } = ctx.oidc.params ?? {};
  return [...new Set([...listOf(resource), ...listOf(audience)])];
}

/** Throws `invalid_scope` or `invalid_target`. */
export function scopedFor(
  ctx: Pick<KoaContextWithOIDC, 'oidc'>,
  engine: Engine,
  asked: Parameters<typeof decideScopes>[1],
): Scoped {
  const { client } = ctx.oidc;
  const scoped = decideScopes(
    {
      scopes: (client?.allowed_scopes as readonly string[] | undefined) ?? client?.scope?.split(' ') ?? [],
      accessTokenTtlSeconds: client?.access_token_ttl as number | undefined,
    },
    asked,
    engine.scoping,
  );
  if (!('refused' in scoped)) return scoped;
  if (scoped.refused === 'invalid_scope')
    throw new errors.InvalidScope(scoped.reason, asked.scopes?.join(' ') ?? '');
  throw new errors.InvalidTarget(scoped.reason);
}

/** `scope` as the client has it: IdentityServer's array, or RFC 9068's string. */
export function scopeClaim(ctx: Pick<KoaContextWithOIDC, 'oidc'>, scopes: readonly string[]) {
  return ctx.oidc.client?.scope_as === 'string' ? scopes.join(' ') : scopes;
}

/** The answer of RFC 6749 section 5.1. */
export function answer(
  ctx: KoaContextWithOIDC,
  issued: IssuedToken,
  more: Readonly<Record<string, unknown>> = {},
) {
  ctx.body = {
    access_token: issued.token,
    expires_in: issued.claims.exp - issued.claims.iat,
    token_type: issued.claims.cnf === undefined ? 'Bearer' : 'DPoP',
    ...more,
  };
}

/** A refusal of the core in OAuth's words. */
export async function inOAuthWords<T>(
  work: () => Promise<T>,
  /** For a token that is not good enough: of a grant (RFC 6749 section 5.2), of an exchange (RFC 8693 section 2.2.2). */
  word: 'invalid_grant' | 'invalid_request' = 'invalid_grant',
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    throw asOAuthError(error, word === 'invalid_grant');
  }
}

function asOAuthError(error: IssuerError, isGrant: boolean): Error {
  const reason = typeof error.shown?.reason === 'string' ? error.shown.reason : error.sentence;
  if (error.code === 'invalid_target' || error.code === 'single_audience')
    return new errors.InvalidTarget(reason);
  if (error.code === 'key_not_ready' || error.code === 'temporarily_unavailable')
    return new UnavailableError(error);
  if (error.code === 'server_error') return error;
  if (error.code === 'invalid_request') return new errors.InvalidRequest(reason);
  // Why it was refused is for the caller too.
  const told = isGrant ? new errors.InvalidGrant(error.detail) : new errors.InvalidRequest(reason);
  return Object.assign(told, { error_description: reason, error_detail: error.detail });
}
