/** One-time codes (RFC 6238): SHA-1, six digits, 30 seconds, which is what every authenticator app takes. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';
import { IssuerError } from '../../../core/errors.ts';
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

// ── how the secrets are kept ────────────────────────────────────────────────

type Owner = { readonly username: string; readonly sub: string };
type Sealer = { readonly realm: string; readonly secret: Uint8Array };

const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const FORM = '1.';

/** AES-256-GCM, bound to the realm and the user: nobody else's record can hold it. */
export function sealSecret(base32: string, sealer: Sealer, owner: Owner): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, keyOf(sealer), nonce).setAAD(boundTo(sealer, owner));
  const sealed = [nonce, cipher.update(base32, 'ascii'), cipher.final(), cipher.getAuthTag()];
  return `${FORM}${Buffer.concat(sealed).toString('base64url')}`;
}

/** Throws `server_error` where it was not sealed so. */
export function openSecret(sealed: string, sealer: Sealer, owner: Owner): string {
  const bytes = Buffer.from(sealed.slice(FORM.length), 'base64url');
  try {
    const nonce = bytes.subarray(0, NONCE_BYTES);
    const decipher = createDecipheriv(CIPHER, keyOf(sealer), nonce, { authTagLength: TAG_BYTES })
      .setAAD(boundTo(sealer, owner))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    const opened = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES));
    return Buffer.concat([opened, decipher.final()]).toString('ascii');
  } catch {
    throw new IssuerError(
      'server_error',
      `the second factor of ${owner.sub} cannot be opened: sealed by another oauth-secret, or another user's`,
    );
  }
}

function keyOf({ secret }: Sealer): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', 'mintmark totp', 32));
}

function boundTo({ realm }: Sealer, { username, sub }: Owner): Buffer {
  return Buffer.from(JSON.stringify([realm, username, sub]));
}
