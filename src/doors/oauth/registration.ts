/**
 * Dynamic registration (RFC 7591) and its management (RFC 7592). Whoever holds the initial access token
 * may register; what may be registered is the configuration's word, and nothing else of a request counts.
 */
import { readFile } from 'node:fs/promises';
import {
  type ClientMetadata,
  type Configuration,
  errors,
  type KoaContextWithOIDC,
  type Provider,
} from 'oidc-provider';
import { hashSecret, isHash, matchesHash } from '../../core/client-secrets.ts';
import { redirectFault } from './clients.ts';
import { GRANTS } from './grants/index.ts';
import type { OAuthConfig } from './settings.ts';

type Registration = NonNullable<OAuthConfig['registration']>;
type Features = NonNullable<Configuration['features']>;
type Metadata = Record<string, unknown>;

/** What a client may say of itself (RFC 7591 section 2, RFC 9449 section 5.2); all else is not understood. */
const TAKEN: ReadonlySet<string> = new Set([
  'application_type',
  'client_id',
  'client_id_issued_at',
  'client_name',
  'client_secret',
  'client_secret_expires_at',
  'client_uri',
  'contacts',
  'dpop_bound_access_tokens',
  'grant_types',
  'jwks',
  'jwks_uri',
  'logo_uri',
  'policy_uri',
  'post_logout_redirect_uris',
  'redirect_uris',
  'response_types',
  'scope',
  'token_endpoint_auth_method',
  'tos_uri',
]);
const METHODS = ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'none'];
const PAGES = ['client_uri', 'logo_uri', 'policy_uri', 'tos_uri', 'jwks_uri'];
const NAME_MAX = 100;
const URIS_MAX = 20;
const URI_MAX = 2000;
/** RFC 6750 section 2.1, and of 128 bits at least as base64url has them. */
const TOKEN = /^[A-Za-z0-9._~+/-]{22,}=*$/;
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])$/;
/** RFC 8252 section 7.1: a scheme of one's own is a domain in reverse. */
const OWN_SCHEME = /^[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+:$/;
const POLICY = 'mintmark';

/** Throws where the initial access token cannot be read, or is so short that it can be guessed. */
export async function assertRegistration({ registration }: OAuthConfig): Promise<void> {
  if (registration !== undefined) await initialTokenHash(registration);
}

export function registrationFeatures({
  registration: block,
}: OAuthConfig): Pick<Features, 'registration' | 'registrationManagement'> {
  if (block === undefined) return { registration: { enabled: false } };
  return {
    registration: {
      enabled: true,
      initialAccessToken: true,
      policies: { [POLICY]: (_ctx, properties) => restrict(properties as Metadata, block) },
    },
    // A rotated token that does not arrive would leave the client with none.
    registrationManagement: { enabled: true, rotateRegistrationAccessToken: false },
  };
}

/** The initial access token is one of the configuration, read when it is asked for and kept nowhere. */
export function useInitialToken(provider: Provider, { registration: block }: OAuthConfig): void {
  if (block === undefined) return;
  const { InitialAccessToken } = provider as unknown as {
    readonly InitialAccessToken: {
      new (properties: object): object;
      find(value: string): Promise<object | undefined>;
    };
  };
  InitialAccessToken.find = async (value) =>
    matchesHash(value, await initialTokenHash(block))
      ? new InitialAccessToken({ policies: [POLICY] })
      : undefined;
}

async function initialTokenHash({ accessTokenFile }: Registration): Promise<string> {
  const text = (await readFile(accessTokenFile, 'utf8')).trim();
  if (isHash(text)) return text;
  if (!TOKEN.test(text))
    throw new Error(
      `${accessTokenFile}: an initial access token is of at least 22 characters of A-Z a-z 0-9 . _ ~ + / -`,
    );
  return hashSecret(text);
}

/** Changes what a client asks to be registered as into what it may be. Throws `invalid_client_metadata`. */
function restrict(properties: Metadata, block: Registration): void {
  for (const name of Object.keys(properties)) if (!TAKEN.has(name)) delete properties[name];
  const method = properties.token_endpoint_auth_method ?? METHODS[0];
  if (!METHODS.includes(method as string))
    throw new errors.InvalidClientMetadata(`token_endpoint_auth_method must be one of ${METHODS.join(', ')}`);
  restrictGrants(properties, block, method === 'none');
  restrictScope(properties, block);
  restrictRedirects(properties);
  const { client_name: name } = properties;
  if (name !== undefined && (typeof name !== 'string' || name.length > NAME_MAX || /\p{Cc}/u.test(name)))
    throw new errors.InvalidClientMetadata(`client_name must be text of at most ${NAME_MAX} characters`);
  for (const page of PAGES) {
    const url = properties[page];
    if (url !== undefined && !(typeof url === 'string' && url.length <= URI_MAX && isHttps(url)))
      throw new errors.InvalidClientMetadata(`${page} must be an https URL`);
  }
}

function restrictGrants(properties: Metadata, { grants }: Registration, isPublic: boolean): void {
  const allowed = grants.map((name) => GRANTS[name]?.type ?? name);
  const { grant_types: asked } = properties;
  if (asked !== undefined && !(Array.isArray(asked) && asked.every((type) => allowed.includes(type))))
    throw new errors.InvalidClientMetadata(`grant_types must be of ${allowed.join(', ')}`);
  const types = (asked as readonly string[] | undefined) ?? ['authorization_code'];
  if (isPublic && types.includes('client_credentials'))
    throw new errors.InvalidClientMetadata('client_credentials is not for public clients');
  // RFC 7591 section 2.1: both go together, and many a client sends only one.
  const takesCodes = types.includes('authorization_code');
  if (properties.response_types === undefined) properties.response_types = takesCodes ? ['code'] : [];
  if (takesCodes !== [properties.response_types].flat().includes('code'))
    throw new errors.InvalidClientMetadata('response_types and grant_types contradict each other');
}

function restrictScope(properties: Metadata, { scopes }: Registration): void {
  const { scope } = properties;
  const asked = typeof scope === 'string' ? scope.split(' ').filter((name) => name !== '') : undefined;
  if (scope !== undefined && (asked === undefined || !asked.every((name) => scopes.includes(name))))
    throw new errors.InvalidClientMetadata('scope has what registered clients may not have');
  properties.scope = scopeText(asked ?? scopes);
}

/** The provider takes no empty text. */
function scopeText(names: readonly string[]): string | undefined {
  return names.length === 0 ? undefined : names.join(' ');
}

function restrictRedirects(properties: Metadata): void {
  const { redirect_uris: back = [], post_logout_redirect_uris: after = [] } = properties;
  const uris = [back, after].flat();
  if (!Array.isArray(back) || !Array.isArray(after) || uris.length > URIS_MAX)
    throw new errors.InvalidClientMetadata(`redirect_uris must be a list of at most ${URIS_MAX}`);
  // Programs on a device seldom say so (RFC 7591 has no word for it).
  const isNative = uris.some((uri) => typeof uri === 'string' && !isHttps(uri));
  properties.application_type ??= isNative ? 'native' : 'web';
  for (const uri of back) if (!isRedirect(uri, properties.application_type)) throw invalidRedirect();
  for (const uri of after)
    if (!isRedirect(uri, properties.application_type))
      throw new errors.InvalidClientMetadata('post_logout_redirect_uris has what cannot be one');
}

function invalidRedirect(): Error {
  return Object.assign(new errors.InvalidRedirectUri(), {
    error_description:
      'redirect_uris must be https, or for native clients http on loopback or a scheme such as com.example.app',
  });
}

function isRedirect(uri: unknown, type: unknown): boolean {
  // URL.parse leaves out line breaks and tabs.
  const isPlain = typeof uri === 'string' && uri.length <= URI_MAX && /^[\x21-\x7e]+$/.test(uri);
  const url = isPlain ? URL.parse(uri) : null;
  if (!isPlain || url === null || redirectFault(uri) !== undefined || url.href.includes('#')) return false;
  if (url.protocol === 'https:') return true;
  if (type !== 'native') return false;
  return url.protocol === 'http:' ? LOOPBACK.test(url.hostname) : OWN_SCHEME.test(url.protocol);
}

function isHttps(uri: string): boolean {
  return URL.parse(uri)?.protocol === 'https:';
}

/** As it is stored: with the hash of its secret. */
export function storedClient(payload: ClientMetadata): ClientMetadata {
  const { client_secret: secret } = payload;
  if (secret === undefined || isHash(secret)) return payload;
  return { ...payload, client_secret: hashSecret(secret) };
}

/** As it is taken from the store: without what the configuration no longer allows; undefined where that is all. */
export function restoredClient(
  payload: ClientMetadata | undefined,
  { registration: block }: Pick<OAuthConfig, 'registration'>,
): ClientMetadata | undefined {
  if (block === undefined || payload === undefined) return undefined;
  const allowed = block.grants.map((name) => GRANTS[name]?.type ?? name);
  const { scope = '', grant_types: grants = [] } = payload;
  const left = grants.filter((type) => allowed.includes(type));
  return {
    ...payload,
    grant_types: left,
    response_types: left.includes('authorization_code') ? ['code'] : [],
    scope: scopeText(scope.split(' ').filter((name) => block.scopes.includes(name))),
  };
}

/**
 * RFC 7592 section 2.2: a client that changes its record may send its secret along. Here it is known by
 * its hash.
 */
export function hashUpdate(body: Buffer): Buffer {
  try {
    const sent = JSON.parse(body.toString()) as Metadata;
    if (typeof sent?.client_secret !== 'string') return body;
    return Buffer.from(JSON.stringify({ ...sent, client_secret: hashSecret(sent.client_secret) }));
  } catch {
    return body;
  }
}

const ROUTES: ReadonlySet<string> = new Set(['registration', 'client', 'client_update']);

/** A secret is shown once. */
export function shapeRegistration(ctx: KoaContextWithOIDC): void {
  if (!ROUTES.has(ctx.oidc.route)) return;
  const body = ctx.body as Metadata | undefined;
  if (body === undefined) return;
  if (typeof body.client_secret === 'string' && isHash(body.client_secret)) {
    const { client_secret: _hash, client_secret_expires_at: _never, ...shown } = body;
    ctx.body = shown;
  }
}
