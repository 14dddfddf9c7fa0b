/**
 * Fly.io's `POST /v1/tokens/oidc` (docs: the Machines API's Tokens resource): the
 * raw JWT as text. A program written for a Fly Machine runs unchanged.
 */
import type { Context } from 'koa';
import * as v from 'valibot';
import { parseAudience } from '../core/audience.ts';
import { IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import type { ClaimSet, Facts, IssuedToken, TokenRequest } from '../core/ports.ts';
import { type FormReaders, readFields } from './body.ts';
import { type Door, type FrameParts, requirePeer } from './door.ts';
import { audience, audiences, bodyErrors, errorAnswer, jsonBody, withForm } from './openapi.ts';

const text = (description: string) =>
  v.optional(v.pipe(v.string(), v.nonEmpty(), v.description(description)));

export const config = v.strictObject({
  audience: text('The audience of a token that is asked for without one'),
  org: text('Organization: the claim org_name and the fact {fly.org}'),
  orgId: text('The claim org_id'),
  app: text('App: the claim app_name and the fact {fly.app}'),
  appId: text('The claim app_id'),
  machine: text('Machine: the claim machine_id and the fact {fly.machine}'),
  machineName: text('The claim machine_name'),
  machineVersion: text('The claim machine_version'),
  region: text('The claim region and the fact {fly.region}'),
  image: text('The claim image'),
  imageDigest: text('The claim image_digest'),
});

export type FlyConfig = v.InferOutput<typeof config>;

export type FlyContext = { readonly issuer: Issuer; readonly peerOf: FrameParts['peerOf'] };

/** Facts that rules may use, as in `{fly.org}:{fly.app}:{fly.machine}`, Fly's own subject. */
export function constants(block: FlyConfig): Facts {
  const { org, app, machine, region } = block;
  return withoutGaps({ 'fly.org': org, 'fly.app': app, 'fly.machine': machine, 'fly.region': region });
}

const FIELDS = ['aud', 'aws_principal_tags', 'ttl'];
const FORM: FormReaders = {
  aws_principal_tags: (text) => (text === 'true' ? true : text === 'false' ? false : undefined),
  ttl: (text) => (/^[0-9]{1,6}$/.test(text) ? Number(text) : undefined),
};

export function open(block: FlyConfig, context: FlyContext): Door {
  const claims = claimsOf(block);
  async function handle(http: Context): Promise<void> {
    const fields = await readFields(http.req, FIELDS, FORM);
    const request = parseRequest(fields, block.audience, claims);
    http.state.audience = request.audience;
    const issued = await context.issuer.issueToken('fly', requirePeer(context.peerOf, http), request);
    sendToken(http, issued);
  }
  return {
    name: 'fly',
    surface: 'workload',
    routes: [{ method: 'POST', path: '/v1/tokens/oidc', operation: operationOf(block), handle }],
  };
}

/** Straight to the response: Koa's own way would look up what is known here. */
function sendToken(http: Context, { token, isReused }: IssuedToken): void {
  http.respond = false;
  http.res.writeHead(200, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Cache-Control': 'no-store',
    'Content-Length': token.length,
    ...(isReused === true ? { 'Mintmark-Token': 'reused' } : {}),
  });
  http.res.end(token, 'latin1');
}

function claimsOf(block: FlyConfig): ClaimSet | undefined {
  const claims = withoutGaps({
    app_id: block.appId,
    app_name: block.app,
    image: block.image,
    image_digest: block.imageDigest,
    machine_id: block.machine,
    machine_name: block.machineName,
    machine_version: block.machineVersion,
    org_id: block.orgId,
    org_name: block.org,
    region: block.region,
  });
  return Object.keys(claims).length === 0 ? undefined : claims;
}

function withoutGaps(values: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

/** Throws `invalid_request`. `ttl` (whole seconds) is Mintmark's own. */
function parseRequest(
  fields: Readonly<Record<string, unknown>>,
  audience: string | undefined,
  claims: ClaimSet | undefined,
): TokenRequest {
  const asked = fields.aud ?? audience;
  if (asked === undefined)
    throw new IssuerError('invalid_request', 'no aud, and no default', {
      shown: { reason: 'aud is missing' },
    });
  return {
    audience: parseAudience(asked),
    ttlSeconds: parseTtl(fields.ttl),
    principalTags: parseFlag(fields.aws_principal_tags),
    claims,
  };
}

function parseTtl(value: unknown): number | undefined {
  if (value === undefined || (typeof value === 'number' && Number.isSafeInteger(value))) return value;
  throw new IssuerError('invalid_request', 'ttl is no whole number of seconds', {
    shown: { reason: 'ttl is a whole number of seconds' },
  });
}

function parseFlag(value: unknown): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new IssuerError('invalid_request', 'aws_principal_tags is no boolean', {
    shown: { reason: 'aws_principal_tags is true or false' },
  });
}

function operationOf(block: FlyConfig) {
  const properties = {
    aud: { description: 'The recipient', anyOf: [audience, audiences] },
    aws_principal_tags: { type: 'boolean', description: 'Adds the claim https://aws.amazon.com/tags' },
    ttl: {
      type: 'integer',
      minimum: 60,
      maximum: 86400,
      description: 'Life in seconds, within what the rule allows',
    },
  };
  return {
    operationId: 'createOidcToken',
    summary: 'A short-lived OIDC token for the calling process',
    requestBody: withForm(jsonBody(properties, block.audience === undefined ? ['aud'] : []), {
      ...properties,
      aud: { ...audience, description: 'The recipient' },
    }),
    responses: {
      200: {
        description: 'The raw JWT',
        content: { 'text/plain': { schema: { type: 'string', pattern: '^[\\w-]+\\.[\\w-]+\\.[\\w-]+$' } } },
      },
      ...bodyErrors,
      403: errorAnswer('The caller may not have this token; the answer says what kept it'),
      503: errorAnswer('No token can be signed at the moment'),
    },
  };
}
