/** CreateTokenWithIAM: applications that sign their calls in the place of a client's secret. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Context } from 'koa';
import type { ClientMetadata } from 'oidc-provider';
import { IssuerError } from '../../core/errors.ts';
import { IDENTITY_SCOPES } from '../../core/scopes.ts';
import type { Guest } from '../oauth-server.ts';
import { Exception } from './exceptions.ts';
import { readMembers } from './fields.ts';
import { GRANT_TYPES, OFFLINE, type Parts } from './parts.ts';
import type { ApplicationConfig, DoorConfig, IamConfig } from './settings.ts';
import { headerOf, isSignedBy, parseAuthorization, parseDate, type SignedRequest } from './sigv4.ts';
import { answer, ask, formOf, narrowing, tokensOf } from './token.ts';

/** The signing name of this service. */
const SERVICE = 'sso-oauth';
const SKEW_SECONDS = 300;
const HTTPS = /^https:/;

/** Throws `server_error` where a secret cannot be read. */
export async function assertCredentials({ credentials }: IamConfig): Promise<void> {
  for (const credential of credentials) await secretOf(credential);
}

/** Read at every call, so that it can be changed in place. */
async function secretOf({ accessKeyId, secretFile }: IamConfig['credentials'][number]): Promise<string> {
  try {
    const secret = (await readFile(secretFile, 'utf8')).trim();
    if (secret.length >= 16) return secret;
  } catch (cause) {
    throw new IssuerError('server_error', `doors.aws-sso-oidc: the secret of ${accessKeyId} cannot be read`, {
      cause,
    });
  }
  throw new IssuerError('server_error', `doors.aws-sso-oidc: the secret of ${accessKeyId} is too short`);
}

export function applicationOf({ iam }: DoorConfig, id: string): Guest | undefined {
  const found = iam?.applications.find((application) => application.id === id);
  return found && { metadata: metadataOf(found), proof: 'door' };
}

function metadataOf({ id, name, grants, redirectUris, consent, ...rest }: ApplicationConfig): ClientMetadata {
  const scopes = [...new Set([...rest.scopes, ...(grants.includes('refresh_token') ? [OFFLINE] : [])])];
  return {
    client_id: id,
    client_name: name ?? id,
    application_type: redirectUris.every((uri) => HTTPS.test(uri)) ? 'web' : 'native',
    grant_types: grants.map((grant) => GRANT_TYPES[grant]),
    response_types: grants.includes('authorization_code') ? ['code'] : [],
    redirect_uris: [...redirectUris],
    scope: scopes.join(' ') || undefined,
    allowed_scopes: scopes,
    require_consent: consent,
    scope_as: 'string',
  } as ClientMetadata;
}

export async function createTokenWithIam(context: Context, parts: Parts, iam: IamConfig): Promise<void> {
  const { members, bytes } = await readMembers(context);
  const { method = '', url = '', rawHeaders } = context.req;
  const signed = { method, url, rawHeaders, body: bytes };
  const applications = await verify(signed, parts, iam).catch(async (error) => {
    throw error instanceof Exception ? await refusal(error, context, parts, signed, iam) : error;
  });
  const id = members.required('clientId');
  const application = iam.applications.find((one) => one.id === id && applications.includes(id));
  if (application === undefined)
    throw new Exception('invalid_client', 'clientId is no application that this access key may speak for');
  const { grant, form } = formOf(members, [
    'authorization_code',
    'refresh_token',
    'jwt_bearer',
    'token_exchange',
  ]);
  form.set('client_id', id);
  const decidedByRules = grant === 'jwt_bearer' || grant === 'token_exchange';
  const { metadata } = applicationOf(parts.config, id) as Guest;
  const narrowTo = narrowing(members, (metadata.scope ?? '').split(' '), parts);
  if (decidedByRules) {
    form.set('audience', application.audience ?? '');
    // Nobody signs in for it, so there is nothing of a person alone in it.
    const scopes = narrowTo ?? application.scopes.filter((name) => !IDENTITY_SCOPES.includes(name));
    if (scopes.length > 0) form.set('scope', scopes.join(' '));
  }
  const called = await ask(context, parts, {
    form,
    provenClient: id,
    ...(decidedByRules ? {} : { narrowTo }),
  });
  const { body } = called;
  answer(context, {
    ...tokensOf(called, parts, narrowTo),
    issuedTokenType: body.issued_token_type ?? 'urn:ietf:params:oauth:token-type:access_token',
    scope: typeof body.scope === 'string' && body.scope !== '' ? body.scope.split(' ') : [],
    awsAdditionalDetails: { identityContext: body.access_token },
  });
}

/** Resolves to the applications of whoever signed it. Throws AccessDenied or InvalidRequestRegion. */
async function verify(request: SignedRequest, parts: Parts, iam: IamConfig): Promise<readonly string[]> {
  const given = parseAuthorization(headerOf(request, 'authorization'));
  if (given === undefined)
    throw denied('MissingAuthenticationToken', 'the request has no signature of Signature Version 4');
  const credential = iam.credentials.find(({ accessKeyId }) => accessKeyId === given.accessKeyId);
  assertBound(request, given.signedHeaders, parts.origin);
  assertNow(request, given.date, parts.oauth.clock.now());
  const secret = credential === undefined ? 'nobody has this secret' : await secretOf(credential);
  const isRight = isSignedBy(secret, request, given);
  if (credential === undefined || !isRight || given.service !== SERVICE)
    throw denied('SignatureDoesNotMatch', 'the access key is unknown, or the signature is not of its secret');
  const { region = given.region } = iam;
  if (region !== given.region)
    throw new Exception('invalid_request', `the signature is for the region ${given.region}`, {
      elsewhere: { endpoint: `${parts.origin}${parts.config.path}`, region },
    });
  await assertNew(given.signature, parts);
  return credential.applications;
}

/** One line each, up to so many of a network in a minute: whoever may not sign may ask all day. */
const TOLD = { times: 20, seconds: 60 };

async function refusal(
  error: Exception,
  context: Context,
  parts: Parts,
  signed: SignedRequest,
  iam: IamConfig,
) {
  const { records, realm, clock, networkOf } = parts.oauth;
  const key = { realm, model: 'AwsRefusals', id: networkOf(context.req) };
  if ((await records.count(key, TOLD.seconds, clock.now())) > TOLD.times) return error;
  const id = parseAuthorization(headerOf(signed, 'authorization'))?.accessKeyId;
  const isKnown = iam.credentials.some(({ accessKeyId }) => accessKeyId === id);
  const whose = isKnown ? `access key ${id}` : 'an access key that is none of ours';
  parts.refused('access_denied', `CreateTokenWithIAM: ${whose}: ${error.more.reason ?? error.message}`);
  return error;
}

/** What has to be signed, or a signature could be used for more than it was made for. */
function assertBound(request: SignedRequest, names: readonly string[], origin: string): void {
  const isThere = (name: string) => headerOf(request, name) !== undefined;
  const wanted = ['host', 'x-amz-date', ...['x-amz-content-sha256', 'x-amz-target'].filter(isThere)];
  if (!wanted.every((name) => names.includes(name)))
    throw denied('IncompleteSignature', `SignedHeaders must have ${wanted.join(', ')}`);
  if (isThere('x-amz-security-token'))
    throw denied('UnrecognizedClient', 'temporary credentials are not known here');
  const { host } = new URL(origin);
  if (headerOf(request, 'host') !== host)
    throw denied('SignatureDoesNotMatch', `the host signed is not ${host}`);
  const told = headerOf(request, 'x-amz-content-sha256');
  if (told !== undefined && told !== createHash('sha256').update(request.body).digest('hex'))
    throw denied('SignatureDoesNotMatch', 'x-amz-content-sha256 is not the hash of the body');
}

function assertNow(request: SignedRequest, date: string, now: number): void {
  const text = headerOf(request, 'x-amz-date');
  const at = parseDate(text);
  if (at === undefined || text?.slice(0, 8) !== date || Math.abs(now - at) > SKEW_SECONDS)
    throw denied('RequestExpired', `x-amz-date must be within ${SKEW_SECONDS / 60} minutes of now`);
}

/** A signature is good for one call. */
async function assertNew(signature: Buffer, { oauth }: Parts): Promise<void> {
  const { records, realm, clock } = oauth;
  const key = { realm, model: 'AwsSignature', id: signature.toString('hex') };
  const expiresAt = clock.now() + 2 * SKEW_SECONDS;
  if (!(await records.insert(key, { payload: {}, expiresAt }, clock.now())))
    throw denied('RequestReplayed', 'the signature was used before');
}

function denied(reason: string, description: string): Exception {
  return new Exception('access_denied', description, { reason });
}
