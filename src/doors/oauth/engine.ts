/** The OAuth server of one issuer: an oidc-provider for the ring in effect, with ours before and behind it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientMetadata, Provider } from 'oidc-provider';
import type { KeyRing } from '../../core/key-ring.ts';
import type { Peer } from '../../core/ports.ts';
import { shapeAnswers } from './answers.ts';
import { clientMetadata } from './clients.ts';
import type { Engine, EngineParts } from './parts.ts';
import { openPeople } from './people/people.ts';
import { buildProvider, type OpenGrants, openGrants } from './provider.ts';
import { prepare } from './request.ts';

export type OpenEngine = {
  readonly engine: Engine;
  /** Answers; `peer` is who asks, on the local socket. Throws IssuerError for what is refused before the provider. */
  handle(request: IncomingMessage, response: ServerResponse, peer?: Peer): Promise<void>;
  close(): Promise<void>;
};

const SWEEP_MS = 60_000;
const SWEEP_MAX = 5_000;

export async function openEngine(parts: EngineParts): Promise<OpenEngine> {
  const clients = await Promise.all(parts.config.clients.map(clientMetadata));
  const current = createSwitch(clients, await openGrants());
  const realm = parts.issuer.identifier;
  const engine: Engine = {
    ...parts,
    realm,
    origin: new URL(realm),
    scoping: {
      issuer: realm,
      resources: parts.config.resources.map((resource) => ({ ...resource, ttlSeconds: resource.ttl })),
      ttlSeconds: parts.config.accessTokenTtl,
    },
    provider: () => current(engine).provider,
    people: openPeople({
      provider: () => current(engine).provider,
      records: parts.records,
      realm,
      issuer: realm,
      config: parts.config.people,
      clock: parts.clock,
    }),
  };
  void current(engine).provider.AccessToken.adapter; // a mistake in the clients, or in the build, ends the start
  const sweeping = setInterval(() => {
    parts.records
      .sweep(parts.clock.now(), SWEEP_MAX)
      .catch((error) => parts.warn(`the sweep of records: ${error.message}`));
  }, SWEEP_MS).unref();
  return {
    engine,
    async handle(request, response, peer) {
      const prepared = await prepare(request, engine, peer);
      const { prefix } = current(engine);
      prepared.url = (prepared.url ?? '/').slice(prefix.length) || '/';
      await current(engine).callback(prepared, response);
    },
    async close() {
      clearInterval(sweeping);
      await engine.people.close();
    },
  };
}

type Built = {
  readonly from: KeyRing;
  readonly provider: Provider;
  /** The path of the issuer, which the provider does not see. */
  readonly prefix: string;
  readonly callback: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
};

/** Calls in flight end on the provider that they began with. */
function createSwitch(clients: readonly ClientMetadata[], grants: OpenGrants): (engine: Engine) => Built {
  let built: Built | undefined;
  return (engine) => {
    const ring = engine.ring();
    if (built?.from === ring) return built;
    const provider = buildProvider(engine, ring, clients, grants);
    provider.use(engine.people.middleware);
    provider.use(shapeAnswers(engine));
    provider.on('server_error', (_ctx, error) => engine.warn(`OAuth: ${error.message}`));
    const prefix = engine.origin.pathname.replace(/\/$/, '');
    built = { from: ring, provider, prefix, callback: provider.callback() as Built['callback'] };
    return built;
  };
}
