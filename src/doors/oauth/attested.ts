/**
 * client_credentials on the local socket for a process that is no registered client: the rules decide
 * about it, as they do for every other door (RFC 6749 section 4.4).
 */
import type { ServerResponse } from 'node:http';
import { parseAudience } from '../../core/audience.ts';
import { IssuerError } from '../../core/errors.ts';
import type { Peer } from '../../core/ports.ts';
import type { Engine, PreparedRequest } from './parts.ts';

const CLIENT = ['client_id', 'client_secret', 'client_assertion'];

export function asksForItself({ form, provenClient, headers }: PreparedRequest): boolean {
  return (
    form?.get('grant_type') === 'client_credentials' &&
    provenClient === undefined &&
    headers.authorization === undefined &&
    !CLIENT.some((name) => form.has(name))
  );
}

/** Throws what the issuer throws, and `invalid_request` where nothing is asked for. */
export async function answerAttested(
  { form }: PreparedRequest,
  response: ServerResponse,
  { issuer }: Engine,
  peer: Peer,
): Promise<void> {
  const audience = [...(form?.getAll('resource') ?? []), ...(form?.getAll('audience') ?? [])];
  if (audience.length === 0)
    throw new IssuerError('invalid_request', 'neither resource nor audience', {
      shown: { reason: 'resource or audience is missing' },
    });
  const { token, claims } = await issuer.issueToken('oauth', peer, {
    audience: parseAudience(audience),
    type: 'at+jwt',
  });
  const body = JSON.stringify({
    access_token: token,
    token_type: 'Bearer',
    expires_in: claims.exp - claims.iat,
  });
  response.writeHead(200, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(body);
}
