/** CreateToken: OAuth's token endpoint with other names. */
import type { Context } from 'koa';
import { matchesHash } from '../../core/client-secrets.ts';
import type { Called } from '../oauth-server.ts';
import { Exception, exceptionOf } from './exceptions.ts';
import { type Members, readMembers } from './fields.ts';
import { GRANT_TYPES, type GrantName, type Parts } from './parts.ts';

/** The members that each grant needs, and how the token endpoint calls them; those with ? may be absent. */
const PARAMETERS: Readonly<Record<GrantName, Readonly<Record<string, string>>>> = {
  authorization_code: { code: 'code', redirectUri: 'redirect_uri', 'codeVerifier?': 'code_verifier' },
  refresh_token: { refreshToken: 'refresh_token' },
  device_code: { deviceCode: 'device_code' },
  jwt_bearer: { assertion: 'assertion' },
  token_exchange: {
    subjectToken: 'subject_token',
    subjectTokenType: 'subject_token_type',
    'requestedTokenType?': 'requested_token_type',
  },
};

const UNSIGNED: readonly GrantName[] = ['authorization_code', 'refresh_token', 'device_code'];

export async function createToken(context: Context, parts: Parts): Promise<void> {
  const { members } = await readMembers(context);
  const id = members.required('clientId');
  const secret = members.required('clientSecret');
  const { form } = formOf(members, UNSIGNED);
  form.set('client_id', id);
  form.set('client_secret', secret);
  const client = (await parts.register.find(id))?.metadata;
  // Who does not prove to be the client hears of that alone.
  const isProven = client !== undefined && matchesHash(secret, String(client.client_secret));
  const narrowTo = narrowing(members, isProven ? (client.scope?.split(' ') ?? []) : [], parts);
  const called = await ask(context, parts, { form, narrowTo });
  answer(context, tokensOf(called, parts, narrowTo));
}

/** Throws `unsupported_grant_type`, and `invalid_request` for what is missing. */
export function formOf(members: Members, taken: readonly GrantName[]) {
  const type = members.required('grantType');
  const grant = taken.find((name) => GRANT_TYPES[name] === type);
  if (grant === undefined)
    throw new Exception(
      'unsupported_grant_type',
      `grantType must be of ${taken.map((name) => GRANT_TYPES[name]).join(', ')}`,
    );
  const form = new URLSearchParams({ grant_type: type });
  for (const [name, parameter] of Object.entries(PARAMETERS[grant])) {
    const value = name.endsWith('?') ? members.text(name.slice(0, -1)) : members.required(name);
    if (value !== undefined) form.set(parameter, value);
  }
  return { grant, form };
}

/** What `scope` keeps the token to; undefined: to nothing. Throws `invalid_scope`. */
export function narrowing(
  members: Members,
  allowed: readonly string[],
  { config }: Parts,
): readonly string[] | undefined {
  const asked = members.texts('scope') ?? [];
  if (asked.length === 0 || config.scope === 'ignored') return undefined;
  if (allowed.length > 0 && !asked.every((name) => allowed.includes(name)))
    throw new Exception('invalid_scope', 'scope has what the client may not have');
  return asked;
}

export async function ask(
  context: Context,
  { oauth }: Parts,
  given: {
    readonly form: URLSearchParams;
    readonly narrowTo?: readonly string[] | undefined;
    readonly provenClient?: string;
  },
): Promise<Called> {
  const called = await oauth.call({ path: `${oauth.path}/token`, request: context.req, ...given });
  const { status, body, headers } = called;
  if (typeof headers['retry-after'] === 'string') context.set('Retry-After', headers['retry-after']);
  if (status !== 200) throw exceptionOf(status, body);
  return called;
}

export function tokensOf({ body }: Called, { config }: Parts, narrowTo: readonly string[] | undefined) {
  const hasIdToken = config.idToken && body.id_token !== undefined && (narrowTo?.includes('openid') ?? true);
  return {
    accessToken: body.access_token,
    tokenType: body.token_type,
    expiresIn: body.expires_in,
    ...(body.refresh_token === undefined ? {} : { refreshToken: body.refresh_token }),
    ...(hasIdToken ? { idToken: body.id_token } : {}),
  };
}

export function answer(context: Context, body: object): void {
  context.set('Cache-Control', 'no-store');
  context.body = body;
}
