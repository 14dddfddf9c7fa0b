/** A helper of oidc-provider's that it keeps for the grants of its own. */
declare module 'oidc-provider/lib/helpers/validate_dpop.js' {
  import type { KoaContextWithOIDC, Provider } from 'oidc-provider';

  type Proof = { readonly thumbprint: string; readonly jti: string; readonly iat: number };

  function validateDpop(provider: Provider, ctx: KoaContextWithOIDC): Promise<Proof | undefined>;

  // biome-ignore lint/style/noDefaultExport: it is theirs
  export { validateDpop as default };
  export function checkDpopReplay(
    provider: Provider,
    ctx: KoaContextWithOIDC,
    proof: Proof,
    clientId: string,
  ): Promise<void>;
}
