/** What a door is handed that makes issuers while the server runs. */
import type { Context } from 'koa';
import type { Config } from '../config.ts';
import { ERROR_STATUS } from '../doors/door.ts';
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
    'cacheForSeconds' | 'showError' | 'hostIssuers' | 'fetchPublishedKeys' | 'publicKeys' | 'networkOf'
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
    showError: (context, code) => showError(people.title ?? new URL(config.issuer).host, context, code),
    hostIssuers: (block, hooks) => host(given, block, hooks),
  };
}

const SHOWN = {
  not_found: 'What you wanted to sign in to is not here any more. Go back to the application.',
  temporarily_unavailable: 'The server is busy or cannot reach its data. Try again in a moment.',
};

async function showError(brand: string, context: Context, code: keyof typeof SHOWN): Promise<void> {
  const [{ sendPage }, { errorPage }] = await Promise.all([
    import('../doors/oauth/people/page.ts'),
    import('../doors/oauth/people/pages/error.ts'),
  ]);
  sendPage(context, brand, errorPage({ text: SHOWN[code] }), ERROR_STATUS[code]);
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
