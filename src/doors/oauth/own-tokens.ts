/** Access tokens of our own that are shown for something: one has to be good still, and not only be signed. */
import { decodeJwt, decodeProtectedHeader } from 'jose';
import type { Claims } from '../../core/ports.ts';
import { claimsOf } from './access-tokens.ts';
import type { Engine } from './parts.ts';

/** By its own word: what is no access token of ours is left to the attestor, which proves it. */
export function isOurs(token: string, { issuer }: Engine): boolean {
  try {
    return decodeProtectedHeader(token).typ === 'at+jwt' && decodeJwt(token).iss === issuer.identifier;
  } catch {
    return false;
  }
}

/** Undefined where it was revoked or has expired, or its person or client is gone. */
export async function goodClaims(token: string, { provider, people }: Engine): Promise<Claims | undefined> {
  const { AccessToken, ClientCredentials } = provider();
  const person = await AccessToken.find(token);
  if (person === undefined) return claimsOf(await ClientCredentials.find(token));
  const isThere = (await people.findAccount(undefined, person.accountId, person)) !== undefined;
  return isThere ? claimsOf(person) : undefined;
}
