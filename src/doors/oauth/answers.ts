/** What comes behind the provider: answers as IdentityServer's clients know them, and polls that come too soon. */
import type { Context, Next } from 'koa';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { hash } from './adapter.ts';
import { answerFault, UnavailableError } from './faults.ts';
import { completeIntrospection } from './introspection.ts';
import type { Engine } from './parts.ts';

type Body = Readonly<Record<string, unknown>>;

const NOT_ALLOWED = / is not allowed for this client$/;

export function shapeAnswers(engine: Engine) {
  return async (context: Context, next: Next): Promise<void> => {
    const ctx = context as unknown as KoaContextWithOIDC;
    await next();
    const route = (ctx.oidc as KoaContextWithOIDC['oidc'] | undefined)?.route;
    if (route === undefined) return;
    const body = ctx.body as Body | undefined;
    if (route === 'introspection') completeIntrospection(ctx);
    if (route === 'device_authorization' && ctx.status === 200)
      ctx.body = { ...body, interval: engine.config.deviceInterval };
    if (body?.error === 'invalid_request' && NOT_ALLOWED.test(String(body.error_description)))
      ctx.body = { ...body, error: 'unauthorized_client' };
    if (route === 'token' && body?.error === 'authorization_pending') await slowDown(ctx, engine);
  };
}

async function slowDown(ctx: KoaContextWithOIDC, engine: Engine): Promise<void> {
  try {
    if (!(await isTooSoon(ctx, engine))) return;
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return answerFault(ctx, error);
  }
  ctx.body = {
    error: 'slow_down',
    error_description: `poll every ${engine.config.deviceInterval} seconds`,
  };
}

/**
 * RFC 8628 section 3.5. One poll that comes too soon is forgiven: the AWS command line begins
 * with two at once.
 */
async function isTooSoon(
  ctx: KoaContextWithOIDC,
  { records, realm, clock, config }: Engine,
): Promise<boolean> {
  const id = hash(String(ctx.oidc.params?.device_code));
  const now = clock.now();
  const polls = await records.count({ realm, model: 'DevicePoll', id }, config.deviceInterval, now);
  if (polls < 2) return false;
  const key = { realm, model: 'ForgivenPoll', id };
  return !(await records.insert(key, { payload: {}, expiresAt: now + config.deviceCodeTtl }, now));
}
