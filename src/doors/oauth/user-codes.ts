/** User codes are short, so wrong ones are counted (RFC 8628 section 5.1). */
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { hash } from './adapter.ts';
import type { Engine } from './parts.ts';

type FindByUserCode = (userCode: string, options?: unknown) => Promise<object | undefined>;

/** As many as wrong passwords from one address. */
const WRONG_MAX = 100;
const WINDOW_SECONDS = 300;

export function limitGuesses(provider: Provider, engine: Engine): void {
  const model = provider.DeviceCode as unknown as { findByUserCode: FindByUserCode };
  const find = model.findByUserCode.bind(model);
  const { records, realm, clock, config } = engine;
  const { perAddress = WRONG_MAX, windowSeconds = WINDOW_SECONDS } = config.people.logins ?? {};
  model.findByUserCode = async (userCode, options) => {
    const { ip } = Provider.ctx as KoaContextWithOIDC;
    const key = { realm, model: 'WrongUserCodes', id: hash(ip) };
    const counted = await records.find(key, clock.now());
    if (Number(counted?.payload.count ?? 0) >= perAddress) throw tooMany();
    const found = await find(userCode, options);
    if (found === undefined) await records.count(key, windowSeconds, clock.now());
    return found;
  };
}

function tooMany(): Error {
  const error = new errors.CustomOIDCProviderError('slow_down', 'Too many wrong codes. Try again later.');
  return Object.assign(error, { status: 429, statusCode: 429 });
}
