/** What comes behind the provider: answers as IdentityServer's clients know them, and polls that come too soon. */
import type { Context, Next } from 'koa';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { isTooSoon } from './device.ts';
import { answerFault, UnavailableError } from './faults.ts';
import { completeIntrospection } from './introspection.ts';
import type { Engine } from './parts.ts';
import { shapeRegistration } from './registration.ts';

type Body = Readonly<Record<string, unknown>>;

/** Where clients prove themselves. */
const PROVING: ReadonlySet<string> = new Set([
  'token',
  'introspection',
  'revocation',
  'device_authorization',
  'pushed_authorization_request',
]);
/** What the provider calls a malformed request (lib/shared/client_auth.js). */
const UNPROVEN =
  /^(no client authentication mechanism provided|invalid authorization header value format|client_id and client_secret in the authorization header are not properly encoded|client_secret must be provided in the Authorization header)$/;
const NOT_ALLOWED = / is not allowed for this client$/;

export function shapeAnswers(engine: Engine) {
  return async (context: Context, next: Next): Promise<void> => {
    await next();
    const ctx = context as unknown as KoaContextWithOIDC;
    if (ctx.status === 404 && ctx.body === undefined) answerNothing(ctx);
    const route = (ctx.oidc as KoaContextWithOIDC['oidc'] | undefined)?.route;
    if (route === undefined) return;
    const body = ctx.body as Body | undefined;
    if (route === 'revocation') ctx.set('Cache-Control', 'no-store');
    if (PROVING.has(route) && UNPROVEN.test(String(body?.error_description))) refuseClient(ctx, body);
    if (route === 'token' && isWithoutProof(ctx))
      ctx.body = { ...body, error_description: 'the client has to send a DPoP proof (RFC 9449)' };
    shapeRegistration(ctx);
    if (route === 'introspection') await orUnavailable(ctx, () => completeIntrospection(ctx, engine));
    if (route === 'device_authorization' && ctx.status === 200)
      ctx.body = { ...body, interval: engine.config.deviceInterval };
    if (body?.error === 'invalid_request' && NOT_ALLOWED.test(String(body.error_description)))
      ctx.body = { ...body, error: 'unauthorized_client' };
    if (route === 'token' && body?.error === 'authorization_pending')
      await orUnavailable(ctx, () => slowDown(ctx, engine));
  };
}

/** The provider leaves these to Koa, which answers in plain text. */
function answerNothing(ctx: KoaContextWithOIDC): void {
  ctx.status = 404;
  if (ctx.method === 'OPTIONS') ctx.status = 204;
  else ctx.body = { error: 'not_found', error_description: 'There is no such thing here.' };
}

/** RFC 6749 section 5.2, RFC 7662 section 2.3: whoever proves nothing is told as whoever proves it wrongly. */
function refuseClient(ctx: KoaContextWithOIDC, body: Body | undefined): void {
  ctx.status = 401;
  ctx.body = { ...body, error: 'invalid_client' };
  if (ctx.headers.authorization === undefined) return;
  const { issuer } = ctx.oidc.provider;
  ctx.set('WWW-Authenticate', `Basic realm="${issuer}", error="invalid_client"`);
}

/** The provider says no more than that the grant is invalid. */
function isWithoutProof({ body, oidc, headers }: KoaContextWithOIDC): boolean {
  const { error } = (body ?? {}) as Body;
  return (
    error === 'invalid_grant' && oidc.client?.dpopBoundAccessTokens === true && headers.dpop === undefined
  );
}

/** What the provider does itself for faults before it. */
async function orUnavailable(ctx: KoaContextWithOIDC, shape: () => Promise<void>): Promise<void> {
  try {
    await shape();
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    answerFault(ctx, error);
  }
}

async function slowDown(ctx: KoaContextWithOIDC, engine: Engine): Promise<void> {
  if (!(await isTooSoon(ctx, engine))) return;
  ctx.body = {
    error: 'slow_down',
    error_description: `poll every ${engine.config.deviceInterval} seconds`,
  };
}
