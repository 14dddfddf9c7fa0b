/** Client assertions (RFC 7523 section 2.2), right and wrong. */
import type { KeyObject } from 'node:crypto';
import { SignJWT } from 'jose';

export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export type AssertionParts = {
  readonly id: string;
  readonly audience: unknown;
  readonly key: KeyObject;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
};

export function assertionOf({ id, audience, key, header, claims }: AssertionParts): Promise<string> {
  const exp = Math.floor(Date.now() / 1000) + 60;
  const jti = Math.random().toString(36);
  return new SignJWT({ iss: id, sub: id, aud: audience as string, exp, jti, ...claims })
    .setProtectedHeader({ alg: 'ES256', kid: 'one', ...header })
    .sign(key, { crit: { 'urn:x': true } });
}

export const assertionForm = (assertion: string) => ({
  grant_type: 'client_credentials',
  client_assertion: assertion,
  client_assertion_type: ASSERTION_TYPE,
});
