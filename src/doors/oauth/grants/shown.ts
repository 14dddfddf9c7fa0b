/** A token that is shown for another. One of our own has to be good still, and not only be signed. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import type { AssertionPeer, Claims, Workload } from '../../../core/ports.ts';
import { claimsOf } from '../access-tokens.ts';
import { ownNames } from '../client-proofs.ts';
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
  const { identifier } = engine.issuer;
  const { client } = ctx.oidc;
  const own = isOurs(token, identifier) ? await goodClaims(ctx, engine, token) : undefined;
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
  if (found === undefined) throw refusal('it is good no more');
  if (person !== undefined && (await people.findAccount(ctx, person.accountId, person)) === undefined)
    throw refusal('its person is gone');
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
