/** One-time codes (RFC 6238): SHA-1, six digits, 30 seconds, which is what every authenticator app takes. */
import { Secret, TOTP } from 'otpauth';
import type { EpochSeconds } from '../../../core/ports.ts';

const PERIOD_SECONDS = 30;
/** Codes of so many steps before and after are taken: clocks differ (RFC 6238 section 5.2). */
const WINDOW = 1;

export type Enrolment = { readonly secret: string; readonly uri: string };

export function enrol(issuer: string, username: string): Enrolment {
  const secret = new Secret({ size: 20 });
  return { secret: secret.base32, uri: generator(secret.base32, issuer, username).toString() };
}

/** The time step that the code is of; undefined where it is none. A step is to be used once. */
export function stepOf(secret: string, code: string, now: EpochSeconds): number | undefined {
  const token = code.replaceAll(/[\s-]/g, '');
  if (!/^[0-9]{6}$/.test(token)) return undefined;
  const delta = generator(secret).validate({ token, timestamp: now * 1000, window: WINDOW });
  return delta === null ? undefined : Math.floor(now / PERIOD_SECONDS) + delta;
}

/** A used step is remembered until its code is no longer taken. */
export const STEP_KEPT_SECONDS = PERIOD_SECONDS * (2 * WINDOW + 2);

function generator(secret: string, issuer?: string, label?: string): TOTP {
  const names = { ...(issuer === undefined ? {} : { issuer }), ...(label === undefined ? {} : { label }) };
  return new TOTP({ ...names, algorithm: 'SHA1', digits: 6, period: PERIOD_SECONDS, secret });
}
