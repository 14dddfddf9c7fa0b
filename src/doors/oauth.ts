/**
 * OAuth 2.0 and OpenID Connect for clients made for IdentityServer: the endpoints on the public
 * listener, and the token endpoint on the workloads' socket too, where an attested process needs no
 * secret. oidc-provider and all that it needs are loaded with this door.
 */
import type { Context } from 'koa';
import type { IssuerError } from '../core/errors.ts';
import type { Algorithm, Provable } from '../core/ports.ts';
import { answerJson, type Door, type FrameParts, type Method, type Route, requirePeer } from './door.ts';
import { metadata } from './oauth/metadata.ts';
import type { Mistake } from './oauth/mistakes.ts';
import type { EngineParts } from './oauth/parts.ts';
import type { OAuthConfig } from './oauth/settings.ts';

export { config } from './oauth/settings.ts';

export type OAuthContext = Omit<EngineParts, 'config' | 'records' | 'secret'> & {
  readonly records: () => Promise<EngineParts['records']>;
  readonly secret: (name: string) => Promise<Uint8Array>;
  readonly peerOf: FrameParts['peerOf'];
};

/** What it asks of the key ring, and what it adds to the issuer's metadata. */
export function demands(block: OAuthConfig, issuer: string) {
  const { clients, resources, accessTokenTtl } = block;
  const lives = [...clients.flatMap((client) => client.accessTokenTtl ?? []), accessTokenTtl];
  const algorithms: readonly Algorithm[] = resources.flatMap(({ algorithm }) => algorithm ?? []);
  return { metadata: metadata(block, issuer), longestTtlSeconds: Math.max(...lives), algorithms };
}

/** What cannot work. `isWhole`: also what the library does not take of a client, which `open` finds too. */
export async function mistakes(
  block: OAuthConfig,
  { issuer, provable, isWhole }: { issuer: string; provable: Provable; isWhole: boolean },
): Promise<readonly Mistake[]> {
  const { findMistakes } = await import('./oauth/mistakes.ts');
  const found = await findMistakes(block, provable);
  if (!isWhole) return found;
  const { findRefused } = await import('./oauth/refused-clients.ts');
  return [...found, ...(await findRefused(block, issuer))];
}

/** Throws `server_error` where a client cannot be. */
export async function open(block: OAuthConfig, context: OAuthContext): Promise<readonly Door[]> {
  const [{ openEngine }, { JSON_ONLY }, records, secret] = await Promise.all([
    import('./oauth/engine.ts'),
    import('./oauth/request.ts'),
    context.records(),
    context.secret('oauth-secret'),
  ]);
  for (const { id, grants } of block.clients)
    if (grants.includes('password'))
      context.warn(`doors.oauth: client ${id} has password, which RFC 9700 section 2.4 says not to use`);
  const { engine, handle, server } = await openEngine({ ...context, config: block, records, secret });
  const pass = (peerOf?: FrameParts['peerOf']) => async (http: Context) => {
    const peer = peerOf && requirePeer(peerOf, http);
    try {
      http.respond = false;
      await handle(http.req, http.res, peer);
    } catch (error) {
      http.respond = true;
      throw error;
    }
  };
  const prefix = new URL(context.issuer.identifier).pathname.replace(/\/$/, '');
  const shown = publicRoutes(block).map(([path, methods, isPrefix]) =>
    methods.map((method) => route(method, `${prefix}${path}`, pass(), isPrefix)),
  );
  const tokens = route('POST', `${prefix}${block.path}/token`, pass(context.peerOf));
  // A person in a browser gets a page of what no page was reached for.
  const shapeError = (context: Context, error: IssuerError) => {
    if (isClients(error)) return refuseClient(context, error);
    if (JSON_ONLY.test(context.path) || context.accepts('json', 'html') !== 'html') return;
    engine.people.showFault(context, error);
  };
  return [
    { name: 'oauth', surface: 'public', routes: shown.flat(), offers: { oauth: server }, shapeError },
    { name: 'oauth', surface: 'workload', routes: [tokens], shapeError },
    { name: 'oauth', surface: 'admin', routes: engine.people.adminRoutes },
  ];
}

function publicRoutes({
  path,
  registration,
}: OAuthConfig): readonly (readonly [string, readonly Method[], boolean?])[] {
  const both: readonly Method[] = ['GET', 'POST'];
  const open: readonly Method[] = ['POST', 'OPTIONS'];
  return [
    [`${path}/authorize`, both],
    [`${path}/authorize/{uid}`, ['GET']],
    [`${path}/token`, open],
    [`${path}/deviceauthorization`, open],
    [`${path}/introspect`, open],
    [`${path}/revocation`, open],
    [`${path}/userinfo`, [...both, 'OPTIONS']],
    [`${path}/endsession`, both],
    [`${path}/endsession/confirm`, ['POST']],
    [`${path}/endsession/success`, ['GET']],
    [`${path}/par`, open],
    ['/device', both],
    ['/device/{uid}', ['GET']],
    ['/interaction', both, true],
    ...(registration === undefined
      ? []
      : [
          [`${path}/register`, ['POST']] as const,
          [`${path}/register/{client}`, ['GET', 'PUT', 'DELETE']] as const,
        ]),
  ];
}

function route(method: Method, path: string, handle: Route['handle'], isPrefix?: boolean): Route {
  const responses = { 200: { description: 'As RFC 6749 and OpenID Connect Core 1.0 say' } };
  return { method, path, isPrefix, handle, operation: { summary: `OAuth 2.0: ${path}`, responses } };
}

/** A client that could not prove itself is told so in OAuth's words (RFC 6749 section 5.2). */
function refuseClient(http: Context, error: IssuerError): void {
  http.status = 401;
  answerJson(http, { error: 'invalid_client', error_description: error.sentence, ...error.shown });
}

function isClients({ code }: IssuerError): boolean {
  return ['peer_unproven', 'peer_changed', 'access_denied', 'invalid_assertion'].includes(code);
}
