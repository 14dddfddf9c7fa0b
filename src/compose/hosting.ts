/** What a door is handed that makes issuers while the server runs. */
import type { Context } from 'koa';
import type { Config } from '../config.ts';
import type { OAuthConfig } from '../doors/oauth/settings.ts';
import type { OAuthContext } from '../doors/oauth.ts';
import type { HostHooks, IssuerHost, VultrContext } from '../doors/vultr/parts.ts';
import type { VultrConfig } from '../doors/vultr/settings.ts';
import type { DoorsParts } from './doors.ts';
import { cacheForSeconds } from './keys.ts';
import { oauthAudit } from './oauth.ts';

type Given = Pick<DoorsParts, 'keys' | 'clock' | 'records' | 'observers' | 'kubernetes'> & {
  readonly config: Config;
  readonly oauth: Pick<OAuthContext, 'secret'>;
};

export async function hostingContext(
  given: Given,
): Promise<
  Pick<
    VultrContext,
    'cacheForSeconds' | 'showGone' | 'hostIssuers' | 'fetchPublishedKeys' | 'publicKeys' | 'networkOf'
  >
> {
  const { config } = given;
  const [{ fetchPublishedKeys, publicKeys }, { networkOf }, { createAddressOf }] = await Promise.all([
    import('../attestors/jwks-once.ts'),
    import('../doors/oauth/people/attempts.ts'),
    import('../doors/oauth/address.ts'),
  ]);
  const { trustedProxies = [], people = {} } = (config.doors.oauth ?? {}) as Partial<OAuthConfig>;
  const addressOf = createAddressOf(trustedProxies);
  return {
    ...{ fetchPublishedKeys, publicKeys },
    networkOf: (request) => networkOf(addressOf(request)),
    cacheForSeconds: cacheForSeconds(config),
    showGone: (context) => showGone(people.title ?? new URL(config.issuer).host, context),
    hostIssuers: (block, hooks) => host(given, block, hooks),
  };
}

async function showGone(brand: string, context: Context): Promise<void> {
  const [{ sendPage }, { errorPage }] = await Promise.all([
    import('../doors/oauth/people/page.ts'),
    import('../doors/oauth/people/pages/error.ts'),
  ]);
  const text = 'What you wanted to sign in to is not here any more. Go back to the application.';
  sendPage(context, brand, errorPage({ text }), 404);
}

async function host(
  { config, keys, clock, records, observers, kubernetes, oauth }: Given,
  block: VultrConfig,
  hooks: HostHooks,
): Promise<IssuerHost> {
  const { openHostedIssuers } = await import('./hosted-issuers.ts');
  const { warn, recorder, storeFault, ringChanged, onKeysFetched } = observers;
  const audit = (issuer: string) => oauthAudit(observers, issuer);
  const own = { identifier: config.issuer, keys: () => keys.live.current.keys };
  return openHostedIssuers(
    {
      ...{ config, block, clock, recorder, warn, store: keys.store, onFault: storeFault },
      ...{ records: await records(), secret: await oauth.secret('oauth-secret'), audit, ringChanged },
      attestor: { clock, kubernetes, warn, own, onKeysFetched },
    },
    hooks,
  );
}
