/** The OAuth server of one issuer: an oidc-provider for the ring in effect, with ours before and behind it. */
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ClientMetadata, Provider } from 'oidc-provider';
import type { KeyRing } from '../../core/key-ring.ts';
import type { Peer } from '../../core/ports.ts';
import { shapeAnswers } from './answers.ts';
import { clientMetadata } from './clients.ts';
import type { Engine, EngineParts } from './parts.ts';
import { openPeople } from './people/people.ts';
import { buildProvider, type OpenGrants, openGrants } from './provider.ts';
import { assertRegistration } from './registration.ts';
import { prepare } from './request.ts';

export type OpenEngine = {
  readonly engine: Engine;
  /** Answers; `peer` is who asks, on the local socket. Throws IssuerError for what is refused before the provider. */
  handle(request: IncomingMessage, response: ServerResponse, peer?: Peer): Promise<void>;
  close(): Promise<void>;
};

const SWEEP_MS = 60_000;
/** So many at a time, with room for others between; each sweep goes on until none is left. */
const SWEEP_MAX = 1_000;
const SWEEP_PAUSE_MS = 20;

export async function openEngine(parts: EngineParts): Promise<OpenEngine> {
  await assertRegistration(parts.config);
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
  const closing = new AbortController();
  const sweeping = sweepRecords(parts, closing.signal);
  return {
    engine,
    async handle(request, response, peer) {
      const prepared = await prepare(request, engine, peer);
      const { prefix } = current(engine);
      prepared.url = (prepared.url ?? '/').slice(prefix.length) || '/';
      await current(engine).callback(prepared, response);
    },
    async close() {
      closing.abort();
      await sweeping;
      await engine.people.close();
    },
  };
}

/** Without it whoever may make records, such as anybody's request for authorization, makes the store grow for ever. */
async function sweepRecords({ records, clock, warn }: EngineParts, signal: AbortSignal): Promise<void> {
  const pause = (millis: number) => sleep(millis, undefined, { ref: false, signal }).catch(() => undefined);
  let isMore = false;
  while (!signal.aborted) {
    await pause(isMore ? SWEEP_PAUSE_MS : SWEEP_MS);
    if (signal.aborted) return;
    try {
      isMore = (await records.sweep(clock.now(), SWEEP_MAX)) === SWEEP_MAX;
    } catch (error) {
      isMore = false;
      warn(`the sweep of records: ${(error as Error).message}`);
    }
  }
}

type Built = {
  readonly from: KeyRing;
  readonly provider: Provider;
  /** The path of the issuer, which the provider does not see. */
  readonly prefix: string;
  readonly callback: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
};

const HUNG_UP: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE', 'ERR_STREAM_PREMATURE_CLOSE']);

/** Calls in flight end on the provider that they began with. */
function createSwitch(clients: readonly ClientMetadata[], grants: OpenGrants): (engine: Engine) => Built {
  let built: Built | undefined;
  return (engine) => {
    const ring = engine.ring();
    if (built?.from === ring) return built;
    const provider = buildProvider(engine, ring, clients, grants);
    provider.use(engine.people.middleware);
    provider.use(shapeAnswers(engine));
    const warn = (error: Error) => engine.warn(`OAuth: ${error.message}`);
    provider.on('server_error', (_ctx, error) => warn(error));
    // In the place of Koa's own, which prints a stack; a caller that hangs up is no news.
    (provider as EventEmitter).on('error', (error: NodeJS.ErrnoException) => {
      if (!HUNG_UP.has(error.code ?? '')) warn(error);
    });
    const prefix = engine.origin.pathname.replace(/\/$/, '');
    built = { from: ring, provider, prefix, callback: provider.callback() as Built['callback'] };
    return built;
  };
}
