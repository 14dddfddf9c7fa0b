/** What the provider leaves open in a request for authorization: scopes that nobody knows, and resources. */
import { decodeJwt } from 'jose';
import { type Client, errors, type KoaContextWithOIDC } from 'oidc-provider';
import { audienceOf, scopedFor, scopesOf } from './grants/grant.ts';
import { CARRIED_ACR_VALUES } from './parameters.ts';
import type { Engine } from './parts.ts';
import { assertAcrValues } from './people/acr-values.ts';

/**
 * Throws `invalid_scope`, `invalid_target`, and `invalid_request` for `acr_values` that cannot be. A device
 * that asks for no scope gets all it may have.
 */
export function validateParameters(ctx: KoaContextWithOIDC, client: Client, engine: Engine): void {
  const { params } = ctx.oidc;
  if (params === undefined) return;
  putBackAcrValues(ctx, params);
  const allowed = (client.allowed_scopes as readonly string[] | undefined) ?? client.scope?.split(' ') ?? [];
  const pushed = ctx.oidc.entities.PushedAuthorizationRequest as { readonly request?: string } | undefined;
  const sent = pushed?.request === undefined ? { ...ctx.query, ...ctx.oidc.body } : decodeJwt(pushed.request);
  const isTwice = (name: string) => Array.isArray((sent as Readonly<Record<string, unknown>>)[name]);
  if (Object.keys(sent).some(isTwice)) throw new errors.InvalidRequest('a parameter is there twice');
  // As it was sent: the provider drops scopes that it does not know.
  const { scope } = { scope: params.scope, ...sent } as { readonly scope?: unknown };
  const asked = typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : [];
  if (asked.length === 0 && scopesOf(ctx) === undefined) {
    if (ctx.oidc.route !== 'device_authorization') throw new errors.InvalidScope('scope is missing', '');
    params.scope = allowed.join(' ');
  }
  // The provider wants prompt=consent with offline_access; IdentityServer's clients do not send it.
  if (asksOffline(scope) && client.grantTypeAllowed('refresh_token') && !asksOffline(params.scope))
    params.scope = `${params.scope} offline_access`;
  const scopes = asked.length === 0 ? scopesOf(ctx) : asked;
  scopedFor(ctx, engine, { scopes, audience: audienceOf(ctx), isPerson: true });
}

/** After the provider has looked for `openid`; what is pushed is looked at once more. */
function putBackAcrValues({ oidc }: KoaContextWithOIDC, params: Record<string, unknown>): void {
  const values = params[CARRIED_ACR_VALUES] ?? params.acr_values;
  assertAcrValues(values);
  if (oidc.route === 'pushed_authorization_request') return;
  params[CARRIED_ACR_VALUES] = undefined;
  params.acr_values = values;
}

function asksOffline(scope: unknown): boolean {
  return typeof scope === 'string' && scope.split(' ').includes('offline_access');
}
