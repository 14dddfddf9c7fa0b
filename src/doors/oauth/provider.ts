/** A provider for one state of the key ring. It is cheap to make, and is made anew when the ring changes. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import {
  type Client,
  type ClientMetadata,
  type Configuration,
  ExternalSigningKey,
  type KoaContextWithOIDC,
  Provider,
} from 'oidc-provider';
import type { RingKey } from '../../core/key-ports.ts';
import type { KeyRing } from '../../core/key-ring.ts';
import { useCoreTokens } from './access-tokens.ts';
import { hash, openAdapter } from './adapter.ts';
import { validateParameters } from './authorization-request.ts';
import { clientFetch, FETCH_MAX_BYTES } from './client-fetch.ts';
import { assertClientAssertion, useReplayDetection } from './client-proofs.ts';
import { allScopes, compareHashes, matchExactly, OWN_PROPERTIES, provenName } from './clients.ts';
import { bindLogins, existingGrant } from './consent.ts';
import { leaveUnsaved, limitGuesses } from './device.ts';
import type { GrantModule } from './grants/grant.ts';
import { GRANTS } from './grants/index.ts';
import { withGuests } from './guests.ts';
import { introspectionPolicy, revocationPolicy } from './introspection.ts';
import { ASSERTION_ALGORITHMS, PROOF_ALGORITHMS } from './metadata.ts';
import { CARRIED_ACR_VALUES } from './parameters.ts';
import type { Engine, PreparedRequest } from './parts.ts';
import { registrationFeatures, useInitialToken } from './registration.ts';

export type OpenGrants = readonly { readonly type: string; readonly grant: GrantModule }[];

/** Not `form_post`, whose page has a script. */
class OwnProvider extends Provider {
  override registerResponseMode(...[name, handler]: Parameters<Provider['registerResponseMode']>): void {
    if (name !== 'form_post') super.registerResponseMode(name, handler);
  }
}

class RingSigningKey extends ExternalSigningKey {
  readonly #key: RingKey;
  readonly #sign: Engine['sign'];

  constructor(key: RingKey, sign: Engine['sign']) {
    super();
    this.#key = key;
    this.#sign = sign;
    Object.assign(this, { kid: key.keyId, alg: key.algorithm });
  }

  override keyObject(): KeyObject {
    return createPublicKey(this.#key.privateKey);
  }

  override sign(data: Uint8Array): Promise<Uint8Array> {
    return this.#sign(this.#key, data);
  }
}

/** Active keys sign and come first; the others are there for tokens that they signed (`id_token_hint`). */
function signingKeys(ring: KeyRing, sign: Engine['sign']): readonly ExternalSigningKey[] {
  const rank = (key: RingKey) => Number(key.state !== 'active');
  return ring.keys
    .filter(({ state }) => state !== 'next')
    .sort((a, b) => rank(a) - rank(b))
    .map((key) => new RingSigningKey(key, sign));
}

export function buildProvider(
  engine: Engine,
  ring: KeyRing,
  clients: readonly ClientMetadata[],
  grants: OpenGrants,
): Provider {
  const provider = new OwnProvider(engine.issuer.identifier, {
    ...settings(engine),
    clients: [...clients],
    jwks: { keys: [...signingKeys(ring, engine.sign)] },
  });
  provider.proxy = true; // what the headers say was pinned to the issuer before
  for (const { type, grant } of grants)
    provider.registerGrantType(
      type,
      (ctx) => grant.handle(ctx, engine),
      [...grant.parameters],
      [...(grant.repeatable ?? [])],
    );
  compareHashes(provider, (id) => (Provider.ctx?.req as PreparedRequest | undefined)?.provenClient === id);
  matchExactly(provider);
  useReplayDetection(provider);
  useInitialToken(provider, engine.config);
  useCoreTokens(provider, engine);
  bindLogins(provider, engine);
  leaveUnsaved(provider);
  return provider;
}

function settings(engine: Engine): Configuration {
  const { config, people, records, realm, clock, secret } = engine;
  const onUserCode = () => limitGuesses(engine);
  const adapterParts = { records, realm, now: () => clock.now(), secret, onUserCode, config };
  return {
    adapter: (model) =>
      model === 'Client'
        ? withGuests(openAdapter(model, adapterParts), engine.guests())
        : openAdapter(model, adapterParts),
    scopes: [...new Set([...allScopes(config), ...engine.guests().scopes])],
    claims: people.claims,
    cookies: cookies(engine),
    clientAuthMethods: CLIENT_AUTH_METHODS,
    fetch: fetchOf(engine) as never,
    fetchResponseBodyLimits: { jwks_uri: FETCH_MAX_BYTES } as never,
    clientDefaults: { id_token_signed_response_alg: 'RS256' },
    clientBasedCORS: (_ctx, origin, client) =>
      ((client.cors_origins as readonly string[] | undefined) ?? []).includes(origin),
    extraClientMetadata: {
      properties: [...OWN_PROPERTIES, 'cors_origins'],
    },
    extraParams: {
      resource: (ctx: KoaContextWithOIDC, _value: unknown, client: Client) =>
        validateParameters(ctx, client, engine),
      [CARRIED_ACR_VALUES]: null,
    } as never,
    assertJwtClientAuthClaimsAndHeader: assertClientAssertion(engine) as never,
    enabledJWA: {
      clientAuthSigningAlgValues: [...ASSERTION_ALGORITHMS],
      dPoPSigningAlgValues: [...PROOF_ALGORITHMS],
    },
    responseTypes: ['code'],
    pkce: { required: (_ctx, client) => client.require_pkce !== false },
    // RFC 6749 section 4.1.3: one that the code was asked for with is asked for again.
    allowOmittingSingleRegisteredRedirectUri: false,
    rotateRefreshToken: true,
    issueRefreshToken: (_ctx, client, source) =>
      client.grantTypeAllowed('refresh_token') && source.scopes.has('offline_access'),
    expiresWithSession: () => false,
    findAccount: people.findAccount,
    loadExistingGrant: (ctx) => existingGrant(ctx, engine),
    interactions: people.interactions,
    renderError: people.renderError,
    routes: routes(config.path),
    features: features(engine),
    ttl: ttl(engine),
  };
}

const CLIENT_AUTH_METHODS = [
  'client_secret_basic',
  'client_secret_post',
  'private_key_jwt',
  'tls_client_auth',
  'none',
] as const as unknown as NonNullable<Configuration['clientAuthMethods']>;

function fetchOf({ config, issuer, internet }: Engine) {
  const uris = config.clients.flatMap(({ jwksUri }) =>
    jwksUri === undefined ? [] : [new URL(jwksUri).href],
  );
  return clientFetch({
    internet,
    trusted: new Set(uris),
    isDevelopment: issuer.identifier.startsWith('http:'),
  });
}

function cookies({ secret, issuer }: Engine): Configuration['cookies'] {
  const { protocol, pathname } = new URL(issuer.identifier);
  // Without a path: the provider gives each interaction's cookies its own, so that every tab has its own.
  const short = { httpOnly: true, sameSite: 'lax', secure: protocol === 'https:', signed: true } as const;
  // Issuers below one another's paths see each other's cookies.
  const tag = pathname === '/' ? '' : `_${hash(pathname).slice(0, 8)}`;
  const names = {
    session: `_session${tag}`,
    interaction: `_interaction${tag}`,
    resume: `_interaction_resume${tag}`,
  };
  return {
    names,
    keys: [Buffer.from(secret).toString('base64url')],
    long: { ...short, path: pathname },
    short,
  };
}

function routes(path: string): Configuration['routes'] {
  return {
    authorization: `${path}/authorize`,
    token: `${path}/token`,
    device_authorization: `${path}/deviceauthorization`,
    introspection: `${path}/introspect`,
    revocation: `${path}/revocation`,
    userinfo: `${path}/userinfo`,
    end_session: `${path}/endsession`,
    registration: `${path}/register`,
    pushed_authorization_request: `${path}/par`,
    code_verification: '/device',
  };
}

function features(engine: Engine): NonNullable<Configuration['features']> {
  const { config, people } = engine;
  return {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true, charset: 'base-20', mask: '****-****', ...people.deviceFlow },
    introspection: { enabled: true, allowedPolicy: introspectionPolicy(engine) },
    revocation: { enabled: true, allowedPolicy: revocationPolicy },
    userinfo: { enabled: true },
    resourceIndicators: { enabled: false },
    rpInitiatedLogout: { enabled: true, ...people.rpInitiatedLogout },
    dPoP: { enabled: true },
    externalSigningSupport: { enabled: true, ack: 'experimental-01' },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      // Not a certificate: a client that was proven by attestation or by another issuer (request.ts).
      getCertificate: (ctx) => (ctx.req as PreparedRequest).provenClient,
      certificateAuthorized: () => true,
      certificateSubjectMatches: (ctx, _property, expected) =>
        expected === provenName((ctx.req as PreparedRequest).provenClient ?? ''),
    },
    ...registrationFeatures(config),
  };
}

/** The longest life of an access token. */
const DAY_SECONDS = 86_400;
/** The longest life of a device code, and how long somebody may take to sign in. */
const HOUR_SECONDS = 3600;

function ttl(engine: Engine): Configuration['ttl'] {
  const { config } = engine;
  return {
    // Each token gets its own (access-tokens.ts).
    AccessToken: config.accessTokenTtl,
    ClientCredentials: config.accessTokenTtl,
    AuthorizationCode: 60,
    DeviceCode: config.deviceCodeTtl,
    RefreshToken: (_ctx, _token, client) =>
      (client.refresh_token_ttl as number | undefined) ?? config.refreshTokenTtl,
    IdToken: 600,
    // From the last authorization on; the tokens that a code is given come a little later, and none outlives it.
    Grant:
      Math.max(
        ...config.clients.flatMap(({ refreshTokenTtl }) => refreshTokenTtl ?? []),
        config.refreshTokenTtl,
        DAY_SECONDS,
      ) + HOUR_SECONDS,
    // Whoever is not signed in needs it for a form, and anyone can make as many as they like.
    Session: (_ctx, { accountId }) => (accountId === undefined ? HOUR_SECONDS : config.sessionTtl),
    Interaction: HOUR_SECONDS,
  };
}

export async function openGrants(): Promise<OpenGrants> {
  const opened = await Promise.all(
    Object.values(GRANTS).map(async ({ type, open }) => ({ type, grant: (await open?.())?.grant })),
  );
  return opened.filter((entry): entry is OpenGrants[number] => entry.grant !== undefined);
}
