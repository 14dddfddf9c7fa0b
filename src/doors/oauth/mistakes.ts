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
/** Selectors of who shows a token, and of no process. */
const OF_TOKENS = /^(jwt|oauth):/;
const SECRET_MIN = 16;

/** Of the block; `provable` is what the configured attestors can prove. */
export async function findMistakes(block: OAuthConfig, provable: Provable): Promise<readonly Mistake[]> {
  const found = block.clients.map(async (client, index) => {
    const file = await fileMistakes('secretFile', client.secretFile, secretFault);
    return [...clientMistakes(client, block, provable), ...file].map(({ path, message }) => ({
      path: `clients[${index}].${path}`,
      message,
    }));
  });
  const token = await fileMistakes('registration.accessTokenFile', block.registration?.accessTokenFile);
  return [
    ...(await Promise.all(found)).flat(),
    ...resourceMistakes(block),
    ...(await peopleMistakes(block)),
    ...each('registration.scopes', block.registration?.scopes ?? [], scopeFault(resourceScopes(block))),
    ...token,
  ];
}

/** Their secret is the other side's to choose. */
async function peopleMistakes({ people }: OAuthConfig): Promise<readonly Mistake[]> {
  const all = Object.entries(people.identityProviders ?? {}).map(async ([name, { clientSecretFile }]) => {
    const path = `people.identityProviders.${name}`;
    const taken = name === LOCAL_IDP ? 'is the name of the password form: give it another' : undefined;
    return [...at(path, taken), ...(await fileMistakes(`${path}.clientSecretFile`, clientSecretFile))];
  });
  return (await Promise.all(all)).flat();
}

function resourceScopes({ resources }: OAuthConfig): readonly string[] {
  return [...IDENTITY_SCOPES, ...resources.flatMap(({ scopes }) => scopes)];
}

function scopeFault(known: readonly string[]) {
  return (name: string) => (known.includes(name) ? undefined : 'is a scope of no resource');
}

function clientMistakes(client: ClientConfig, block: OAuthConfig, provable: Provable): readonly Mistake[] {
  const { match = [], federated, identityProviders = [], grants, scopes } = client;
  const idps = [LOCAL_IDP, ...Object.keys(block.people.identityProviders ?? {})];
  // Such a client may have scopes of an audience that only the rules know.
  const known = grants.some((name) => EXCHANGES.includes(name)) ? scopes : resourceScopes(block);
  return [
    ...each('match', match, (selector) =>
      OF_TOKENS.test(selector)
        ? 'is of tokens, and no caller of the socket has it'
        : selectorFault(selector, provable),
    ),
    ...federatedMistakes(federated, provable),
    ...each('identityProviders', identityProviders, (name) =>
      idps.includes(name) ? undefined : `there is no such identity provider; known: ${idps.join(' ')}`,
    ),
    ...each('redirectUris', client.redirectUris, redirectFault),
    ...each('postLogoutRedirectUris', client.postLogoutRedirectUris, redirectFault),
    ...each('corsOrigins', client.corsOrigins, originFault),
    ...each('scopes', scopes, scopeFault(known)),
    ...each('grants', grants, (name) =>
      EXCHANGES.includes(name) && !provable.kinds.includes(ASSERTIONS)
        ? 'needs attestors.jwt: it takes tokens of trusted issuers'
        : undefined,
    ),
  ];
}

function federatedMistakes(federated: ClientConfig['federated'], provable: Provable): readonly Mistake[] {
  if (federated === undefined) return [];
  const issuer = `${ASSERTIONS}:${federated.issuer}`;
  const fault = selectorFault(issuer, provable);
  if (fault !== undefined) return at('federated.issuer', fault);
  return at('federated.subject', provable.faultOf?.(`jwt:subject:${federated.subject}`, [issuer]));
}

/** It is compared with the header `Origin` as browsers send it. */
function originFault(origin: string): string | undefined {
  const { protocol, host } = new URL(origin);
  return origin === `${protocol}//${host}` ? undefined : `is no origin: ${protocol}//${host} is`;
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

/** Whoever asks may guess. */
function secretFault(secret: string): string | undefined {
  return secret.length < SECRET_MIN
    ? `has fewer than ${SECRET_MIN} characters: take what \`mintmark secret\` prints`
    : undefined;
}

async function fileMistakes(
  path: string,
  file: string | undefined,
  faultOf: (text: string) => string | undefined = () => undefined,
): Promise<readonly Mistake[]> {
  if (file === undefined) return [];
  try {
    const text = (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
    return at(path, text === '' ? 'is empty' : faultOf(text));
  } catch (error) {
    return at(path, `cannot be read: ${(error as NodeJS.ErrnoException).code}`);
  }
}
