/** A token that is shown for another. One of our own has to be good still, and not only be signed. */
import type { KoaContextWithOIDC } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import type { AssertionPeer, Claims, Workload } from '../../../core/ports.ts';
import { ownNames } from '../client-proofs.ts';
import { goodClaims, isOurs } from '../own-tokens.ts';
import type { Engine } from '../parts.ts';

export type Shown = {
  readonly peer: AssertionPeer;
  /** An access token of ours, of which it was found whom it may be shown by. */
  readonly isOfClient: boolean;
};

/**
 * With `mayBeOfClient` an access token of ours need not be for us: one counts that was given to the client, or
 * that the client was called with as a resource. Throws `invalid_assertion` for an access token of ours that
 * was revoked, or whose person or client is gone.
 */
export async function shownToken(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  token: string,
  { mayBeOfClient }: { readonly mayBeOfClient: boolean },
): Promise<Shown> {
  const { client } = ctx.oidc;
  const isOwn = isOurs(token, engine);
  const own = isOwn ? await goodClaims(token, engine) : undefined;
  if (isOwn && own === undefined) throw refusal('it is good no more');
  const isOfClient = mayBeOfClient && own !== undefined;
  const ours = ownNames(engine, client?.token_url_audience === true);
  const audiences = isOfClient ? [...ours, ...ofClient(ctx, engine, own)] : ours;
  return { peer: { kind: 'assertion', token, audiences, client: client?.clientId }, isOfClient };
}

/** Whoever is named beside us could hand it on to us. Throws `invalid_assertion`. */
export function assertForUsAlone({ assertion }: Workload, { isOfClient }: Pick<Shown, 'isOfClient'>): void {
  if (!isOfClient && [assertion?.claims.aud].flat().length !== 1)
    throw refusal('it is for others too: its aud names several');
}

function refusal(reason: string): IssuerError {
  return new IssuerError('invalid_assertion', reason, { shown: { reason } });
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
