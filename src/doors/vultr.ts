/**
 * Vultr's OIDC API (`/v2/oidc`): providers, each an issuer with a key ring, people and tokens of its own, and
 * issuers of others whose tokens are exchanged there.
 */
import { type ErrorCode, IssuerError } from '../core/errors.ts';
import { type Door, ERROR_STATUS } from './door.ts';
import { adminRoutes } from './vultr/admin-routes.ts';
import { shapeError } from './vultr/answers.ts';
import { openApiKeys } from './vultr/api-keys.ts';
import { issuerRoutes } from './vultr/issuer-routes.ts';
import { type Issuers, isEnded, openIssuers } from './vultr/issuers.ts';
import { SECURITY_SCHEMES } from './vultr/operations.ts';
import type { HostHooks, IssuerHost, Vultr, VultrContext } from './vultr/parts.ts';
import { providerRoutes } from './vultr/provider-routes.ts';
import { openProviders, type Providers, specOf, unlinked } from './vultr/providers.ts';
import type { VultrConfig } from './vultr/settings.ts';
import { API_CLIENT } from './vultr/token.ts';

export { config } from './vultr/settings.ts';

const ERRORS: Readonly<Record<ErrorCode, number>> = { ...ERROR_STATUS, peer_unproven: 401 };

/** Throws `server_error` where a client cannot be. */
export async function open(block: VultrConfig, context: VultrContext): Promise<readonly Door[]> {
  if (block.clients.some(({ id }) => id === API_CLIENT))
    throw new IssuerError('server_error', `doors.vultr: ${API_CLIENT} is the client of API keys`);
  const { issuer, records: openRecords, hostIssuers } = context;
  const base = `${issuer.identifier}/v2/oidc`;
  const records = await openRecords();
  const vultr: Vultr = { ...context, config: block, records, realm: base, base };
  const keys = openApiKeys(vultr);
  const issuers = openIssuers(vultr);
  let host: IssuerHost | undefined;
  const hosted = () => host as IssuerHost;
  const providers = openProviders(vultr, issuers, hosted);
  host = await hostIssuers(block, hooks(vultr, providers, issuers));
  const parts = { vultr, keys, providers, issuers, host };
  const tidying = providers
    .tidy()
    .catch((error: Error) => context.warn(`doors.vultr: what was begun is not ended: ${error.message}`));
  const close = async () => {
    await tidying;
    await host.close();
  };
  const routes = [...providerRoutes(parts), ...issuerRoutes(parts)];
  return [
    {
      ...{ name: 'vultr', surface: 'public', routes, close, base: new URL(base).pathname },
      ...{ errorStatus: ERRORS, shapeError, securitySchemes: SECURITY_SCHEMES },
    },
    { name: 'vultr', surface: 'admin', routes: adminRoutes(parts) },
  ];
}

function hooks(vultr: Vultr, providers: Providers, issuers: Issuers): HostHooks {
  return {
    async exists({ ring, provider }) {
      if (provider !== undefined) return (await providers.find(provider.id))?.ring === ring;
      const found = await issuers.find(ring);
      return found?.source === 'managed' && found.provider === undefined && !isEnded(found);
    },
    async all() {
      const alone = (await issuers.list()).filter(
        (issuer) => issuer.source === 'managed' && issuer.provider === undefined,
      );
      const all = await providers.list();
      return [...all.map((each) => specOf(vultr, each)), ...alone.map(({ id }) => unlinked(vultr, id))];
    },
    tidy: () => providers.tidy(),
    async trusted({ provider }, uri, isFresh) {
      const found = provider && (await providers.find(provider.id));
      return found && issuers.trusted(found, uri, isFresh);
    },
  };
}
