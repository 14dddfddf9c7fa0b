/** Who may look at a token (RFC 7662 section 2.1) and who may end it (RFC 7009 section 2.1). */
import type { Client, KoaContextWithOIDC } from 'oidc-provider';
import { claimsOf, scopeText } from './access-tokens.ts';
import type { Engine } from './parts.ts';

type Token = { readonly clientId?: string | undefined };

/** The client that it was made for, and the clients that stand for a resource in its `aud`. */
export function introspectionPolicy({ config }: Engine) {
  return (_ctx: unknown, client: Client, token: Token): boolean => {
    if (client.clientAuthMethod === 'none') return false;
    if (token.clientId === client.clientId) return true;
    const audience = [claimsOf(token)?.aud ?? []].flat();
    return config.resources.some(
      (resource) => audience.includes(resource.audience) && resource.introspectedBy.includes(client.clientId),
    );
  };
}

export function revocationPolicy(_ctx: unknown, client: Client, token: Token): boolean {
  return token.clientId === client.clientId;
}

/** All claims of a token, and not only those that the provider knows of; none where its person is gone. */
export async function completeIntrospection(ctx: KoaContextWithOIDC, { people }: Engine): Promise<void> {
  const body = ctx.body as Readonly<Record<string, unknown>> | undefined;
  if (body?.active !== true) return;
  const { AccessToken, ClientCredentials, RefreshToken } = ctx.oidc.entities;
  const claims = claimsOf(AccessToken ?? ClientCredentials);
  const { accountId } = AccessToken ?? RefreshToken ?? {};
  const source = RefreshToken ?? { authTime: claims?.auth_time };
  if (accountId !== undefined && (await people.findAccount(ctx, accountId, source)) === undefined) {
    ctx.body = { active: false };
    return;
  }
  if (claims !== undefined) ctx.body = { ...body, ...claims, scope: scopeText(claims.scope) };
}
