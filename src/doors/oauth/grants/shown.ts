/** A token that is shown for another. One of our own has to be good still, and not only be signed. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { AssertionPeer } from '../../../core/ports.ts';
import type { Engine } from '../parts.ts';

/** Throws `invalid_grant` for an access token of ours that was revoked, or whose person or client is gone. */
export async function shownToken(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  token: string,
): Promise<AssertionPeer> {
  const { identifier } = engine.issuer;
  if (isOurs(token, identifier)) await assertGood(ctx, engine, token);
  const audiences = [identifier, `${identifier}${engine.config.path}/token`];
  return { kind: 'assertion', token, audiences, client: ctx.oidc.client?.clientId };
}

/** By its own word: what is no access token of ours is left to the attestor, which proves it. */
function isOurs(token: string, identifier: string): boolean {
  try {
    return decodeProtectedHeader(token).typ === 'at+jwt' && decodeJwt(token).iss === identifier;
  } catch {
    return false;
  }
}

async function assertGood(ctx: KoaContextWithOIDC, { people }: Engine, token: string): Promise<void> {
  const { AccessToken, ClientCredentials } = ctx.oidc.provider;
  const person = await AccessToken.find(token);
  const found = person ?? (await ClientCredentials.find(token));
  if (found === undefined) throw new errors.InvalidGrant('an access token that is good no more');
  if (person !== undefined && (await people.findAccount(ctx, person.accountId, person)) === undefined)
    throw new errors.InvalidGrant('an access token of nobody');
}
