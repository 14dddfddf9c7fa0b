/** RFC 7523 section 2.1: an assertion of a trusted issuer as the grant, once only. */
import { decodeJwt } from 'jose';
import { errors } from 'oidc-provider';
import { hash } from '../adapter.ts';
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
    const peer = await shownToken(ctx, engine, assertion);
    const scopes = plainScopes(ctx);
    const claims = {
      client_id: ctx.oidc.client?.clientId,
      ...(scopes === undefined ? {} : { scope: scopeClaim(ctx, scopes) }),
    };
    const request = { audience, claims, type: 'at+jwt' } as const;
    const issued = await inOAuthWords(() => engine.issuer.issueToken('oauth', peer, request));
    const now = engine.clock.now();
    // Kept as long as the assertion is good; by what was signed, since a signature can be written in many ways.
    const signed = assertion.slice(0, assertion.lastIndexOf('.'));
    const key = { realm: engine.realm, model: 'Assertion', id: hash(signed) };
    const expiresAt = Math.max(decodeJwt(assertion).exp ?? 0, issued.claims.exp) + CLOCK_SKEW_SECONDS;
    if (!(await engine.records.insert(key, { payload: {}, expiresAt }, now)))
      throw new errors.InvalidGrant('the assertion was used before');
    answer(ctx, issued, { scope: scopes?.join(' ') });
  },
};
