/** Why a caller gets a token or not: for the caller itself, or for any process by way of the admin socket. */
import { parseAudience } from '../core/audience.ts';
import { IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import type { Explanation, UnixPeer } from '../core/ports.ts';
import { readFields } from './body.ts';
import { answerJson, type Door, type FrameParts, type Route, requirePeer } from './door.ts';
import { audience, bodyErrors, errorAnswer, jsonAnswer, jsonBody } from './openapi.ts';

export type SelfParts = { readonly issuer: Issuer; readonly peerOf: FrameParts['peerOf'] };

/** `POST /v1/explain {"aud"}` on the workload's socket: the caller's own facts, and the rules that their owners show. */
export function openForSelf({ issuer, peerOf }: SelfParts): Door {
  return door('workload', async (context) => {
    const { aud } = await readFields(context.req, ['aud']);
    const explanation = await issuer.explain(requirePeer(peerOf, context), { audience: parseAudience(aud) });
    answerJson(context, describe(explanation, false));
  });
}

export type AdminParts = {
  readonly issuer: Issuer;
  /** Pins a process by its number; throws `not_found`. */
  readonly openPeer: (pid: number) => UnixPeer & { close(): void };
};

/** `POST /v1/explain {"aud", "pid"}` on the admin socket: everything. */
export function openForAdmin({ issuer, openPeer }: AdminParts): Door {
  return door('admin', async (context) => {
    const { aud, pid } = await readFields(context.req, ['aud', 'pid']);
    if (!(typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0))
      throw new IssuerError('invalid_request', 'pid is no process id');
    const peer = openPeer(pid);
    try {
      const explanation = await issuer.explain(peer, { audience: parseAudience(aud) });
      answerJson(context, { pid: peer.pid, ...describe(explanation, true) });
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
  const { subject, audience, ttlSeconds, algorithm, claims } = decision;
  const rule = isOwner || decision.isHidden !== true ? { rule: decision.rule } : {};
  return { allowed: true, caller, ...rule, subject, audience, ttlSeconds, algorithm, claims };
}

function door(surface: Door['surface'], handle: Route['handle']): Door {
  const properties = surface === 'admin' ? { aud: audience, pid: PID } : { aud: audience };
  const operation = {
    operationId: 'explain',
    summary: 'What would be decided for an audience, and why',
    requestBody: jsonBody(properties, Object.keys(properties)),
    responses: {
      200: jsonAnswer('The decision'),
      ...bodyErrors,
      403: errorAnswer('It could not be proven who is calling'),
      404: errorAnswer('There is no such process'),
    },
  };
  return { name: 'explain', surface, routes: [{ method: 'POST', path: '/v1/explain', operation, handle }] };
}

const PID = { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER };
