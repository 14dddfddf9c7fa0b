/** A token that is shown for another. One of our own has to be good still, and not only be signed. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { AssertionPeer, Claims } from '../../../core/ports.ts';
import { claimsOf } from '../access-tokens.ts';
import type { Engine } from '../parts.ts';

/**
 * With `mayBeOfClient` an access token of ours need not be for us: one counts that was given to the client, or
 * that the client was called with as a resource. Throws `invalid_grant` for an access token of ours that was revoked, or whose
 * person or client is gone.
 */
export async function shownToken(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  token: string,
  { mayBeOfClient }: { readonly mayBeOfClient: boolean },
): Promise<AssertionPeer> {
  const { identifier } = engine.issuer;
  const own = isOurs(token, identifier) ? await goodClaims(ctx, engine, token) : undefined;
  const audiences = [identifier, `${identifier}${engine.config.path}/token`];
  return {
    kind: 'assertion',
    token,
    audiences: mayBeOfClient && own !== undefined ? [...audiences, ...ofClient(ctx, engine, own)] : audiences,
    client: ctx.oidc.client?.clientId,
  };
}

/** By its own word: what is no access token of ours is left to the attestor, which proves it. */
function isOurs(token: string, identifier: string): boolean {
  try {
    return decodeProtectedHeader(token).typ === 'at+jwt' && decodeJwt(token).iss === identifier;
  } catch {
    return false;
  }
}

async function goodClaims(ctx: KoaContextWithOIDC, { people }: Engine, token: string) {
  const { AccessToken, ClientCredentials } = ctx.oidc.provider;
  const person = await AccessToken.find(token);
  const found = person ?? (await ClientCredentials.find(token));
  if (found === undefined) throw new errors.InvalidGrant('an access token that is good no more');
  if (person !== undefined && (await people.findAccount(ctx, person.accountId, person)) === undefined)
    throw new errors.InvalidGrant('an access token of nobody');
  return claimsOf(found);
}

/** What of its `aud` this client may show it for. Whoever has a token can say that it is a public client. */
function ofClient({ oidc: { client } }: KoaContextWithOIDC, { config }: Engine, { aud, client_id }: Claims) {
  if (client === undefined || client.clientAuthMethod === 'none') return [];
  const { clientId } = client;
  return [aud]
    .flat()
    .filter(
      (name) =>
        client_id === clientId ||
        config.resources.some((each) => each.audience === name && each.introspectedBy.includes(clientId)),
    );
}
