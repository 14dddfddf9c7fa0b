/** The key that a token is bound to (RFC 9449), by the very checks that the provider's own grants make. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import validateDpop, { checkDpopReplay } from 'oidc-provider/lib/helpers/validate_dpop.js';

/** Its thumbprint; undefined: no proof was sent. Throws `invalid_dpop_proof`, or where the client has to send one. */
export async function provenKey(ctx: KoaContextWithOIDC): Promise<string | undefined> {
  const { provider, client } = ctx.oidc;
  const proof = await validateDpop(provider, ctx);
  if (proof !== undefined) {
    await checkDpopReplay(provider, ctx, proof, client?.clientId ?? '');
    return proof.thumbprint;
  }
  if (client?.dpopBoundAccessTokens === true) throw new errors.InvalidGrant('DPoP proof JWT not provided');
  return undefined;
}
