import { IssuerError } from './errors.ts';
import type { Allowed, Claims, EpochSeconds } from './ports.ts';

/** Verifiers whose clock is behind ours by up to this still take the token. */
const NOT_BEFORE_SKEW_SECONDS = 60;

/**
 * The token's claims (RFC 7519 section 4.1). The registered ones are written
 * last, so nothing that a rule or a door adds can take their place. Throws `server_error` where the token would not expire.
 */
export function buildClaims(decision: Allowed, issuer: string, now: EpochSeconds, jti: string): Claims {
  if (!(Number.isSafeInteger(decision.ttlSeconds) && decision.ttlSeconds > 0))
    throw new IssuerError('server_error', `a life of ${decision.ttlSeconds} seconds`);
  const [first, ...more] = decision.audience;
  return {
    ...decision.claims,
    iss: issuer,
    sub: decision.subject,
    aud: more.length === 0 && first !== undefined ? first : decision.audience,
    iat: now,
    nbf: now - NOT_BEFORE_SKEW_SECONDS,
    exp: now + decision.ttlSeconds,
    jti,
  };
}
