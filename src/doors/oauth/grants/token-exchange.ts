/** RFC 8693: the token of another issuer (or our own) for one of ours, as the rules say. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { Workload } from '../../../core/ports.ts';
import type { Engine } from '../parts.ts';
import { type Actor, actOf, assertMayAct } from './acting.ts';
import { provenKey } from './bound.ts';
import { type Decided, decidedRequest, requireAudience } from './decided.ts';
import { answer, type GrantModule, inOAuthWords } from './grant.ts';
import { assertForUsAlone, type Shown, shownToken } from './shown.ts';

const TYPE = 'urn:ietf:params:oauth:token-type:';
const TAKEN = [`${TYPE}jwt`, `${TYPE}access_token`, `${TYPE}id_token`];
const GIVEN = [`${TYPE}jwt`, `${TYPE}access_token`];

export const grant: GrantModule = {
  parameters: [
    'subject_token',
    'subject_token_type',
    'actor_token',
    'actor_token_type',
    'requested_token_type',
    'resource',
    'audience',
    'scope',
  ],
  repeatable: ['resource', 'audience'],
  handle: (ctx, engine) => inOAuthWords(() => exchange(ctx, engine), 'invalid_request'),
};

async function exchange(ctx: KoaContextWithOIDC, engine: Engine): Promise<void> {
  const params = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const jkt = await provenKey(ctx);
  const subject = await assertion(ctx, engine, 'subject_token');
  if (subject === undefined) throw new errors.InvalidRequest('subject_token is missing');
  const requested = params.requested_token_type ?? `${TYPE}access_token`;
  if (!GIVEN.includes(requested)) throw new errors.InvalidRequest('requested_token_type is not supported');
  requireAudience(ctx);
  const actor = await actorOf(await assertion(ctx, engine, 'actor_token'), engine);
  let decided: Decided | undefined;
  const request = (workload: Workload) => {
    assertForUsAlone(workload, subject);
    const said = workload.assertion?.claims ?? {};
    assertMayAct(said, actor ?? { sub: ctx.oidc.client?.clientId, iss: engine.issuer.identifier });
    const act = actOf(said, actor);
    const cnf = jkt === undefined ? {} : { cnf: { jkt } };
    decided = decidedRequest(ctx, engine, workload, { ...(act === undefined ? {} : { act }), ...cnf });
    return decided.request;
  };
  const issued = await engine.issuer.issueShown('oauth', subject.peer, { request });
  answer(ctx, issued, { issued_token_type: requested, scope: decided?.scopes?.join(' ') });
}

/** A token and its type come together, or not at all. */
async function assertion(ctx: KoaContextWithOIDC, engine: Engine, name: string): Promise<Shown | undefined> {
  const params = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const token = params[name];
  const type = params[`${name}_type`];
  if ((token === undefined) !== (type === undefined))
    throw new errors.InvalidRequest(`${name} and ${name}_type go together`);
  if (token === undefined || type === undefined) return undefined;
  if (!TAKEN.includes(type)) throw new errors.InvalidRequest(`${name}_type is not supported`);
  return shownToken(ctx, engine, token, { mayBeOfClient: true });
}

/** Who really asks: the actor token's subject. */
async function actorOf(shown: Shown | undefined, engine: Engine): Promise<Actor | undefined> {
  if (shown === undefined) return undefined;
  const workload = await engine.attest(shown.peer, new Set(['jwt:issuer', 'jwt:subject']));
  assertForUsAlone(workload, shown);
  const { facts } = workload;
  return { sub: facts['jwt.subject'], iss: facts['jwt.issuer-url'] };
}
