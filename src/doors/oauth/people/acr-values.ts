/** IdentityServer's words in `acr_values`: `idp:NAME` and `tenant:NAME`. */
import { LOCAL_IDP, type PeopleConfig } from './contract.ts';

export type Wishes = { readonly idp?: string | undefined; readonly tenant?: string | undefined };

const NAME_MAX = 128;

export function parseAcrValues(values: unknown): Wishes {
  const words = typeof values === 'string' ? values.split(' ') : [];
  return { idp: after(words, 'idp:'), tenant: after(words, 'tenant:') };
}

/** The first word of its kind counts. */
function after(words: readonly string[], prefix: string): string | undefined {
  const value = words.find((word) => word.startsWith(prefix))?.slice(prefix.length);
  return value === undefined || value === '' || value.length > NAME_MAX ? undefined : value;
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
