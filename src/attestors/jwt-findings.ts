/** What the keys that are at hand say of the settings that name them, for `check` and for the log. */
import { readKeys } from './jwks-source.ts';
import { type KeySet, parseKeySet } from './jwt-keys.ts';
import type { IssuerSettings, JwtSettings } from './jwt-settings.ts';

type Findings = {
  readonly problems: readonly { readonly path: string; readonly message: string }[];
  readonly warnings: readonly string[];
};

export async function findings({ issuers }: JwtSettings): Promise<Findings> {
  const all = Object.entries(issuers).map(async ([name, settings]): Promise<Findings> => {
    const { jwks, jwksFile } = settings;
    if (jwks !== undefined)
      return { problems: [], warnings: bundleWarnings(name, settings, parseKeySet(jwks)) };
    if (jwksFile === undefined) return { problems: [], warnings: [] };
    try {
      return { problems: [], warnings: bundleWarnings(name, settings, await readKeys(jwksFile)) };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      const fault = code === undefined ? message.replace(/^it /, '') : `cannot be read: ${code}`;
      return { problems: [{ path: `issuers.${name}.jwksFile`, message: fault }], warnings: [] };
    }
  });
  const found = await Promise.all(all);
  return {
    problems: found.flatMap(({ problems }) => problems),
    warnings: found.flatMap(({ warnings }) => warnings),
  };
}

/** SPIFFE Trust Domain and Bundle section 4.2.2: keys of JWT-SVIDs say so, and SPIRE's discovery document does not. */
export function bundleWarnings(name: string, settings: IssuerSettings, keys: KeySet): readonly string[] {
  const { trustDomain } = settings;
  if (trustDomain === undefined || keys.some(({ use }) => use === 'jwt-svid')) return [];
  return [
    `attestors.jwt.issuers.${name}: no key has use: jwt-svid: are they the bundle of ${trustDomain} (spire-server bundle show -format spiffe)?`,
  ];
}
