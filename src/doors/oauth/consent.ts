/** The grant that somebody gave a client before, which lives on; clients that ask nobody are given it here. */
import type { Grant, KoaContextWithOIDC } from 'oidc-provider';
import type { Engine } from './parts.ts';
import { saveGrant } from './people/consent.ts';

export async function existingGrant(ctx: KoaContextWithOIDC, engine: Engine): Promise<Grant | undefined> {
  await engine.people.rememberLogin(ctx);
  const { client, session, result, provider } = ctx.oidc;
  if (client === undefined || session === undefined) return undefined;
  const grantId = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  const found = grantId === undefined ? undefined : await provider.Grant.find(grantId);
  const grant = found?.accountId === session.accountId ? found : undefined;
  if (client.require_consent !== false) {
    if (grant !== undefined) await saveGrant(grant);
    return grant;
  }
  const given =
    grant ?? new provider.Grant({ clientId: client.clientId, accountId: session.accountId ?? '' });
  given.addOIDCScope([...ctx.oidc.requestParamScopes].join(' '));
  await saveGrant(given);
  return given;
}
