/**
 * A code, a device code or a refresh token is consumed in one change of the records together with
 * what is given for it: whatever fails or ends in between, either it can be used again or its answer
 * was made. Whoever comes second ends the family, which then has everything in it that the first was given.
 * Clients poll with a device code: two polls at the same moment are one client's, and the second gets nothing.
 */
import type { Context, Next } from 'koa';
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { ERROR_SENTENCES } from '../../core/errors.ts';
import type { EpochSeconds } from '../../core/ports.ts';
import type { NewRecord, RecordKey, RecordStore } from '../../core/records.ts';
import { answerFault, UnavailableError } from './faults.ts';
import type { Engine } from './parts.ts';

type Redemption = {
  readonly used: RecordKey;
  readonly made: NewRecord[];
  /** What the audit log is to be told once its answer stands. */
  readonly told: (() => void)[];
};

/** By the request. */
const open = new WeakMap<object, Redemption>();

/** False outside of the token endpoint, where it is to be consumed at once. */
export function consumeLater(used: RecordKey): boolean {
  const ctx = Provider.ctx as KoaContextWithOIDC | undefined;
  if (ctx?.oidc?.route !== 'token' || open.has(ctx.req)) return false;
  open.set(ctx.req, { used, made: [], told: [] });
  return true;
}

/** False where nothing is being redeemed: it is to be written at once. */
export function writeLater(made: NewRecord): boolean {
  const ctx = Provider.ctx as KoaContextWithOIDC | undefined;
  const redemption = ctx && open.get(ctx.req);
  redemption?.made.push(made);
  return redemption !== undefined;
}

/** Where something is being redeemed, once that is done: whoever comes second is given nothing. */
export function tellLater(tell: () => void): void {
  const ctx = Provider.ctx as KoaContextWithOIDC | undefined;
  const redemption = ctx && open.get(ctx.req);
  if (redemption === undefined) tell();
  else redemption.told.push(tell);
}

/** Everything that came of the grant, then the grant: whatever ends in between, no half of it can be used. */
export async function endFamily(records: RecordStore, { realm, ...key }: RecordKey, now: EpochSeconds) {
  const family = (await records.find({ realm, ...key }, now))?.family;
  if (family === undefined) return;
  await records.removeFamily(realm, family);
  await records.remove({ realm, model: 'Grant', id: family });
}

/** Behind the provider: its answer stands once the records have it. */
export function settleRedemptions({ records, clock }: Engine, provider: Provider) {
  return async (context: Context, next: Next): Promise<void> => {
    await next();
    const redemption = open.get(context.req);
    if (redemption === undefined || context.status !== 200) return;
    const ctx = context as unknown as KoaContextWithOIDC;
    try {
      const { used, made, told } = redemption;
      if (await records.redeem(used, made, clock.now())) {
        for (const tell of told) tell();
        return;
      }
      if (used.model !== 'DeviceCode') await endFamily(records, used, clock.now());
      refuse(ctx, new errors.InvalidGrant('it was used before'), provider);
    } catch (error) {
      if (!(error instanceof UnavailableError)) return withhold(ctx, error as Error, provider);
      answerFault(ctx, error);
      provider.emit('grant.error', ctx, error);
    }
  };
}

/** What cannot be told of is not handed out. */
function withhold(ctx: KoaContextWithOIDC, error: Error, provider: Provider): void {
  ctx.status = 500;
  ctx.body = { error: 'server_error', error_description: ERROR_SENTENCES.server_error };
  provider.emit('server_error', ctx, error);
}

function refuse(ctx: KoaContextWithOIDC, error: errors.OIDCProviderError, provider: Provider): void {
  ctx.status = error.status;
  ctx.body = { error: error.error, error_description: error.error_description };
  provider.emit('grant.error', ctx, error);
}
