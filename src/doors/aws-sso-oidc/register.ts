/** RegisterClient, and the clients that it makes: records beside those of RFC 7591, which end by themselves. */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Context } from 'koa';
import type { ClientMetadata } from 'oidc-provider';
import { hashSecret } from '../../core/client-secrets.ts';
import type { RecordPayload } from '../../core/records.ts';
import type { Guest, OAuthServer } from '../oauth-server.ts';
import { Exception } from './exceptions.ts';
import { type Members, readMembers } from './fields.ts';
import { GRANT_TYPES, OFFLINE, type Parts } from './parts.ts';
import type { DoorConfig } from './settings.ts';

export type Register = {
  find(id: string): Promise<Guest | undefined>;
  save(metadata: ClientMetadata, expiresAt: number): Promise<void>;
  /** Throws SlowDownException. */
  count(request: IncomingMessage): Promise<void>;
};

/** Ids of other clients have no dot there, or are in the configuration. */
const ID = /^aws-sso-oidc\.[\w-]{22}$/;
export const NAME_MAX = 255;
export const URIS_MAX = 20;
export const URI_MAX = 2000;
/** Something that people see in a name. */
const SEEN = /[^\p{Z}\p{C}]/u;
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])$/;
export const TAKEN: readonly string[] = ['authorization_code', 'refresh_token', 'device_code'].map(
  (name) => GRANT_TYPES[name as 'device_code'],
);

export function openRegister(
  config: DoorConfig,
  { records, realm, clock, networkOf }: OAuthServer,
): Register {
  const key = (id: string) => ({ realm, model: 'Client', id });
  return {
    async find(id) {
      const found = ID.test(id) ? await records.find(key(id), clock.now()) : undefined;
      return found && { metadata: allowed(found.payload as ClientMetadata, config), proof: 'secret' };
    },
    async save(metadata, expiresAt) {
      const payload = metadata as unknown as RecordPayload;
      await records.insert(key(metadata.client_id), { payload, expiresAt }, clock.now());
    },
    async count(request) {
      const { perAddress, windowSeconds } = config.registrations;
      const place = { realm, model: 'AwsRegistrations', id: networkOf(request) };
      if ((await records.count(place, windowSeconds, clock.now())) > perAddress)
        throw new Exception('slow_down', 'there were too many registrations from this address');
    },
  };
}

/** What the configuration no longer allows is gone from what was registered before. */
function allowed(metadata: ClientMetadata, config: DoorConfig): ClientMetadata {
  const kept = (metadata.scope ?? '')
    .split(' ')
    .filter((scope) => scope === OFFLINE || config.scopes.includes(scope));
  return {
    ...metadata,
    scope: kept.length === 0 ? undefined : kept.join(' '),
    allowed_scopes: kept,
    require_consent: config.consent,
    access_token_ttl: config.accessTokenTtl,
    any_loopback_port: true,
  } as ClientMetadata;
}

export async function registerClient(context: Context, parts: Parts): Promise<void> {
  const { members } = await readMembers(context);
  const { config, register, oauth, origin } = parts;
  const asked = clientOf(members, config);
  await register.count(context.req);
  const issuedAt = oauth.clock.now();
  const expiresAt = issuedAt + config.registrationTtl;
  const id = `aws-sso-oidc.${randomBytes(16).toString('base64url')}`;
  const secret = randomBytes(32).toString('base64url');
  const metadata = {
    ...asked,
    client_id: id,
    client_secret: hashSecret(secret),
    client_id_issued_at: issuedAt,
    client_secret_expires_at: expiresAt,
    application_type: 'native',
    scope_as: 'string',
  };
  await register.save(metadata as ClientMetadata, expiresAt);
  parts.tell({ client: id, expiresAt }, 'a client was registered');
  context.set('Cache-Control', 'no-store');
  context.body = {
    clientId: id,
    clientSecret: secret,
    clientIdIssuedAt: issuedAt,
    clientSecretExpiresAt: expiresAt,
    authorizationEndpoint: `${origin}/authorize`,
    tokenEndpoint: `${origin}${config.path}/token`,
  };
}

/** Throws the exceptions of RegisterClient. */
function clientOf(members: Members, config: DoorConfig) {
  const name = members.required('clientName');
  if (members.required('clientType') !== 'public')
    throw new Exception('invalid_client_metadata', 'clientType must be public');
  if (name.length > NAME_MAX || /\p{Cc}/u.test(name) || !SEEN.test(name))
    throw new Exception(
      'invalid_client_metadata',
      `clientName must be text of at most ${NAME_MAX} characters, and not of blanks alone`,
    );
  members.text('issuerUrl');
  members.text('entitledApplicationArn');
  const uris = redirectUris(members);
  const grants = grantTypes(members, uris.length > 0);
  const scopes = new Set(members.texts('scopes') ?? config.scopes);
  const unknown = [...scopes].find((scope) => scope !== OFFLINE && !config.scopes.includes(scope));
  if (unknown !== undefined)
    throw new Exception('invalid_scope', `scopes must be of ${[...config.scopes, OFFLINE].join(', ')}`);
  if (grants.includes(GRANT_TYPES.refresh_token)) scopes.add(OFFLINE);
  return {
    client_name: name,
    grant_types: grants,
    response_types: grants.includes(GRANT_TYPES.authorization_code) ? ['code'] : [],
    redirect_uris: uris,
    scope: [...scopes].join(' '),
  };
}

function grantTypes(members: Members, hasRedirects: boolean): readonly string[] {
  const asked = members.texts('grantTypes');
  if (asked?.length === 0) throw new Exception('invalid_request', 'grantTypes is empty');
  if (asked?.some((type) => !TAKEN.includes(type)) === true)
    throw new Exception('unsupported_grant_type', `grantTypes must be of ${TAKEN.join(', ')}`);
  if (asked?.includes(GRANT_TYPES.authorization_code) === true && !hasRedirects)
    throw new Exception('invalid_redirect_uri', 'authorization_code needs redirectUris');
  const types = asked ?? TAKEN.filter((type) => hasRedirects || type !== GRANT_TYPES.authorization_code);
  return [...new Set(types)];
}

/** RFC 8252 section 7.3: a program on the person's own machine, whose port counts for nothing. */
function redirectUris(members: Members): readonly string[] {
  const uris = members.texts('redirectUris') ?? [];
  const isTaken = (uri: string) => {
    const url = uri.length <= URI_MAX ? URL.parse(uri) : null;
    return (
      url?.protocol === 'http:' &&
      LOOPBACK.test(url.hostname) &&
      `${url.username}${url.password}` === '' &&
      !uri.includes('#')
    );
  };
  if (uris.length > URIS_MAX || !uris.every(isTaken))
    throw new Exception(
      'invalid_redirect_uri',
      `redirectUris must be at most ${URIS_MAX} http addresses on loopback`,
    );
  return [...new Set(uris)];
}
