/** Verifying a token as a relying party does: by what its issuer publishes. */
import { CommandError, EXIT } from './command.ts';
import { decodeToken } from './token-text.ts';

const TIMEOUT_MS = 10_000;
const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'];

/** The checked part of the issuer's metadata (OpenID Connect Discovery 1.0 section 3). */
type Metadata = { readonly issuer: string; readonly jwks_uri: string };

/**
 * `published`: where the token's issuer is reached from here, if not at its own URL. Throws
 * CommandError where what is published there does not vouch for the token.
 */
export async function verifyToken(token: string, published: string): Promise<void> {
  const { claims } = decodeToken(token);
  const base = published.replace(/\/$/, '');
  const metadata = (await fetchJson(`${base}/.well-known/openid-configuration`)) as Metadata;
  const { issuer, jwks_uri: keysUrl } = metadata;
  if (issuer !== claims.iss)
    throw new CommandError(`the token is of ${claims.iss}, but ${base} publishes the keys of ${issuer}`);
  if (!keysUrl.startsWith(`${issuer}/`))
    throw new CommandError(`${base} names a JWKS that is not below its issuer: ${keysUrl}`);
  const jwks = await fetchJson(`${base}${keysUrl.slice(issuer.length)}`);
  const { createLocalJWKSet, jwtVerify } = await import('jose');
  try {
    const keys = createLocalJWKSet(jwks as Parameters<typeof createLocalJWKSet>[0]);
    await jwtVerify(token, keys, { issuer, algorithms: ALGORITHMS, requiredClaims: ['sub', 'aud', 'exp'] });
  } catch (error) {
    throw new CommandError(`the token does not verify by the keys at ${base}: ${(error as Error).message}`);
  }
}

async function fetchJson(url: string): Promise<unknown> {
  if (!/^https?:\/\//.test(url) || !URL.canParse(url))
    throw new CommandError('--verify is a URL, as in --verify https://id.example.com', EXIT.usage);
  try {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.status !== 200) throw new Error(`status ${response.status}`);
    return await response.json();
  } catch (error) {
    const { cause, message } = error as Error;
    throw new CommandError(
      `${url} cannot be read: ${cause instanceof Error ? cause.message : message}`,
      EXIT.unreachable,
    );
  }
}
