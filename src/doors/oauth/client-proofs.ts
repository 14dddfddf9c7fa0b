/** What a client signs is held to more than the provider asks: assertions (RFC 7523) and DPoP proofs (RFC 9449). */
import { decodeJwt } from 'jose';
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { Engine } from './parts.ts';

/** RFC 8725 section 3.11: another kind of JWT says what it is; draft-ietf-oauth-rfc7523bis has the second. */
const TYPES: ReadonlySet<unknown> = new Set([undefined, 'JWT', 'jwt', 'client-authentication+jwt']);
/** A key that comes along proves nothing. */
const KEYS = ['jwk', 'jku', 'x5u', 'x5c', 'crit'];
/** For so long a proof is taken before and after its `iat`. */
const PROOF_WINDOW_SECONDS = 300;

type Members = Readonly<Record<string, unknown>>;

/** Throws `invalid_client`. What the provider looks at was in order already. */
export function assertClientAssertion(engine: Engine) {
  return (ctx: KoaContextWithOIDC, claims: Members, header: Members): void => {
    const refuse = (reason: string): never => {
      throw new errors.InvalidClientAuth(reason);
    };
    const named = KEYS.find((name) => header[name] !== undefined);
    if (named !== undefined) refuse(`an assertion with the header ${named}`);
    if (!TYPES.has(header.typ)) refuse('another kind of JWT than an assertion');
    const furthest = engine.clock.now() + engine.config.clientAssertionTtl;
    if (typeof claims.exp !== 'number' || claims.exp > furthest) refuse('an assertion that lives too long');
    const ours: readonly unknown[] = ownNames(engine, ctx.oidc.client?.token_url_audience === true);
    if (!ours.includes(claims.aud)) refuse('an assertion whose aud is not the issuer alone');
  };
}

/**
 * What an assertion calls us: the issuer (draft-ietf-oauth-rfc7523bis section 4), since another server could
 * publish our token endpoint as its own; for older clients that endpoint too.
 */
export function ownNames(
  { issuer, config }: Pick<Engine, 'issuer' | 'config'>,
  mayBeTokenUrl: boolean,
): readonly string[] {
  const { identifier } = issuer;
  return mayBeTokenUrl ? [identifier, `${identifier}${config.path}/token`] : [identifier];
}

type ReplayModel = { unique(iss: string, jti: string, exp: number): Promise<boolean> };

/**
 * The provider keeps a proof's `jti` for as long as one made now is good, but one may be made ahead; it
 * calls a replayed proof `invalid_grant`; and it joins client and `jti` so that two pairs can be one.
 */
export function useReplayDetection(provider: Provider): void {
  const model = provider.ReplayDetection as unknown as ReplayModel;
  const unique = model.unique.bind(model);
  model.unique = async (iss, jti, exp) => {
    const isProof = jti === proofId(Provider.ctx as KoaContextWithOIDC | undefined);
    const [kind, more] = isProof ? ['proof', PROOF_WINDOW_SECONDS] : ['assertion', 0];
    try {
      if (await unique(`${iss} `, `${kind} ${jti}`, exp + more)) return true;
    } catch (error) {
      if (!(error instanceof errors.InvalidClientAuth)) throw error; // the adapter's word for a lost race
    }
    if (isProof) throw new errors.InvalidDpopProof('DPoP proof was used before');
    return false;
  };
}

/** The `jti` of the request's DPoP proof, which was verified by then. */
function proofId(ctx: KoaContextWithOIDC | undefined): unknown {
  const proof = ctx?.get('DPoP') ?? '';
  if (proof === '') return undefined;
  try {
    return decodeJwt(proof).jti;
  } catch {
    return undefined;
  }
}
