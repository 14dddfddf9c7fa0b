/** The OAuth server of one issuer: an oidc-provider for the ring in effect, with ours before and behind it. */
import { createHmac } from 'node:crypto';
import type { EventEmitter } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientMetadata, errors, KoaContextWithOIDC, Provider } from 'oidc-provider';
import { IssuerError } from '../../core/errors.ts';
import type { KeyRing } from '../../core/key-ring.ts';
import type { Peer } from '../../core/ports.ts';
import type { Guests, OAuthServer } from '../oauth-server.ts';
import { createAddressOf } from './address.ts';
import { shapeAnswers } from './answers.ts';
import { answerAttested, asksForItself } from './attested.ts';
import { call } from './call.ts';
import { clientMetadata } from './clients.ts';
import { allFaultsNamed, UnavailableError, watchFaults, withFaultsNamed } from './faults.ts';
import { gather } from './guests.ts';
import type { Engine, EngineParts, PreparedRequest } from './parts.ts';
import { networkOf } from './people/attempts.ts';
import { openPeople } from './people/people.ts';
import { buildProvider, type OpenGrants, openGrants } from './provider.ts';
import { settleRedemptions } from './redemption.ts';
import { assertRegistration } from './registration.ts';
import { prepare, sentByForm } from './request.ts';

export type OpenEngine = {
  readonly engine: Engine;
  /** Answers; `peer` is who asks, on the local socket. Throws IssuerError for what is refused before the provider. */
  handle(request: IncomingMessage, response: ServerResponse, peer?: Peer): Promise<void>;
  /** For doors that translate another protocol. */
  readonly server: OAuthServer;
};

export async function openEngine(parts: EngineParts): Promise<OpenEngine> {
  await assertRegistration(parts.config);
  const clients = await Promise.all(parts.config.clients.map(clientMetadata));
  const current = createSwitch(clients, await openGrants());
  let guests = gather([]);
  const realm = parts.issuer.identifier;
  const records = allFaultsNamed(parts.records);
  const secretOf = (name: string) => createHmac('sha256', parts.secret).update(name).digest();
  const secret = secretOf(realm);
  const engine: Engine = {
    ...parts,
    realm,
    records,
    sign: (key, bytes) => withFaultsNamed(() => parts.sign(key, bytes)),
    origin: new URL(realm),
    scoping: {
      issuer: realm,
      resources: parts.config.resources.map((resource) => ({ ...resource, ttlSeconds: resource.ttl })),
      ttlSeconds: parts.config.accessTokenTtl,
    },
    // What one issuer vouches for, no other does.
    secret,
    provider: () => current(engine).provider,
    guests: () => guests,
    addressOf: createAddressOf(parts.config.trustedProxies),
    people: openPeople({
      provider: () => current(engine).provider,
      records,
      secret: secretOf(parts.usersOf ?? realm),
      realm,
      issuer: realm,
      usersOf: parts.usersOf,
      config: parts.config.people,
      clock: parts.clock,
      onLogin: parts.audit.login,
    }),
  };
  if (parts.isTrusted !== true) await assertClients(engine);
  void engine.provider().AccessToken.adapter; // a build that renames the models ends the start too
  const handle: OpenEngine['handle'] = async (request, response, peer) => {
    const prepared = await prepare(request, engine, peer);
    const place = sentByForm(prepared);
    if (place !== undefined) return seeOther(response, place);
    if (peer !== undefined && asksForItself(prepared))
      return answerAttested(prepared, response, engine, peer);
    const { prefix } = current(engine);
    // The provider takes what was before its own path for the place that it is mounted at.
    prepared.originalUrl = prepared.url ?? '/';
    prepared.url = prepared.originalUrl.slice(prefix.length) || '/';
    await current(engine).callback(prepared, response);
  };
  const admit = (more: Guests) => {
    guests = gather([guests, more]);
  };
  return {
    engine,
    handle,
    server: serverOf(engine, handle, admit),
  };
}

function seeOther(response: ServerResponse, place: string): void {
  response.writeHead(303, { Location: place, 'Cache-Control': 'no-store', 'Content-Length': '0' });
  response.end();
}

/** What doors that are opened later are offered. */
function serverOf(engine: Engine, handle: OpenEngine['handle'], admit: OAuthServer['admit']): OAuthServer {
  const prefix = prefixOf(engine);
  return {
    prefix,
    path: engine.config.path,
    clock: engine.clock,
    records: engine.records,
    realm: engine.realm,
    admit,
    call: (given) => call(engine.provider(), prefix, given),
    show: (request, response, url) => handle(Object.assign(request, { url }), response),
    networkOf: (request) => networkOf(engine.addressOf(request)),
  };
}

/** The path of the issuer, which the provider does not see. */
function prefixOf({ origin }: Engine): string {
  return origin.pathname.replace(/\/$/, '');
}

/** A mistake in a client ends the start, rather than be told to whoever uses it first. */
async function assertClients(engine: Engine): Promise<void> {
  const [first] = await refusedClients(engine);
  if (first === undefined) return;
  const { id, reason } = first;
  throw new IssuerError('server_error', `doors.oauth: client ${id}: ${reason}`);
}

/** The clients that the provider does not take. */
export async function refusedClients({ provider, config }: Engine) {
  const asked = config.clients.map(async ({ id }, index) => {
    try {
      await provider().Client.find(id);
      return [];
    } catch (error) {
      const { error_description: reason = String(error) } = error as { readonly error_description?: string };
      return [{ index, id, reason }];
    }
  });
  return (await Promise.all(asked)).flat();
}

/** A device that waits is no news, nor is somebody who is no client. */
const WAITING = ['authorization_pending', 'slow_down'];

function tellRefusal({ audit }: Engine, ctx: KoaContextWithOIDC, error: errors.OIDCProviderError): void {
  const { oidc, req } = ctx;
  const id = oidc.client?.clientId;
  if (id === undefined || error instanceof UnavailableError || WAITING.includes(error.error)) return;
  const why = error.error_detail ?? error.error_description ?? '';
  audit.refused(`client ${id}: ${error.error}: ${why}`, req as PreparedRequest);
}

type Built = {
  readonly from: KeyRing;
  readonly guests: Guests;
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
    const guests = engine.guests();
    if (built?.from === ring && built.guests === guests) return built;
    const provider = buildProvider(engine, ring, clients, grants);
    provider.use(engine.people.middleware);
    provider.use(shapeAnswers(engine));
    provider.use(settleRedemptions(engine, provider));
    watchFaults(provider, engine.warn);
    const warn = (error: Error) => engine.warn(`OAuth: ${error.message}`);
    provider.on('grant.error', (ctx, error) => tellRefusal(engine, ctx, error));
    provider.on('server_error', (_ctx, error) => warn(error));
    // In the place of Koa's own, which prints a stack; a caller that hangs up is no news.
    (provider as EventEmitter).on('error', (error: NodeJS.ErrnoException) => {
      if (!HUNG_UP.has(error.code ?? '')) warn(error);
    });
    const prefix = prefixOf(engine);
    built = { from: ring, guests, provider, prefix, callback: provider.callback() as Built['callback'] };
    return built;
  };
}
