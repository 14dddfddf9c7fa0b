/** Limits of the device flow (RFC 8628 sections 3.5 and 5.1). */
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { hash } from './adapter.ts';
import type { Engine } from './parts.ts';
import { networkOf } from './people/attempts.ts';

const GUESSES_MAX = 60;
const WINDOW_SECONDS = 600;

/** Codes that one address may try: of 20^8 it finds none. Throws an error of status 429. */
export async function limitGuesses({ records, realm, clock }: Engine): Promise<void> {
  const ctx = Provider.ctx as KoaContextWithOIDC;
  const key = { realm, model: 'UserCodeGuess', id: hash(networkOf(ctx.ip)) };
  if ((await records.count(key, WINDOW_SECONDS, clock.now())) <= GUESSES_MAX) return;
  ctx.set('Retry-After', String(WINDOW_SECONDS));
  const error = new errors.CustomOIDCProviderError(
    'slow_down',
    'Too many codes were tried; wait a few minutes.',
  );
  throw Object.assign(error, { status: 429, statusCode: 429 });
}

/**
 * RFC 8628 section 3.5. One poll that comes too soon is forgiven: the AWS command line begins
 * with two at once.
 */
export async function isTooSoon(
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

type Sessions = { prototype: { exp?: number; persist(): Promise<unknown> } };

/**
 * The provider gives the page of a fault at /device a form, and saves its secret with the session; where
 * there is none, the page has no form (people/sources.ts).
 */
export function leaveUnsaved(provider: Provider): void {
  const { prototype } = provider.Session as unknown as Sessions;
  const { persist } = prototype;
  prototype.persist = async function persistSaved(this: Sessions['prototype']) {
    return this.exp === undefined ? undefined : persist.call(this);
  };
}
