/**
 * The resources that were asked for with an authorization (RFC 8707 section 2.2): kept with the code or the
 * device code, and with the refresh tokens that come of it. A token request may only narrow them.
 */
import { errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { IDENTITY_SCOPES, type ScopeContext } from '../../core/scopes.ts';
import { listOf } from './grants/grant.ts';

/** What a code, a device code and a refresh token have of them; the last gets it from the others by the provider. */
export type ResourceSource = { resource?: string | readonly string[] | undefined };

type Kept = { prototype: ResourceSource & { save(): Promise<string> } };

export function keepResources({ AuthorizationCode, DeviceCode }: Provider): void {
  for (const { prototype } of [AuthorizationCode, DeviceCode] as unknown as readonly Kept[]) {
    const { save } = prototype;
    prototype.save = async function saveWithResources(this: ResourceSource) {
      const { params } = (Provider.ctx as KoaContextWithOIDC).oidc;
      const asked = listOf(params?.resource);
      if (asked.length > 0) this.resource ??= asked;
      return save.call(this as Kept['prototype']);
    };
  }
}

type Asked = { readonly scopes: readonly string[]; readonly audience: readonly string[] };

/** Those that are asked for, or else those that were granted. Throws `invalid_target`. */
export function withinGranted(
  asked: Asked,
  source: ResourceSource | undefined,
  context: ScopeContext,
): Asked {
  const granted = listOf(source?.resource);
  if (granted.length === 0) return asked;
  if (asked.audience.some((name) => !granted.includes(name)))
    throw new errors.InvalidTarget('that resource was not granted');
  if (asked.audience.length > 0) return asked;
  const covered = context.resources
    .filter(({ audience }) => granted.includes(audience))
    .flatMap(({ scopes }) => scopes);
  if (asked.scopes.some((name) => covered.includes(name))) return { ...asked, audience: granted };
  // Narrowed to what is of the person alone, it is for no resource.
  const scopes = asked.scopes.filter((name) => IDENTITY_SCOPES.includes(name));
  return scopes.length === 0 ? { ...asked, audience: granted } : { scopes, audience: [] };
}
