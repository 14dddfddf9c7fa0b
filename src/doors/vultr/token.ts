/** POST provider/{id}/token: JSON or a form becomes the OAuth server's form, and its answer 201 or {"error", "status"}. */
import type { Context } from 'koa';
import { IssuerError } from '../../core/errors.ts';
import { parseFields, readBody } from '../body.ts';
import { answerJson } from './answers.ts';
import { type ApiKeys, isFor } from './api-keys.ts';
import { absent, type Fields, isId, refuse, textOf } from './fields.ts';
import type { HostedSpec, IssuerHost, Vultr } from './parts.ts';
import { type Provider, specOf } from './providers.ts';
import type { ClientSettings } from './settings.ts';

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const GRANTS = ['authorization_code', 'refresh_token', EXCHANGE];
/** The client of API keys that exchange tokens in nobody's name. */
export const API_CLIENT = 'api-key';
const VALUE_MAX = 16 * 1024;
const PASSED = [
  ...['grant_type', 'code', 'code_verifier', 'refresh_token', 'scope'],
  ...['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type'],
  ...['audience', 'resource', 'client_id', 'client_secret'],
];

export type TokenParts = {
  readonly vultr: Vultr;
  readonly keys: ApiKeys;
  readonly host: IssuerHost;
};

export async function answerToken(context: Context, provider: Provider, parts: TokenParts): Promise<void> {
  try {
    const bytes = await readBody(context.req);
    const form = translate(parseFields(bytes, context.get('Content-Type') || undefined));
    const spec = specOf(parts.vultr, provider);
    if (form.get('grant_type') === EXCHANGE && !form.has('audience') && !form.has('resource'))
      form.set('audience', spec.identifier);
    const { headers, provenClient } = await authenticate(context, provider, form, parts);
    const { status, body } = await parts.host.token(spec, {
      form,
      request: context.req,
      headers,
      provenClient,
    });
    if (status === 200) return answerJson(context, 201, body);
    if (status === 401) context.set('WWW-Authenticate', 'Basic realm="token"');
    answerJson(context, status, { ...body, status });
  } catch (error) {
    answerRefusal(context, error);
  }
}

/** OAuth's words (RFC 6749 section 5.2) for what is refused before the OAuth server sees it. */
function answerRefusal(context: Context, error: unknown): void {
  if (!(error instanceof IssuerError)) throw error;
  const words: Readonly<Record<string, readonly [string, number]>> = {
    invalid_request: ['invalid_request', 400],
    request_too_large: ['invalid_request', 413],
    peer_unproven: ['invalid_client', 401],
    access_denied: ['unauthorized_client', 403],
    invalid_assertion: ['invalid_grant', 400],
    conflict: ['unsupported_grant_type', 400],
  };
  const found = words[error.code];
  if (found === undefined) throw error;
  const [word, status] = found;
  if (status === 401) context.set('WWW-Authenticate', 'Bearer');
  const { shown, sentence } = error;
  const reason = typeof shown?.reason === 'string' ? shown.reason : sentence;
  answerJson(context, status, { error: word, error_description: reason, status });
}

/** Throws `invalid_request`, and `conflict` for a grant that there is not here. */
function translate(fields: Fields): URLSearchParams {
  const form = new URLSearchParams();
  for (const name of PASSED) {
    const value = textOf(fields, name, VALUE_MAX);
    if (value !== undefined) form.set(name, value);
  }
  const [url, uri] = ['redirect_url', 'redirect_uri'].map((name) => textOf(fields, name, VALUE_MAX));
  if (url !== undefined && uri !== undefined && url !== uri)
    throw refuse('redirect_url and redirect_uri differ');
  const redirect = url ?? uri;
  if (redirect !== undefined) form.set('redirect_uri', redirect);
  const grant = form.get('grant_type');
  if (grant === null) throw refuse('grant_type is missing');
  if (!GRANTS.includes(grant)) {
    const reason = 'grant_type is authorization_code, refresh_token or token-exchange (RFC 8693)';
    throw new IssuerError('conflict', reason, { shown: { reason } });
  }
  return form;
}

type Authenticated = {
  readonly headers: Readonly<Record<string, string>>;
  readonly provenClient: string | undefined;
};

/** By Basic or in the body, which the OAuth server looks at, or by an API key, which speaks for any client. */
async function authenticate(
  context: Context,
  provider: Provider,
  form: URLSearchParams,
  { vultr, keys, host }: TokenParts,
): Promise<Authenticated> {
  const authorization = context.get('Authorization');
  if (!/^Bearer\b/i.test(authorization))
    return { headers: authorization === '' ? {} : { authorization }, provenClient: undefined };
  const key = await keys.require(context, 'tokens');
  if (!isFor(key, provider.id)) throw absent('provider');
  if (form.has('client_secret')) throw refuse('a client secret stands beside an API key');
  const spec = specOf(vultr, provider);
  const clients = clientsOf(vultr, provider);
  const id = form.get('client_id') ?? (await clientFor(form, spec, host));
  form.set('client_id', id);
  // A client with a secret has shown none: the API key stands for it.
  if (clients.find((client) => client.id === id)?.secrets !== undefined) form.set('client_secret', 'proven');
  return { headers: {}, provenClient: id };
}

/** Of a code or refresh token, whoever it was given to. */
async function clientFor(form: URLSearchParams, spec: HostedSpec, host: IssuerHost): Promise<string> {
  const code = form.get('code');
  const refresh = form.get('refresh_token');
  if (form.get('grant_type') === EXCHANGE) return API_CLIENT;
  const isCode = form.get('grant_type') === 'authorization_code';
  const value = isCode ? code : refresh;
  if (value === null) throw refuse(`${isCode ? 'code' : 'refresh_token'} is missing`);
  const holder = await host.holderOf(spec, isCode ? 'AuthorizationCode' : 'RefreshToken', value);
  if (holder !== undefined) return holder;
  const reason = 'it was not given here, or has expired';
  throw new IssuerError('invalid_assertion', reason, { shown: { reason } });
}

/** The clients of a provider. Whoever makes one chooses its name: that is never the id of another. */
export function clientsOf(
  { config }: Pick<Vultr, 'config'>,
  { id, name }: Pick<Provider, 'id' | 'name'>,
): readonly ClientSettings[] {
  const names = isId(name) ? [id] : [id, name];
  return config.clients.filter(
    ({ providers }) => providers === undefined || names.some((each) => providers.includes(each)),
  );
}
