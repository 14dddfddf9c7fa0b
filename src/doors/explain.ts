/** Why a caller gets a token or not: for the caller itself, or for any process by way of the admin socket. */
import { parseAudience } from '../core/audience.ts';
import { IssuerError } from '../core/errors.ts';
import type { Explanation, Issuer } from '../core/issuer.ts';
import type { Peer } from '../core/ports.ts';
import { parseFields, readBody } from './body.ts';
import { type Door, type FrameParts, type Route, requirePeer } from './door.ts';

export type SelfParts = { readonly issuer: Issuer; readonly peerOf: FrameParts['peerOf'] };

/** `POST /v1/explain {"aud"}` on the workload's socket: the caller's own facts, and the rules that their owners show. */
export function openForSelf({ issuer, peerOf }: SelfParts): Door {
  return door('workload', async (context) => {
    const { aud } = parseFields(await readBody(context.req), context.req.headers['content-type']);
    const explanation = await issuer.explain(requirePeer(peerOf, context), { audience: parseAudience(aud) });
    context.body = describe(explanation, false);
  });
}

export type AdminParts = {
  readonly issuer: Issuer;
  /** Pins a process by its number; throws `not_found`. */
  readonly openPeer: (pid: number) => Peer & { close(): void };
};

/** `POST /v1/explain {"aud", "pid"}` on the admin socket: everything. */
export function openForAdmin({ issuer, openPeer }: AdminParts): Door {
  return door('admin', async (context) => {
    const { aud, pid } = parseFields(await readBody(context.req), context.req.headers['content-type']);
    if (!(typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0))
      throw new IssuerError('invalid_request', 'pid is no process id');
    const peer = openPeer(pid);
    try {
      const explanation = await issuer.explain(peer, { audience: parseAudience(aud) });
      context.body = { pid: peer.pid, ...describe(explanation, true) };
    } finally {
      peer.close();
    }
  });
}

function describe({ workload, decision }: Explanation, isOwner: boolean): Readonly<Record<string, unknown>> {
  const caller = {
    selectors: [...workload.selectors].sort(),
    facts: workload.facts,
    unproven: workload.unproven,
  };
  if (!decision.allowed) {
    const { code, reason, nearest, shown } = decision;
    return { allowed: false, caller, code, reason, nearest: isOwner ? nearest : shown };
  }
  const { rule, subject, audience, ttlSeconds, algorithm, claims } = decision;
  return { allowed: true, caller, rule, subject, audience, ttlSeconds, algorithm, claims };
}

function door(surface: Door['surface'], handle: Route['handle']): Door {
  const fields = { aud: { type: 'string', minLength: 1, maxLength: 255 } };
  const properties = surface === 'admin' ? { ...fields, pid: { type: 'integer', minimum: 1 } } : fields;
  const schema = { type: 'object', required: Object.keys(properties), properties };
  const error = (description: string) => ({
    description,
    content: { 'application/json': { schema: { type: 'object' } } },
  });
  const operation = {
    operationId: 'explain',
    summary: 'What would be decided for an audience, and why',
    requestBody: { required: true, content: { 'application/json': { schema } } },
    responses: {
      200: error('The decision'),
      400: error('The request is malformed'),
      403: error('The kernel could not say who is calling'),
      404: error('There is no such process'),
      413: error('The body is over 64 KiB'),
    },
  };
  return { name: 'explain', surface, routes: [{ method: 'POST', path: '/v1/explain', operation, handle }] };
}
