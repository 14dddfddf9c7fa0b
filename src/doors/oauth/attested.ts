/**
 * client_credentials on the local socket for a process that is no registered client: the rules decide
 * about it, as they do for every other door (RFC 6749 section 4.4).
 */
import type { ServerResponse } from 'node:http';
import { parseAudience } from '../../core/audience.ts';
import { IssuerError } from '../../core/errors.ts';
import type { Peer } from '../../core/ports.ts';
import { listOf } from './grants/grant.ts';
import type { Engine, PreparedRequest } from './parts.ts';

const NO_SCOPES = {
  error: 'invalid_scope',
  error_description: 'a process that is no client has no scopes: the rules decide by audience',
};
const CLIENT = ['client_id', 'client_secret', 'client_assertion'];

export function asksForItself({ form, provenClient, headers }: PreparedRequest): boolean {
  return (
    form?.get('grant_type') === 'client_credentials' &&
    provenClient === undefined &&
    headers.authorization === undefined &&
    !CLIENT.some((name) => form.has(name))
  );
}

/** Throws what the issuer throws, and `invalid_request` where nothing is asked for, or a bound token. */
export async function answerAttested(
  { form, headers }: PreparedRequest,
  response: ServerResponse,
  { issuer }: Engine,
  peer: Peer,
): Promise<void> {
  const audience = listOf([...(form?.getAll('resource') ?? []), ...(form?.getAll('audience') ?? [])]);
  if (audience.length === 0) throw malformed('resource or audience is missing');
  if (headers.dpop !== undefined)
    throw malformed('a token for a process that is no client is bound to no key');
  // All scopes are of clients (RFC 6749 section 3.3).
  if ((form?.get('scope') ?? '') !== '') return answer(response, 400, NO_SCOPES);
  const { token, claims } = await issuer.issueToken('oauth', peer, {
    audience: parseAudience(audience),
    type: 'at+jwt',
  });
  answer(response, 200, {
    access_token: token,
    token_type: 'Bearer',
    expires_in: claims.exp - claims.iat,
  });
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

function malformed(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}
