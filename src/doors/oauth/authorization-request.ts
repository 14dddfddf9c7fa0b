/** What the provider leaves open in a request for authorization: scopes that nobody knows, and resources. */
import { decodeJwt } from 'jose';
import { type Client, errors, type KoaContextWithOIDC } from 'oidc-provider';
import { audienceOf, scopedFor, scopesOf } from './grants/grant.ts';
import type { Engine } from './parts.ts';

/** Throws `invalid_scope` and `invalid_target`. A device that asks for no scope gets all it may have. */
export function validateParameters(ctx: KoaContextWithOIDC, client: Client, engine: Engine): void {
  const { params } = ctx.oidc;
  if (params === undefined) return;
  const allowed = (client.allowed_scopes as readonly string[] | undefined) ?? client.scope?.split(' ') ?? [];
  if (scopesOf(ctx) === undefined) {
    const wanted = String({ ...ctx.query, ...ctx.oidc.body }.scope ?? '');
    const reason = wanted === '' ? 'scope is missing' : 'none of these scopes is known here';
    if (ctx.oidc.route !== 'device_authorization') throw new errors.InvalidScope(reason, wanted);
    params.scope = allowed.join(' ');
  }
  const pushed = ctx.oidc.entities.PushedAuthorizationRequest as { readonly request?: string } | undefined;
  const sent = pushed?.request === undefined ? { ...ctx.query, ...ctx.oidc.body } : decodeJwt(pushed.request);
  // As it was sent: the provider drops scopes that it does not know.
  const { scope } = { scope: params.scope, ...sent } as { readonly scope?: unknown };
  // The provider wants prompt=consent with offline_access; IdentityServer's clients do not send it.
  if (asksOffline(scope) && client.grantTypeAllowed('refresh_token') && !asksOffline(params.scope))
    params.scope = `${params.scope} offline_access`;
  const asked = typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : [];
  const scopes = asked.length === 0 ? scopesOf(ctx) : asked;
  scopedFor(ctx, engine, { scopes, audience: audienceOf(ctx), isPerson: true });
}

function asksOffline(scope: unknown): boolean {
  return typeof scope === 'string' && scope.split(' ').includes('offline_access');
}
