/** What comes behind the provider: answers as IdentityServer's clients know them, and polls that come too soon. */
import type { Context, Next } from 'koa';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { isTooSoon } from './device.ts';
import { answerFault, UnavailableError } from './faults.ts';
import { completeIntrospection } from './introspection.ts';
import type { Engine } from './parts.ts';
import { shapeRegistration } from './registration.ts';

type Body = Readonly<Record<string, unknown>>;

const NOT_ALLOWED = / is not allowed for this client$/;

export function shapeAnswers(engine: Engine) {
  return async (context: Context, next: Next): Promise<void> => {
    await next();
    const ctx = context as unknown as KoaContextWithOIDC;
    const route = (ctx.oidc as KoaContextWithOIDC['oidc'] | undefined)?.route;
    if (route === undefined) return;
    const body = ctx.body as Body | undefined;
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
