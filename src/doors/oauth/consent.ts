/** What a person gives a client: in which login, and the grant of before, which lives on; clients that ask nobody are given it here. */
import { type Grant, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { Engine } from './parts.ts';
import type { GivenInLogin } from './people/accounts.ts';
import { saveGrant } from './people/consent.ts';

export async function existingGrant(ctx: KoaContextWithOIDC, engine: Engine): Promise<Grant | undefined> {
  await engine.people.rememberLogin(ctx);
  const { client, session, result, provider } = ctx.oidc;
  if (client === undefined || session === undefined) return undefined;
  const grantId = result?.consent?.grantId ?? session.grantIdFor(client.clientId);
  const found = grantId === undefined ? undefined : await provider.Grant.find(grantId);
  const grant = found?.accountId === session.accountId ? found : undefined;
  if (client.require_consent !== false) {
    if (grant !== undefined) await saveGrant(grant, engine.clock);
    return grant;
  }
  const given =
    grant ?? new provider.Grant({ clientId: client.clientId, accountId: session.accountId ?? '' });
  given.addOIDCScope([...ctx.oidc.requestParamScopes].join(' '));
  await saveGrant(given, engine.clock);
  return given;
}

type Given = { prototype: GivenInLogin & { save(): Promise<string> } };

/** A code belongs to the login that it was given in. */
export function bindLogins(
  { AuthorizationCode, DeviceCode }: Provider,
  { people }: Pick<Engine, 'people'>,
): void {
  for (const { prototype } of [AuthorizationCode, DeviceCode] as unknown as readonly Given[]) {
    const { save } = prototype;
    prototype.save = async function saveInLogin(this: Given['prototype']) {
      await people.bindLogin(Provider.ctx as KoaContextWithOIDC, this);
      return save.call(this);
    };
  }
}
