/** A token that is shown for another. One of our own has to be good still, and not only be signed. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { AssertionPeer, Claims } from '../../../core/ports.ts';
import { goodClaims, isOurs } from '../own-tokens.ts';
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
  const isOwn = isOurs(token, engine);
  const own = isOwn ? await goodClaims(token, engine) : undefined;
  if (isOwn && own === undefined) throw new errors.InvalidGrant('an access token that is good no more');
  const audiences = [identifier, `${identifier}${engine.config.path}/token`];
  return {
    kind: 'assertion',
    token,
    audiences: mayBeOfClient && own !== undefined ? [...audiences, ...ofClient(ctx, engine, own)] : audiences,
    client: ctx.oidc.client?.clientId,
  };
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
