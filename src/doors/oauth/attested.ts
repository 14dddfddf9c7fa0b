/**
 * client_credentials on the local socket for a process that is no registered client: the rules decide
 * about it, as they do for every other door (RFC 6749 section 4.4).
 */
import type { ServerResponse } from 'node:http';
import { parseAudience } from '../../core/audience.ts';
import { IssuerError } from '../../core/errors.ts';
import type { Peer, Workload } from '../../core/ports.ts';
import { listOf } from './grants/grant.ts';
import { type Engine, NO_WORKLOAD, type PreparedRequest } from './parts.ts';

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
  { form, headers, workload = NO_WORKLOAD }: PreparedRequest,
  response: ServerResponse,
  engine: Engine,
  peer: Peer,
): Promise<void> {
  const audience = listOf([...(form?.getAll('resource') ?? []), ...(form?.getAll('audience') ?? [])]);
  if (audience.length === 0) throw nothingAsked(engine, workload);
  if (headers.dpop !== undefined)
    throw malformed('a token for a process that is no client is bound to no key');
  // All scopes are of clients (RFC 6749 section 3.3).
  if ((form?.get('scope') ?? '') !== '') return answer(response, 400, NO_SCOPES);
  const { token, claims } = await engine.issuer.issueToken('oauth', peer, {
    audience: parseAudience(audience),
    type: 'at+jwt',
  });
  answer(response, 200, {
    access_token: token,
    token_type: 'Bearer',
    expires_in: claims.exp - claims.iat,
  });
}

/** What keeps the caller from being an attested client, of one or of all: for the log alone. */
export function lackingClients(
  { config }: Engine,
  { selectors }: Workload,
  only?: string,
): readonly string[] {
  return config.clients.flatMap(({ id, match = [] }) => {
    const lacking = match.filter((selector) => !selectors.has(selector));
    const isMeant = lacking.length > 0 && (only === undefined || only === id);
    return isMeant ? [`client ${id} lacks ${lacking.join(' ')}`] : [];
  });
}

/** What a caller may be told of itself. */
export function callerOf({ selectors, unproven }: Workload) {
  return { caller: [...selectors].sort(), unproven };
}

function nothingAsked(engine: Engine, workload: Workload): IssuerError {
  const reason = 'resource or audience is missing';
  const lacking = lackingClients(engine, workload);
  if (lacking.length === 0) return malformed(reason);
  const told = `no client is attested as this caller, and ${reason}`;
  return new IssuerError('invalid_request', [told, ...lacking].join('; '), {
    workload,
    shown: { reason: told, ...callerOf(workload) },
  });
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

function malformed(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}
