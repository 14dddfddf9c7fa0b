/** Upstream identity providers, by openid-client: code flow with PKCE, state, nonce and a check of `iss`. */
import { readFile } from 'node:fs/promises';
import type { Configuration } from 'openid-client';
import { IssuerError } from '../../../core/errors.ts';
import type { Clock, EpochSeconds } from '../../../core/ports.ts';
import { mapClaims, type UserClaims } from './claims.ts';
import type { IdentityProviderConfig } from './contract.ts';

/** Kept on the server between the way there and the way back. */
export type Checks = { readonly state: string; readonly nonce: string; readonly verifier: string };

export type Question = Checks & {
  readonly redirectUri: string;
  readonly loginHint?: string | undefined;
  readonly prompt?: string | undefined;
  readonly maxAge?: number | undefined;
};

export type UpstreamLogin = {
  readonly issuer: string;
  readonly subject: string;
  readonly claims: UserClaims;
  readonly amr: readonly string[];
  readonly acr?: string | undefined;
  readonly authTime?: EpochSeconds | undefined;
};

export type Upstreams = {
  /** Where to send the browser. Throws UpstreamError. */
  begin(name: string, question: Question): Promise<string>;
  /** Who came back; the address is the one that the browser was sent to here. Throws UpstreamError. */
  finish(
    name: string,
    address: URL,
    checks: Checks & { readonly maxAge?: number | undefined },
  ): Promise<UpstreamLogin>;
};

/** What the other side said, for the page, or why it could not be asked, for the log. */
export class UpstreamError extends Error {
  readonly code: string | undefined;
  readonly description: string | undefined;

  constructor(code: string | undefined, description: string | undefined, cause: unknown) {
    super('the upstream identity provider did not sign anybody in', { cause });
    this.name = 'UpstreamError';
    this.code = code;
    this.description = description;
  }
}

const DISCOVERED_SECONDS = 3600;
const TIMEOUT_SECONDS = 10;
const DEFAULT_SCOPES = ['openid', 'profile', 'email'];

type Discovered = { readonly at: number; readonly configuration: Promise<Configuration> };

export function createUpstreams(
  configs: Readonly<Record<string, IdentityProviderConfig>>,
  clock: Clock,
): Upstreams {
  const known = new Map<string, Discovered>();
  function configurationOf(name: string, config: IdentityProviderConfig): Promise<Configuration> {
    const found = known.get(name);
    if (found !== undefined && clock.elapsed() - found.at < DISCOVERED_SECONDS) return found.configuration;
    const configuration = discover(config);
    known.set(name, { at: clock.elapsed(), configuration });
    configuration.catch(() => known.delete(name)); // asked again the next time
    return configuration;
  }
  async function run<T>(
    name: string,
    work: (configuration: Configuration, config: IdentityProviderConfig) => Promise<T>,
  ) {
    const config = Object.hasOwn(configs, name) ? configs[name] : undefined;
    if (config === undefined) throw new IssuerError('not_found', 'no such identity provider');
    try {
      return await work(await configurationOf(name, config), config);
    } catch (error) {
      throw error instanceof UpstreamError ? error : await errorOf(error);
    }
  }
  return {
    begin: (name, question) =>
      run(name, (configuration, config) => addressOf(configuration, config, question)),
    finish: (name, address, checks) =>
      run(name, (configuration, config) => redeem(configuration, config, address, checks)),
  };
}

async function discover(config: IdentityProviderConfig): Promise<Configuration> {
  const client = await import('openid-client');
  const secret =
    config.clientSecretFile === undefined ? undefined : await readSecret(config.clientSecretFile);
  const issuer = new URL(config.issuer);
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(issuer.hostname);
  return client.discovery(
    issuer,
    config.clientId,
    undefined,
    secret === undefined ? client.None() : client.ClientSecretBasic(secret),
    {
      timeout: TIMEOUT_SECONDS,
      execute: issuer.protocol === 'http:' && isLoopback ? [client.allowInsecureRequests] : [],
    },
  );
}

/** Without the newline that editors leave. */
async function readSecret(file: string): Promise<string> {
  return (await readFile(file, 'utf8')).replace(/\r?\n$/, '');
}

async function addressOf(
  configuration: Configuration,
  config: IdentityProviderConfig,
  { state, nonce, verifier, redirectUri, loginHint, prompt, maxAge }: Question,
): Promise<string> {
  const client = await import('openid-client');
  const parameters = {
    redirect_uri: redirectUri,
    scope: scopesOf(config).join(' '),
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    ...(loginHint === undefined ? {} : { login_hint: loginHint }),
    ...(prompt === undefined ? {} : { prompt }),
    ...(maxAge === undefined ? {} : { max_age: String(maxAge) }),
  };
  return client.buildAuthorizationUrl(configuration, parameters).href;
}

function scopesOf({ scopes = DEFAULT_SCOPES }: IdentityProviderConfig): readonly string[] {
  return scopes.includes('openid') ? scopes : ['openid', ...scopes];
}

async function redeem(
  configuration: Configuration,
  config: IdentityProviderConfig,
  address: URL,
  { state, nonce, verifier, maxAge }: Checks & { readonly maxAge?: number | undefined },
): Promise<UpstreamLogin> {
  const client = await import('openid-client');
  const tokens = await client.authorizationCodeGrant(configuration, address, {
    expectedState: state,
    expectedNonce: nonce,
    pkceCodeVerifier: verifier,
    idTokenExpected: true,
    ...(maxAge === undefined ? {} : { maxAge }),
  });
  const idToken = tokens.claims() ?? {};
  const { iss: issuer, sub: subject, amr, acr, auth_time: authTime } = idToken as Record<string, unknown>;
  if (typeof issuer !== 'string' || typeof subject !== 'string')
    throw new UpstreamError(undefined, 'the ID token has no sub', undefined);
  const hasUserinfo = configuration.serverMetadata().userinfo_endpoint !== undefined;
  const more = hasUserinfo ? await client.fetchUserInfo(configuration, tokens.access_token, subject) : {};
  return {
    issuer,
    subject,
    claims: mapClaims({ ...more, ...idToken }, config.claims),
    amr: Array.isArray(amr) && amr.every((word) => typeof word === 'string') ? amr : ['external'],
    acr: typeof acr === 'string' ? acr : undefined,
    authTime: typeof authTime === 'number' ? Math.floor(authTime) : undefined,
  };
}

/** OAuth's words where the other side sent the person back with them; anything else is for the log alone. */
async function errorOf(error: unknown): Promise<UpstreamError> {
  const { AuthorizationResponseError } = await import('openid-client');
  return error instanceof AuthorizationResponseError
    ? new UpstreamError(error.error, error.error_description, error)
    : new UpstreamError(undefined, undefined, error);
}
