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

export function listOf(value: unknown): readonly string[] {
  const given = value as Parameter;
  return given === undefined ? [] : typeof given === 'string' ? [given] : given;
}

/** `scope`, as it was sent; undefined where it was not, or was empty. */
export function scopesOf(ctx: KoaContextWithOIDC): readonly string[] | undefined {
  const { scope } = ctx.oidc.params ?? {};
  const names = typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : [];
  return names.length === 0 ? undefined : names;
}

/** `resource` (RFC 8707) and `audience` (RFC 8693) name the same. */
export function audienceOf(ctx: KoaContextWithOIDC): readonly string[] {
  const { resource, audience } = ctx.oidc.params ?? {};
  return [...new Set([...listOf(resource), ...listOf(audience)])];
}

/**
 * The scopes of a token that the rules decide on: those that are asked for, of those that the client may
 * have. Throws `invalid_scope`.
 */
export function plainScopes({ oidc }: KoaContextWithOIDC): readonly string[] | undefined {
  const { scope } = (oidc.body ?? {}) as { readonly scope?: unknown };
  const asked = typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : [];
  const allowed = (oidc.client?.allowed_scopes as readonly string[] | undefined) ?? [];
  const refused = asked.find((name) => !allowed.includes(name));
  if (refused !== undefined) throw new errors.InvalidScope('the client may not have this scope', refused);
  return asked.length === 0 ? undefined : asked;
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
    token_type: 'Bearer',
    ...more,
  };
}

/** A refusal of the core in OAuth's words. */
export async function inOAuthWords<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof IssuerError)) throw error;
    throw asOAuthError(error);
  }
}

function asOAuthError(error: IssuerError): Error {
  const reason = typeof error.shown?.reason === 'string' ? error.shown.reason : error.sentence;
  if (error.code === 'invalid_target' || error.code === 'single_audience')
    return new errors.InvalidTarget(reason);
  if (error.code === 'key_not_ready' || error.code === 'temporarily_unavailable')
    return new UnavailableError(error);
  if (error.code === 'server_error') return error;
  if (error.code === 'invalid_request') return new errors.InvalidRequest(reason);
  // Why it was refused is for the caller too.
  return Object.assign(new errors.InvalidGrant(error.detail), { error_description: reason });
}
