/** RFC 8693: the token of another issuer (or our own) for one of ours, as the rules say. */
import { errors, type KoaContextWithOIDC } from 'oidc-provider';
import type { AssertionPeer, ClaimSet, Workload } from '../../../core/ports.ts';
import type { Engine } from '../parts.ts';
import {
  answer,
  audienceOf,
  type GrantModule,
  inOAuthWords,
  plainScopes,
  scopeClaim,
  scopedFor,
} from './grant.ts';
import { shownToken } from './shown.ts';

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
  async handle(ctx, engine) {
    const params = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
    const subject = await assertion(ctx, engine, 'subject_token');
    if (subject === undefined) throw new errors.InvalidRequest('subject_token is missing');
    const requested = params.requested_token_type ?? `${TYPE}access_token`;
    if (!GIVEN.includes(requested)) throw new errors.InvalidRequest('requested_token_type is not supported');
    const audience = audienceOf(ctx);
    if (audience.length === 0) throw new errors.InvalidTarget('audience or resource is missing');
    const actor = await assertion(ctx, engine, 'actor_token');
    const own = await claimsFor(ctx, engine, actor);
    let scopes: Scoped['scopes'];
    const request = (workload: Workload) => {
      const scoped = scopedTo(ctx, engine, audience, workload);
      scopes = scoped.scopes;
      const scope = scopes === undefined ? {} : { scope: scopeClaim(ctx, scopes) };
      return { audience: scoped.audience, claims: { ...own, ...scope }, type: 'at+jwt' } as const;
    };
    const issued = await inOAuthWords(() => engine.issuer.issueShown('oauth', subject, { request }));
    answer(ctx, issued, { issued_token_type: requested, scope: scopes?.join(' ') });
  },
};

/** A token and its type come together, or not at all. */
async function assertion(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  name: string,
): Promise<AssertionPeer | undefined> {
  const params = (ctx.oidc.params ?? {}) as Readonly<Record<string, string | undefined>>;
  const token = params[name];
  const type = params[`${name}_type`];
  if ((token === undefined) !== (type === undefined))
    throw new errors.InvalidRequest(`${name} and ${name}_type go together`);
  if (token === undefined || type === undefined) return undefined;
  if (!TAKEN.includes(type)) throw new errors.InvalidRequest(`${name}_type is not supported`);
  return shownToken(ctx, engine, token, { mayBeOfClient: true });
}

/** `act` (RFC 8693 section 4.1) is who really asks: the actor token's subject. */
async function claimsFor(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  actor: AssertionPeer | undefined,
): Promise<ClaimSet> {
  const client = { client_id: ctx.oidc.client?.clientId };
  if (actor === undefined) return client;
  const { facts } = await inOAuthWords(() => engine.attest(actor, new Set(['jwt:issuer', 'jwt:subject'])));
  return { ...client, act: { sub: facts['jwt.subject'], iss: facts['jwt.issuer-url'] } };
}

type Scoped = { readonly audience: readonly string[]; readonly scopes: readonly string[] | undefined };

/**
 * Scopes are those of the resources that are named, and no more than the subject token has, where it has
 * any. An audience that only the rules know, and a client without scopes there, are left to the rules.
 */
function scopedTo(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  audience: readonly string[],
  { assertion }: Workload,
): Scoped {
  const asked = plainScopes(ctx);
  const known = engine.scoping.resources.filter((resource) => audience.includes(resource.audience));
  const allowed = (ctx.oidc.client?.allowed_scopes as readonly string[] | undefined) ?? [];
  const hasScopes = known.some(({ scopes }) => scopes.some((name) => allowed.includes(name)));
  if (known.length === 0 || (asked === undefined && !hasScopes)) return { audience, scopes: asked };
  const names = known.map((resource) => resource.audience);
  const scoped = scopedFor(ctx, engine, { scopes: asked, audience: names, isPerson: false });
  const had = namesOf(assertion?.claims.scope);
  const scopes = scoped.scopes.filter((name) => had?.includes(name) ?? true);
  if (scopes.length === 0)
    throw new errors.InvalidScope('subject_token has none of these scopes', scoped.scopes.join(' '));
  const isLeft = (name: string) =>
    known.every((each) => each.audience !== name || each.scopes.some((one) => scopes.includes(one)));
  return { audience: audience.filter(isLeft), scopes };
}

function namesOf(scope: unknown): readonly unknown[] | undefined {
  if (typeof scope === 'string') return scope.split(' ');
  return Array.isArray(scope) ? scope : undefined;
}
