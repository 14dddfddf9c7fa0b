/**
 * A bare oidc-provider with its own client_credentials grant, for what our token endpoint is measured
 * beside: `reference-provider.ts PORT`. Prints a line when it listens.
 */
import { createServer } from 'node:http';
import { type ClientMetadata, errors, Provider } from 'oidc-provider';
import { audienceOf } from './program.ts';
import { ALGORITHMS, generateKey, type RawAlgorithm } from './raw-signatures.ts';

const [port] = process.argv.slice(2);
const resources = new Map<string, RawAlgorithm>(
  ALGORITHMS.map((name) => [`https://${audienceOf(name)}`, name]),
);

const client: ClientMetadata = {
  client_id: 'bench',
  client_secret: 'a secret of the bench',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
};

const provider = new Provider('https://id.example.com', {
  clients: [client],
  jwks: {
    keys: ALGORITHMS.map(
      (alg) => ({ ...generateKey(alg).export({ format: 'jwk' }), alg, use: 'sig' }) as never,
    ),
  },
  extraTokenClaims: () => ({ nbf: Math.floor(Date.now() / 1000) }), // as ours has it
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo(_ctx, resource) {
        const alg = resources.get(resource);
        if (alg === undefined) throw new errors.InvalidTarget();
        return {
          scope: 'orders.read orders.write',
          audience: resource,
          accessTokenTTL: 600,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg } },
        };
      },
    },
  },
});
createServer(provider.callback()).listen(Number(port), '127.0.0.1', () => console.log('ready'));
