/**
 * What verifiers read: OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3
 * and the JWKS (RFC 7517 section 5), as buffers built once a change. No byte of it
 * comes from the request.
 */
import { createHash } from 'node:crypto';
import type { Context } from 'koa';
import type { PublicDocuments } from '../core/discovery.ts';
import type { Door, Route } from './door.ts';

export type DiscoveryParts = {
  readonly issuer: string;
  /** The documents in effect; the same object until they change. */
  readonly documents: () => PublicDocuments;
  /** How long verifiers may keep them. */
  readonly cacheForSeconds: number;
  readonly onJwks: (status: number) => void;
};

type Prebuilt = { readonly body: Buffer; readonly etag: string };
type Built = { readonly from: PublicDocuments; readonly metadata: Prebuilt; readonly jwks: Prebuilt };

export function open(parts: DiscoveryParts): Door {
  const path = new URL(parts.issuer).pathname.replace(/\/$/, '');
  const cacheControl = `public, max-age=${parts.cacheForSeconds}, stale-if-error=86400`;
  let built: Built | undefined;
  const current = () => {
    const from = parts.documents();
    if (built?.from !== from) built = { from, metadata: prebuild(from.metadata), jwks: prebuild(from.jwks) };
    return built;
  };
  const metadata = (context: Context) =>
    answer(context, current().metadata, 'application/json', cacheControl);
  const jwks = (context: Context) => {
    answer(context, current().jwks, 'application/jwk-set+json', cacheControl);
    parts.onJwks(context.status);
  };
  return {
    name: 'discovery',
    surface: 'public',
    routes: [
      route(`${path}/.well-known/openid-configuration`, 'OpenID Provider metadata', metadata),
      route(`${path}/.well-known/oauth-authorization-server`, 'Authorization server metadata', metadata),
      ...(path === ''
        ? []
        : [
            route(
              `/.well-known/oauth-authorization-server${path}`,
              'Authorization server metadata (RFC 8414 section 3.1)',
              metadata,
            ),
          ]),
      route(`${path}/.well-known/jwks`, 'Signing keys', jwks),
      route(`${path}/.well-known/jwks.json`, 'Signing keys', jwks),
      route(`${path}/.well-known/openid-configuration/jwks`, "Signing keys, at IdentityServer's path", jwks),
    ],
  };
}

function prebuild(document: unknown): Prebuilt {
  const body = Buffer.from(JSON.stringify(document));
  return { body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"` };
}

function answer(context: Context, { body, etag }: Prebuilt, type: string, cacheControl: string): void {
  context.set({
    'Content-Type': type,
    ETag: etag,
    'Cache-Control': cacheControl,
    'Access-Control-Allow-Origin': '*',
    'X-Content-Type-Options': 'nosniff',
  });
  context.status = 200;
  if (context.fresh) context.status = 304;
  else context.body = body;
}

function route(path: string, summary: string, handle: Route['handle']): Route {
  const content = {
    'application/json': { schema: { type: 'object' } },
    'application/jwk-set+json': { schema: { type: 'object' } },
  };
  const operation = {
    summary,
    responses: { 200: { description: summary, content }, 304: { description: 'Not modified' } },
  };
  return { method: 'GET', path, operation, handle };
}
