/** RFC 7523 section 2.1: an assertion of a trusted issuer as the grant, once only. */
import { decodeJwt } from 'jose';
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { Workload } from '../../../core/ports.ts';
import type { RecordKey } from '../../../core/records.ts';
import { hash } from '../adapter.ts';
import type { Engine } from '../parts.ts';
import { actOf, assertMayAct } from './acting.ts';
import { provenKey } from './bound.ts';
import { type Decided, decidedRequest, requireAudience } from './decided.ts';
import { answer, type GrantModule, inOAuthWords } from './grant.ts';
import { assertForUsAlone, shownToken } from './shown.ts';

/** At least what attestors allow other issuers' clocks. */
const CLOCK_SKEW_SECONDS = 300;

export const grant: GrantModule = {
  parameters: ['assertion', 'scope', 'resource', 'audience'],
  repeatable: ['resource', 'audience'],
  handle: (ctx, engine) => inOAuthWords(() => redeem(ctx, engine)),
};

async function redeem(ctx: KoaContextWithOIDC, engine: Engine): Promise<void> {
  const { assertion } = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const jkt = await provenKey(ctx);
  if (assertion === undefined) throw new errors.InvalidRequest('assertion is missing');
  requireAudience(ctx);
  const shown = await shownToken(ctx, engine, assertion, { mayBeOfClient: false });
  let decided: Decided | undefined;
  const request = (workload: Workload) => {
    assertForUsAlone(workload, shown);
    const said = workload.assertion?.claims ?? {};
    assertMayAct(said, { sub: ctx.oidc.client?.clientId, iss: engine.issuer.identifier });
    const act = actOf(said, undefined);
    const cnf = jkt === undefined ? {} : { cnf: { jkt } };
    decided = decidedRequest(ctx, engine, workload, { ...(act === undefined ? {} : { act }), ...cnf });
    return decided.request;
  };
  const issued = await onceOnly(engine, assertion, (accept) =>
    engine.issuer.issueShown('oauth', shown.peer, { request, accept }),
  );
  answer(ctx, issued, { scope: decided?.scopes?.join(' ') });
}

/** It is used up by a token that was decided on, and not by one that could not be made. */
async function onceOnly<T>(
  { records, realm, clock }: Engine,
  assertion: string,
  issue: (accept: () => Promise<void>) => Promise<T>,
): Promise<T> {
  // By what was signed, since a signature can be written in many ways.
  const signed = assertion.slice(0, assertion.lastIndexOf('.'));
  const key: RecordKey = { realm, model: 'Assertion', id: hash(signed) };
  let isUsed = false;
  const accept = async () => {
    // Kept as long as the assertion is good; no token outlives it.
    const expiresAt = (decodeJwt(assertion).exp ?? 0) + CLOCK_SKEW_SECONDS;
    isUsed = await records.insert(key, { payload: {}, expiresAt }, clock.now());
    if (!isUsed) throw new errors.InvalidGrant('the assertion was used before');
  };
  try {
    return await issue(accept);
  } catch (error) {
    if (isUsed) await records.remove(key);
    throw error;
  }
}
