/** What of the settings cannot work together, with attestation, or with the files that they name. */
import { readFile } from 'node:fs/promises';
import type { Provable } from '../../core/ports.ts';
import { IDENTITY_SCOPES } from '../../core/scopes.ts';
import { kindOf } from '../../core/selectors.ts';
import { redirectFault } from './clients.ts';
import { LOCAL_IDP } from './people/contract.ts';
import type { ClientConfig, OAuthConfig } from './settings.ts';

export type Mistake = { readonly path: string; readonly message: string };

/** They take tokens that an attestor proves. */
const EXCHANGES: readonly string[] = ['token_exchange', 'jwt_bearer'];
const ASSERTIONS = 'jwt:issuer';

/** Of the block; `provable` is what the configured attestors can prove. */
export async function findMistakes(block: OAuthConfig, provable: Provable): Promise<readonly Mistake[]> {
  const found = block.clients.map(async (client, index) => {
    const file = await fileMistakes('secretFile', client.secretFile);
    return [...clientMistakes(client, block, provable), ...file].map(({ path, message }) => ({
      path: `clients[${index}].${path}`,
      message,
    }));
  });
  const token = await fileMistakes('registration.accessTokenFile', block.registration?.accessTokenFile);
  return [...(await Promise.all(found)).flat(), ...resourceMistakes(block), ...token];
}

function clientMistakes(client: ClientConfig, block: OAuthConfig, provable: Provable): readonly Mistake[] {
  const { match = [], federated, identityProviders = [], grants, scopes } = client;
  const idps = [LOCAL_IDP, ...Object.keys(block.people.identityProviders ?? {})];
  // Such a client may have scopes of an audience that only the rules know.
  const known = grants.some((name) => EXCHANGES.includes(name))
    ? scopes
    : [...IDENTITY_SCOPES, ...block.resources.flatMap((resource) => resource.scopes)];
  return [
    ...each('match', match, (selector) => selectorFault(selector, provable)),
    ...at('federated.issuer', federated && selectorFault(`${ASSERTIONS}:${federated.issuer}`, provable)),
    ...each('identityProviders', identityProviders, (name) =>
      idps.includes(name) ? undefined : `there is no such identity provider; known: ${idps.join(' ')}`,
    ),
    ...each('redirectUris', client.redirectUris, redirectFault),
    ...each('postLogoutRedirectUris', client.postLogoutRedirectUris, redirectFault),
    ...each('scopes', scopes, (name) => (known.includes(name) ? undefined : 'is a scope of no resource')),
    ...each('grants', grants, (name) =>
      EXCHANGES.includes(name) && !provable.kinds.includes(ASSERTIONS)
        ? 'needs attestors.jwt: it takes tokens of trusted issuers'
        : undefined,
    ),
  ];
}

function each(
  name: string,
  values: readonly string[],
  faultOf: (value: string) => string | undefined,
): readonly Mistake[] {
  return values.flatMap((value, index) => at(`${name}[${index}]`, faultOf(value)));
}

function at(path: string, message: string | undefined): readonly Mistake[] {
  return message === undefined ? [] : [{ path, message }];
}

function selectorFault(selector: string, { kinds, faultOf }: Provable): string | undefined {
  const kind = kindOf(selector);
  return kinds.includes(kind) ? faultOf?.(selector) : `no attestor proves ${kind}`;
}

function resourceMistakes({ resources, clients, registration }: OAuthConfig): readonly Mistake[] {
  // Whoever registers later cannot be known.
  if (registration !== undefined) return [];
  const ids = clients.map(({ id }) => id);
  return resources.flatMap(({ introspectedBy }, index) =>
    each(`resources[${index}].introspectedBy`, introspectedBy, (id) =>
      ids.includes(id) ? undefined : 'there is no such client',
    ),
  );
}

async function fileMistakes(path: string, file: string | undefined): Promise<readonly Mistake[]> {
  if (file === undefined) return [];
  try {
    await readFile(file);
    return [];
  } catch (error) {
    return at(path, `cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
