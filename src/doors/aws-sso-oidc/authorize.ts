/** GET /authorize, as the AWS CLI opens it in a browser: the OAuth server's endpoint with `scopes` for `scope`. */
import type { Context } from 'koa';
import type { ClientMetadata } from 'oidc-provider';
import { IssuerError } from '../../core/errors.ts';
import { OFFLINE, type Parts } from './parts.ts';

export async function authorize(context: Context, parts: Parts): Promise<void> {
  const { oauth } = parts;
  const query = await translate(new URLSearchParams(context.querystring), parts);
  context.respond = false;
  try {
    await oauth.show(context.req, context.res, `${oauth.prefix}${oauth.path}/authorize?${query}`);
  } catch (error) {
    context.respond = true;
    throw error;
  }
}

/** What is not AWS's own way of asking stays as it is. */
async function translate(query: URLSearchParams, { register }: Parts): Promise<URLSearchParams> {
  const asked = query.getAll('scopes');
  if (asked.length > 0 && !query.has('scope')) query.set('scope', asked.join(' '));
  query.delete('scopes');
  const challenge = query.get('code_challenge');
  // RFC 7636 appendix A has no padding.
  if (challenge !== null) query.set('code_challenge', challenge.replace(/=+$/, ''));
  const client = await findOrNone(register, query.get('client_id') ?? '');
  if (client === undefined) return query;
  const scopes = (query.get('scope') ?? '').split(' ').filter((name) => name !== '');
  const wanted = scopes.length === 0 ? (client.scope ?? '').split(' ') : scopes;
  const mayRefresh = client.grant_types?.includes('refresh_token') === true;
  query.set('scope', [...new Set([...wanted, ...(mayRefresh ? [OFFLINE] : [])])].join(' '));
  return query;
}

/** While the records cannot be had the OAuth server says so itself, on a page. */
async function findOrNone(register: Parts['register'], id: string): Promise<ClientMetadata | undefined> {
  try {
    return (await register.find(id))?.metadata;
  } catch (error) {
    if (error instanceof IssuerError && error.code === 'temporarily_unavailable') return undefined;
    throw error;
  }
}
