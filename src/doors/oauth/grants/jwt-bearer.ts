/** RFC 7523 section 2.1: an assertion of a trusted issuer as the grant, once only. */
import { decodeJwt } from 'jose';
import { errors } from 'oidc-provider';
import type { RecordKey } from '../../../core/records.ts';
import { hash } from '../adapter.ts';
import type { Engine } from '../parts.ts';
import { answer, audienceOf, type GrantModule, inOAuthWords, plainScopes, scopeClaim } from './grant.ts';
import { shownToken } from './shown.ts';

/** At least what attestors allow other issuers' clocks. */
const CLOCK_SKEW_SECONDS = 300;

export const grant: GrantModule = {
  parameters: ['assertion', 'scope', 'resource', 'audience'],
  repeatable: ['resource', 'audience'],
  async handle(ctx, engine) {
    const { assertion } = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
    if (assertion === undefined) throw new errors.InvalidRequest('assertion is missing');
    const audience = audienceOf(ctx);
    if (audience.length === 0) throw new errors.InvalidTarget('audience or resource is missing');
    const peer = await shownToken(ctx, engine, assertion, { mayBeOfClient: false });
    const scopes = plainScopes(ctx);
    const claims = {
      client_id: ctx.oidc.client?.clientId,
      ...(scopes === undefined ? {} : { scope: scopeClaim(ctx, scopes) }),
    };
    const request = () => ({ audience, claims, type: 'at+jwt' }) as const;
    const issued = await onceOnly(engine, assertion, (accept) =>
      inOAuthWords(() => engine.issuer.issueShown('oauth', peer, { request, accept })),
    );
    answer(ctx, issued, { scope: scopes?.join(' ') });
  },
};

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
