/**
 * RFC 6749 section 4.3, for clients that are allowed it by name. RFC 9700 section 2.4 says not to use
 * it: the client sees the password, and the one-time code of whoever has a second factor.
 */
import { errors } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import { withFaultsNamed } from '../faults.ts';
import { provenKey } from './bound.ts';
import { audienceOf, type GrantModule, scopedFor, scopesOf } from './grant.ts';

export const grant: GrantModule = {
  parameters: ['username', 'password', 'scope', 'acr_values', 'resource', 'audience', 'otp'],
  repeatable: ['resource', 'audience'],
  async handle(ctx, engine) {
    const { username, password, acr_values: acrValues, otp } = ctx.oidc.params ?? {};
    if (typeof username !== 'string' || typeof password !== 'string')
      throw new errors.InvalidRequest('username and password are needed');
    const { client, provider } = ctx.oidc;
    if (client === undefined) throw new errors.InvalidClient('no client', '');
    const jkt = await provenKey(ctx);
    const { scopes } = scopedFor(ctx, engine, { scopes: scopesOf(ctx), audience: [], isPerson: true });
    const login = await check(engine.people.passwords.check, username, password, {
      client,
      address: ctx.ip,
      acrValues: acrValues as string | undefined,
      otp: otp as string | undefined,
    });
    if (login === undefined) throw new errors.InvalidGrant('invalid_username_or_password');
    ctx.state.login = { ...login, accountId: login.sub };
    const scope = scopes.join(' ');
    const given = new provider.Grant({ clientId: client.clientId, accountId: login.sub });
    given.addOIDCScope(scope);
    const grantId = await given.save();
    const common = {
      client,
      accountId: login.sub,
      grantId,
      gty: 'password',
      scope,
      sessionUid: login.sessionUid,
    };
    const bound = jkt === undefined ? {} : { jkt };
    const token = new provider.AccessToken({ ...common, ...bound } as never);
    ctx.oidc.entity('AccessToken', token);
    const accessToken = await token.save();
    const isOffline = client.grantTypeAllowed('refresh_token') && scopes.includes('offline_access');
    const { acr, authTime } = login;
    const audience = audienceOf(ctx);
    const refresh = isOffline
      ? new provider.RefreshToken({
          ...{ ...common, amr: [...login.amr], acr, authTime, rotations: 0 },
          // RFC 9449 section 5: a client that proves itself needs no key for it.
          ...(client.clientAuthMethod === 'none' ? bound : {}),
          ...(audience.length === 0 ? {} : { resource: audience }),
        } as never)
      : undefined;
    ctx.body = {
      access_token: accessToken,
      expires_in: token.expiration,
      token_type: jkt === undefined ? 'Bearer' : 'DPoP',
      refresh_token: await refresh?.save(),
      scope: token.scope,
    };
  },
};

/** Attempts are limited: RFC 6749 has no word for that but invalid_grant. */
async function check<A extends unknown[], R>(ask: (...given: A) => Promise<R>, ...given: A): Promise<R> {
  try {
    return await withFaultsNamed(() => ask(...given));
  } catch (error) {
    if (error instanceof IssuerError && error.code === 'too_many_requests')
      throw new errors.InvalidGrant('too many attempts; try again later');
    throw error;
  }
}
