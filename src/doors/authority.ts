/**
 * The door for sidecars: a pod's own token says whose the request is, what the sidecar
 * attested of its caller may narrow it, and the answer is a signed token. JSON both ways.
 */
import type { Context } from 'koa';
import * as v from 'valibot';
import { parseAudience } from '../core/audience.ts';
import { type ErrorCode, IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import type { BearerPeer, Decision, SelectorKind, TokenRequest } from '../core/ports.ts';
import { readFields } from './body.ts';
import { answerJson, type Door, ERROR_STATUS, type Route } from './door.ts';
import { bodyErrors, errorAnswer, jsonBody } from './openapi.ts';
import { createReading, type ReadingLimits } from './reading.ts';

export const config = v.strictObject({});

export type AuthorityContext = {
  readonly issuer: Issuer;
  /** The selector kinds that a token of a rule rests on. */
  readonly restsOn: (rule: string) => readonly SelectorKind[];
};

const FIELDS = ['claimed', 'audience', 'ttl', 'aws_principal_tags'];
const CLAIMED_MAX = 32;
const TOKEN_MAX_LENGTH = 16 * 1024;

/** Whose the token is has to be asked about, and a body is read before that: 16 MiB of them at once, 4 of an address. */
const READING: ReadingLimits = {
  most: 1024,
  mostPerAddress: 256,
  // Longer than a sidecar waits for its answer.
  deadlineMs: 5_000,
  // Ten audiences of the longest and what a sidecar attests need less.
  maxBytes: 16 * 1024,
};

/** A bearer that proves nothing is unauthorized (RFC 6750 section 3.1). */
const errorStatus: Readonly<Record<ErrorCode, number>> = {
  ...ERROR_STATUS,
  peer_unproven: 401,
  peer_changed: 401,
};

export function open(_block: v.InferOutput<typeof config>, { issuer, restsOn }: AuthorityContext): Door {
  const read = createReading(READING);
  const tokens = route('/v1/sidecar/tokens', 'createSidecarToken', async (http) => {
    const { peer, request } = await parse(http, read);
    const { token, keyId, algorithm, rule } = await issuer.issueToken('authority', peer, request);
    return { token, key_id: keyId, algorithm, rule, reusable: !restsOn(rule).some(isOfImage) };
  });
  const explain = route('/v1/sidecar/explain', 'explainSidecarToken', async (http) => {
    const { peer, request } = await parse(http, read);
    const { workload, decision } = await issuer.explain(peer, request);
    return { workload: { ...workload, selectors: [...workload.selectors] }, decision: visible(decision) };
  });
  return { name: 'authority', surface: 'private', routes: [tokens, explain], errorStatus };
}

/** What a pod runs may be another image by the next request, which no sidecar would see. */
const isOfImage = (kind: SelectorKind) => kind.startsWith('k8s:image');

/** Without the rules that their owners hide. */
function visible(decision: Decision): object {
  if (decision.allowed) return decision;
  const { nearest: _, ...rest } = decision;
  return rest;
}

function route(path: string, operationId: string, answer: (http: Context) => Promise<object>): Route {
  return {
    method: 'POST',
    path,
    operation: operationOf(operationId),
    async handle(http) {
      http.set('Cache-Control', 'no-store');
      answerJson(http, await answer(http));
    },
  };
}

type Parsed = { readonly peer: BearerPeer; readonly request: TokenRequest };

async function parse(http: Context, read: ReturnType<typeof createReading>): Promise<Parsed> {
  const token = bearerOf(http.get('Authorization'));
  const fields = v.safeParse(Fields, await readFields(http.req, FIELDS, {}, read));
  if (!fields.success)
    throw new IssuerError('invalid_request', 'a field is of the wrong form', {
      shown: { reason: fields.issues.map(({ path, message }) => `${path?.[0]?.key}: ${message}`).join('; ') },
    });
  const { claimed, audience, ttl, aws_principal_tags: principalTags } = fields.output;
  const request = { audience: parseAudience(audience), ttlSeconds: ttl, principalTags };
  http.state.audience = request.audience;
  const { remoteAddress: address } = http.req.socket;
  return { peer: { kind: 'bearer', token, claimed, address }, request };
}

const Fields = v.object({
  claimed: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string('must be texts'),
          v.regex(/^sidecar:[a-z-]+:[\x20-\x7e]{1,255}$/, 'is no claim of a sidecar'),
        ),
        'must be a list',
      ),
      v.maxLength(CLAIMED_MAX, `has more than ${CLAIMED_MAX} claims`),
    ),
    [],
  ),
  audience: v.unknown(),
  ttl: v.optional(v.pipe(v.number('must be seconds'), v.integer('must be whole seconds'))),
  aws_principal_tags: v.optional(v.boolean('must be true or false')),
});

/** RFC 6750 section 2.1. Throws `peer_unproven`. */
function bearerOf(header: string): string {
  const [, token] = /^Bearer +([\w.~+/-]+=*)$/i.exec(header) ?? [];
  if (token !== undefined && token.length <= TOKEN_MAX_LENGTH) return token;
  throw new IssuerError('peer_unproven', 'no bearer token', {
    shown: { reason: 'the header Authorization must bear the service account token of a pod' },
  });
}

function operationOf(operationId: string) {
  const properties = {
    claimed: {
      type: 'array',
      maxItems: CLAIMED_MAX,
      items: { type: 'string', pattern: '^sidecar:[a-z-]+:.+$' },
    },
    audience: { anyOf: [{ type: 'string' }, { type: 'array', items: { type: 'string' } }] },
    ttl: { type: 'integer' },
    aws_principal_tags: { type: 'boolean' },
  };
  return {
    operationId,
    security: [{ bearer: [] }],
    requestBody: jsonBody(properties, ['audience']),
    responses: {
      200: {
        description: 'What was signed, or would be',
        content: { 'application/json': { schema: { type: 'object' } } },
      },
      ...bodyErrors,
      401: errorAnswer('The token proves no running pod'),
      403: errorAnswer('The pod may not have this token; the answer says what kept it'),
      429: errorAnswer('The pod asks too often'),
      503: errorAnswer('The Kubernetes API or the key store does not answer'),
    },
  };
}
