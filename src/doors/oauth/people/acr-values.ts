/** IdentityServer's words in `acr_values`: `idp:NAME` and `tenant:NAME`. */
import { errors } from 'oidc-provider';
import { LOCAL_IDP, type PeopleConfig } from './contract.ts';

export type Wishes = { readonly idp?: string | undefined; readonly tenant?: string | undefined };

const IDP = 'idp:';
const TENANT_OF = 'tenant:';
/** A tenant's name reaches tokens and logs. */
const TENANT = /^[\x21-\x7e]{1,128}$/;

export function isTenant(name: string): boolean {
  return TENANT.test(name);
}

/** Throws `invalid_request` for a tenant that cannot be one, and for two of a kind. */
export function assertAcrValues(values: unknown): void {
  const words = wordsOf(values);
  for (const prefix of [IDP, TENANT_OF])
    if (words.filter((word) => word.startsWith(prefix)).length > 1)
      throw new errors.InvalidRequest(`acr_values has ${prefix} twice`);
  const { tenant } = parseAcrValues(values);
  if (tenant !== undefined && !isTenant(tenant))
    throw new errors.InvalidRequest('a tenant in acr_values is of 1 to 128 printable ASCII characters');
}

export function parseAcrValues(values: unknown): Wishes {
  const words = wordsOf(values);
  return { idp: after(words, IDP), tenant: after(words, TENANT_OF) };
}

function wordsOf(values: unknown): readonly string[] {
  return typeof values === 'string' ? values.split(' ') : [];
}

function after(words: readonly string[], prefix: string): string | undefined {
  return words.find((word) => word.startsWith(prefix))?.slice(prefix.length);
}

/** The identity providers that are there and that the client may use; `local` is the password form. */
export function idpsFor(config: PeopleConfig, client: object | undefined): readonly string[] {
  const all = [LOCAL_IDP, ...Object.keys(config.identityProviders ?? {})];
  const listed = (client as { readonly identity_providers?: unknown } | undefined)?.identity_providers;
  return Array.isArray(listed) ? all.filter((name) => listed.includes(name)) : all;
}

/** First-party clients are trusted with what they ask for. */
export function isConsentNeeded(client: object | undefined): boolean {
  return (client as { readonly require_consent?: unknown } | undefined)?.require_consent !== false;
}
