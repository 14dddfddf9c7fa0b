/** What a token is for that rules decide on: one that was shown for it, by an exchange or as a grant. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { TokenRequest, Workload } from '../../../core/ports.ts';
import { IDENTITY_SCOPES } from '../../../core/scopes.ts';
import type { Engine } from '../parts.ts';
import { audienceOf, scopeClaim, scopedFor, scopesOf } from './grant.ts';

export type Decided = {
  readonly request: TokenRequest;
  readonly scopes: readonly string[] | undefined;
};

/** Throws `invalid_target` where nothing is asked for. */
export function requireAudience(ctx: KoaContextWithOIDC): readonly string[] {
  const audience = audienceOf(ctx);
  if (audience.length === 0) throw new errors.InvalidTarget('audience or resource is missing');
  return audience;
}

/** Within what the client and the resources are configured for. Throws `invalid_scope` and `invalid_target`. */
export function decidedRequest(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  workload: Workload,
  claims: NonNullable<TokenRequest['claims']>,
): Decided {
  const { audience, scopes } = scopedTo(ctx, engine, requireAudience(ctx), workload);
  const { client } = ctx.oidc;
  const known = engine.scoping.resources.filter((resource) => audience.includes(resource.audience));
  const lives = [
    ...known.map(({ ttlSeconds }) => ttlSeconds),
    client?.access_token_ttl as number | undefined,
  ];
  const scope = scopes === undefined ? {} : { scope: scopeClaim(ctx, scopes) };
  return {
    scopes,
    request: {
      audience,
      claims: { ...claims, client_id: client?.clientId, ...scope },
      type: 'at+jwt',
      longestTtlSeconds: Math.min(...lives.map((life) => life ?? Infinity)),
      algorithm: known.find(({ algorithm }) => algorithm !== undefined)?.algorithm,
    },
  };
}

type Scoped = { readonly audience: readonly string[]; readonly scopes: readonly string[] | undefined };

/**
 * Scopes are those of the resources that are named, and no more than the token that was shown has, where it
 * has any. An audience that only the rules know, and a client without scopes there, are left to the rules.
 */
function scopedTo(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  audience: readonly string[],
  { assertion }: Workload,
): Scoped {
  const asked = plainScopes(ctx);
  const known = engine.scoping.resources.filter((resource) => audience.includes(resource.audience));
  const allowed = (ctx.oidc.client?.allowed_scopes as readonly string[] | undefined) ?? [];
  const hasScopes = known.some(({ scopes }) => scopes.some((name) => allowed.includes(name)));
  if (known.length === 0 || (asked === undefined && !hasScopes)) return { audience, scopes: asked };
  const names = known.map((resource) => resource.audience);
  const scoped = scopedFor(ctx, engine, { scopes: asked, audience: names, isPerson: false });
  const had = namesOf(assertion?.claims.scope);
  const scopes = scoped.scopes.filter((name) => had?.includes(name) ?? true);
  if (scopes.length === 0)
    throw new errors.InvalidScope('the token that was shown has none of these', scoped.scopes.join(' '));
  const isLeft = (name: string) =>
    known.every((each) => each.audience !== name || each.scopes.some((one) => scopes.includes(one)));
  return { audience: audience.filter(isLeft), scopes };
}

/** Those that are asked for, of those that the client may have where no person is there. Throws `invalid_scope`. */
function plainScopes(ctx: KoaContextWithOIDC): readonly string[] | undefined {
  const asked = scopesOf(ctx);
  const allowed = (ctx.oidc.client?.allowed_scopes as readonly string[] | undefined) ?? [];
  const refused = asked?.find((name) => !allowed.includes(name) || IDENTITY_SCOPES.includes(name));
  if (refused !== undefined) throw new errors.InvalidScope('the client may not have this scope', refused);
  return asked;
}

function namesOf(scope: unknown): readonly unknown[] | undefined {
  if (typeof scope === 'string') return scope.split(' ');
  return Array.isArray(scope) ? scope : undefined;
}
