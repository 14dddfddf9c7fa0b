/**
 * What comes before the provider reads a request: the body, bounded and with one meaning, and clients
 * that prove themselves in ways that the provider does not know.
 */
import type { IncomingMessage } from 'node:http';
import { decodeProtectedHeader } from 'jose';
import { IssuerError } from '../../core/errors.ts';
import { parseJsonObject } from '../../core/json.ts';
import type { Peer, Workload } from '../../core/ports.ts';
import { kindOf } from '../../core/selectors.ts';
import { readBody } from '../body.ts';
import { disguise } from './access-tokens.ts';
import { isStandIn } from './adapter.ts';
import { callerOf, lackingClients } from './attested.ts';
import { ownNames } from './client-proofs.ts';
import { goodClaims, isOurs } from './own-tokens.ts';
import { adaptForm, asksForPerson, mayRepeat } from './parameters.ts';
import type { Engine, PreparedRequest } from './parts.ts';
import { hashUpdate } from './registration.ts';

export const BODY_MAX_BYTES = 56 * 1024;
const FORM = /^application\/x-www-form-urlencoded\s*(;|$)/i;
/** They answer JSON whatever a client says it takes: Java's asks for HTML first. */
export const JSON_ONLY =
  /\/(token|deviceauthorization|introspect|revocation|userinfo|par|register)$|\/register\/[^/]*$/;
const LOOKS_AT_TOKENS = /\/(introspect|revocation)$/;
const LOGS_OUT = /\/endsession$/;
const FOR_PEOPLE = /\/(authorize|endsession)$/;
/** A request's head is bounded, and cookies are in it too. */
const QUERY_MAX = 5000;
const REGISTERS = /\/register(\/[^/]*)?$/;
const BEARER_VALUES = ['code', 'refresh_token', 'device_code', 'token'];
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:';
/** RFC 7523 section 2.2, and draft-ietf-oauth-spiffe-client-auth for an SPIFFE id as the subject. */
const JWT_BEARER = `${ASSERTION}jwt-bearer`;
const JWT_SPIFFE = `${ASSERTION}jwt-spiffe`;

/** Throws `invalid_request` and `request_too_large`; a refused assertion throws what its attestor throws. */
export async function prepare(
  request: IncomingMessage,
  engine: Engine,
  peer: Peer | undefined,
): Promise<PreparedRequest> {
  const path = request.url?.split('?', 1)[0] ?? '';
  pinHost(request, engine);
  // The provider takes an empty proof for none, and would give a token that is bound to nothing.
  if (request.headers.dpop === '') request.headers.dpop = '-';
  if (JSON_ONLY.test(path)) request.headers.accept = 'application/json';
  if (request.method !== 'POST' && request.method !== 'PUT')
    return LOGS_OUT.test(path) ? dropHint(request, path, engine) : adaptQuery(request, path);
  const bytes = await readBody(request, BODY_MAX_BYTES);
  if (REGISTERS.test(path)) assertPlain(bytes);
  if (request.method === 'PUT') return withBody(request, hashUpdate(bytes));
  if (!FORM.test(request.headers['content-type'] ?? '')) return withBody(request, bytes);
  const form = new URLSearchParams(bytes.toString('utf8'));
  if (JSON_ONLY.test(path)) assertSingle(form);
  // What is sent on as an address is adapted there.
  const isAdapted = !FOR_PEOPLE.test(request.url ?? '') && adaptForm(form, path);
  const isChanged = changeValues(form, path) || isAdapted;
  const proven = await provenClient(form, engine, request, peer);
  const isSame = !isChanged && proven.provenClient === undefined;
  const read = isSame ? bytes : Buffer.from(form.toString());
  return Object.assign(withBody(request, read), proven, { form });
}

/**
 * Where a page of somebody else's sends a browser that brings a form to an endpoint of people (OpenID Connect
 * Core section 3.1.2.1, RP-Initiated Logout section 2): to the same as an address, since the session's cookie
 * does not come along with a form of another site. Throws `invalid_request`, and `request_too_large`
 * for what no address holds.
 */
export function sentByForm({ method, url = '', form }: PreparedRequest): string | undefined {
  const [path = '', before = ''] = url.split('?', 2);
  if (method !== 'POST' || !FOR_PEOPLE.test(path)) return undefined;
  if (form === undefined) throw malformed('the body is no form');
  const query = [before, form.toString()].filter((part) => part !== '').join('&');
  if (query.length > QUERY_MAX)
    throw new IssuerError('request_too_large', `a form of more than ${QUERY_MAX} characters`, {
      shown: { reason: `a form of more than ${QUERY_MAX} characters` },
    });
  return `${path}?${query}`;
}

/** RFC 6749 section 3.2, also of parameters that nobody knows. Throws `invalid_request`. */
function assertSingle(form: URLSearchParams): void {
  const names = [...form.keys()].filter((name) => !mayRepeat(name));
  if (new Set(names).size !== names.length) throw malformed('a parameter is there twice');
}

/** Throws `invalid_request` for JSON that two parsers could read in two ways. */
function assertPlain(bytes: Buffer): void {
  try {
    parseJsonObject(bytes.toString('utf8'), 'the body');
  } catch (error) {
    throw malformed((error as RangeError).message);
  }
}

function malformed(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

function adaptQuery(request: IncomingMessage, path: string): IncomingMessage {
  if (!asksForPerson(path)) return request;
  const query = new URLSearchParams(request.url?.slice(path.length + 1));
  if (adaptForm(query, path)) request.url = `${path}?${query}`;
  return request;
}

/**
 * A hint that no key of ours vouches for any more, such as one of a key that was revoked, counts for nothing
 * (RP-Initiated Logout section 6): the person is asked in any case, and sent to an address of `client_id` alone.
 */
function dropHint(request: IncomingMessage, path: string, engine: Engine): IncomingMessage {
  const query = new URLSearchParams(request.url?.slice(path.length + 1));
  const [hint = '', ...more] = query.getAll('id_token_hint');
  const keyId = keyIdOf(hint);
  if (keyId === undefined || more.length > 0) return request;
  if (engine.ring().keys.some((key) => key.keyId === keyId)) return request;
  query.delete('id_token_hint');
  request.url = `${path}?${query}`;
  return request;
}

function keyIdOf(token: string): string | undefined {
  try {
    return decodeProtectedHeader(token).kid;
  } catch {
    return undefined;
  }
}

/** Tokens are disguised; what stands for a stored id in the adapter stands for nothing here. */
export function changeValues(form: URLSearchParams, path: string): boolean {
  let isChanged = false;
  for (const name of BEARER_VALUES) {
    const given = form.get(name);
    if (given === null || form.getAll(name).length > 1) continue;
    const meant = name === 'token' && LOOKS_AT_TOKENS.test(path) ? disguise(given) : given;
    const value = isStandIn(meant) ? `.${meant}` : meant;
    if (value === given) continue;
    form.set(name, value);
    isChanged = true;
  }
  return isChanged;
}

type Proven = Pick<PreparedRequest, 'provenClient' | 'peer' | 'workload' | 'form'>;

const NOTHING: ReadonlySet<string> = new Set();
const NAMED: ReadonlySet<string> = new Set(['jwt:issuer', 'jwt:subject']);

async function provenClient(
  form: URLSearchParams,
  engine: Engine,
  { headers }: IncomingMessage,
  peer: Peer | undefined,
): Promise<Proven> {
  const assertions = form.getAll('client_assertion');
  const [assertion] = assertions;
  const isOthers =
    assertion !== undefined &&
    assertions.length === 1 &&
    !form.has('client_secret') &&
    (form.get('client_assertion_type') === JWT_SPIFFE ||
      (form.get('client_assertion_type') === JWT_BEARER && isFederated(assertion, engine)));
  if (isOthers) return federated(form, assertion, engine, peer);
  if (peer === undefined) return {};
  // Whoever proves itself in another way is that client.
  const isOtherwise =
    headers.authorization !== undefined || form.has('client_secret') || assertion !== undefined;
  return isOtherwise ? { peer, workload: await engine.attest(peer, NOTHING) } : attested(form, engine, peer);
}

/** Its `iss` is not a client of ours: RFC 7523's own kind has the client's id there. */
function isFederated(assertion: string, { config }: Engine): boolean {
  if (!config.clients.some((client) => client.federated !== undefined)) return false;
  try {
    const payload = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString());
    return payload.iss !== payload.sub;
  } catch {
    return false;
  }
}

async function federated(
  form: URLSearchParams,
  assertion: string,
  engine: Engine,
  peer: Peer | undefined,
): Promise<Proven> {
  const audiences = ownNames(
    engine,
    engine.config.clients.some(({ federated: wanted, tokenUrlAudience }) => wanted && tokenUrlAudience),
  );
  if (isOurs(assertion, engine) && (await goodClaims(assertion, engine)) === undefined)
    throw new IssuerError('peer_unproven', 'an access token of ours that is good no more');
  const workload = await engine.attest({ kind: 'assertion', token: assertion, audiences }, NAMED);
  const id = form.get('client_id');
  const [client, second] = engine.config.clients.filter(
    ({ id: own, federated: wanted }) =>
      wanted !== undefined &&
      (id === null || id === own) &&
      wanted.issuer === workload.facts['jwt.issuer'] &&
      wanted.subject === workload.facts['jwt.subject'],
  );
  form.delete('client_assertion');
  form.delete('client_assertion_type');
  // Whoever was proven is worth a line, which the local socket writes of every refusal.
  const refusal = (reason: string) => {
    const { 'jwt.issuer': issuer, 'jwt.subject': subject } = workload.facts;
    const who = client === undefined ? `${issuer} ${subject}` : `client ${client.id}`;
    if (peer === undefined) engine.audit.refused(`${who}: invalid_client: ${reason}`);
    return new IssuerError('peer_unproven', reason);
  };
  if (client === undefined) throw refusal('no client is of this assertion');
  if (second !== undefined) throw refusal('several clients are of this assertion: client_id says which');
  // A list of one is how Kubernetes writes it.
  const named = [workload.assertion?.claims.aud].flat().map(String);
  const others = named.filter((name) => !ownNames(engine, client.tokenUrlAudience).includes(name));
  if (others.length > 0)
    throw refusal(`the aud of the assertion has to be the issuer alone, and names ${others.join(' ')}`);
  if (named.length > 1) throw refusal(`the aud of the assertion has to be one, and has ${named.length}`);
  return prove(form, client.id, workload);
}

/** The caller on the local socket: its selectors say which client it is. */
async function attested(form: URLSearchParams, engine: Engine, peer: Peer): Promise<Proven> {
  const wanted = engine.config.clients.flatMap(({ match = [] }) => match.map(kindOf));
  const workload = await engine.attest(peer, new Set(wanted));
  const named = form.get('client_id');
  const client = engine.config.clients.find(
    ({ id, match }) =>
      match !== undefined &&
      (named === null || named === id) &&
      match.every((selector) => workload.selectors.has(selector)),
  );
  if (client !== undefined) return { ...prove(form, client.id, workload), peer };
  const [lacking] = named === null ? [] : lackingClients(engine, workload, named);
  if (lacking === undefined) return { peer, workload };
  throw new IssuerError('access_denied', `invalid_client: ${lacking}`, {
    workload,
    shown: { ...callerOf(workload), error_description: 'The caller is not the process of this client.' },
  });
}

function prove(form: URLSearchParams, id: string, workload: Workload): Proven {
  if (form.get('client_id') === null) form.set('client_id', id);
  return { provenClient: id, workload };
}

/** What the provider says of itself is made of the issuer, whatever the request says. */
function pinHost(request: IncomingMessage, { origin: { host, protocol }, addressOf }: Engine): void {
  const address = addressOf(request);
  for (const name of Object.keys(request.headers))
    if (name === 'forwarded' || name.startsWith('x-forwarded-')) delete request.headers[name];
  Object.assign(request.headers, {
    host,
    'x-forwarded-proto': protocol.slice(0, -1),
    ...(address === '' ? {} : { 'x-forwarded-for': address }),
  });
}

/** The request with its body before it, to be read once more: by the provider as a stream, by the pages as bytes. */
function withBody(request: IncomingMessage, bytes: Buffer): PreparedRequest {
  request.headers['content-length'] = String(bytes.length);
  delete request.headers['transfer-encoding'];
  Object.defineProperty(request, 'readable', { value: true });
  return Object.assign(request, { body: bytes, iterator: () => [bytes] as never });
}
