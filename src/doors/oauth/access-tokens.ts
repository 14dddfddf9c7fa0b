/**
 * Access tokens are made by the core and are JWTs (RFC 9068), whichever grant they come from. A
 * person's are also kept under their `jti`, so that they end with their grant; a client's own are
 * kept nowhere, and only noted once revoked.
 */
import { randomUUID } from 'node:crypto';
import { createLocalJWKSet, type JWTPayload, jwtVerify } from 'jose';
import { type Adapter, type AdapterPayload, errors, type KoaContextWithOIDC, Provider } from 'oidc-provider';
import type { ClaimSet, Claims } from '../../core/ports.ts';
import { hash } from './adapter.ts';
import { inOAuthWords, listOf, scopeClaim, scopedFor } from './grants/grant.ts';
import { type Engine, NO_WORKLOAD, type PreparedRequest } from './parts.ts';
import type { LoginSource } from './people/contract.ts';
import { tellLater } from './redemption.ts';
import { keepResources, type ResourceSource, withinGranted } from './resources.ts';

/** What the two models have in common, as far as it is used here. */
type TokenModel = {
  jti: string;
  exp?: number;
  scope?: string | undefined;
  clientId: string;
  accountId?: string;
  grantId?: string;
  jkt?: string;
  extra?: ClaimSet;
  expiresIn?: number;
  generateTokenId(): string;
  getValueAndPayload(): Promise<{ payload: AdapterPayload }>;
};

type TokenClass = {
  adapter: Adapter;
  prototype: { save(): Promise<string>; destroy(): Promise<void> };
  find(value: string, options?: unknown): Promise<TokenModel | undefined>;
  new (properties: Readonly<Record<string, unknown>>): TokenModel;
};

type SourceModel = ResourceSource & { readonly scope?: string | undefined };
type SourceClass = { prototype: { consume(): Promise<void> } };

/** Before a token that introspection and revocation are to find although it is a JWT; nobody else knows it. */
const STRUCTURED = `${randomUUID()}.`;
const REVOKED = 'RevokedToken';
const verified = new WeakMap<object, Claims>();

/** The claims of a token that was found by its JWT. */
export function claimsOf(token: unknown): Claims | undefined {
  return typeof token === 'object' && token !== null ? verified.get(token) : undefined;
}

/** The provider's endpoints refuse structured tokens before they look: this one looks like none. */
export function disguise(token: string): string {
  return token.includes('.') ? `${STRUCTURED}${token}` : token;
}

export function useCoreTokens(provider: Provider, engine: Engine): void {
  const person = provider.AccessToken as unknown as TokenClass;
  const machine = provider.ClientCredentials as unknown as TokenClass;
  const verify = verifier(engine);
  // RFC 7592 section 2.3: tokens of a client that is gone are good for nothing.
  // One that a rule gave a process that is no client has none.
  const isKnown = async (id: unknown) =>
    id === undefined || (await provider.Client.find(String(id))) !== undefined;
  keepResources(provider);
  issueByCore(person, engine, true);
  issueByCore(machine, engine, false);
  for (const source of [provider.AuthorizationCode, provider.DeviceCode, provider.RefreshToken])
    consumeAfterDecision(source as unknown as SourceClass, engine);
  const findStored = person.find.bind(person);
  person.find = async (value, options) => {
    const claims = await verify(value);
    if (claims?.auth_time === undefined || !(await isKnown(claims.client_id))) return undefined;
    return known(await findStored(claims.jti, options), claims);
  };
  machine.find = async (value) => {
    const claims = await verify(value);
    if (claims === undefined || claims.auth_time !== undefined || !(await isKnown(claims.client_id)))
      return undefined;
    const key = { realm: engine.realm, model: REVOKED, id: hash(claims.jti) };
    if ((await engine.records.find(key, engine.clock.now())) !== undefined) return undefined;
    const { iat, exp, jti, client_id: clientId, cnf } = claims;
    const jkt = (cnf as { readonly jkt?: string } | undefined)?.jkt;
    return known(new machine({ iat, exp, jti, clientId, jkt, scope: scopeText(claims.scope) }), claims);
  };
  machine.prototype.destroy = async function destroy(this: TokenModel) {
    const key = { realm: engine.realm, model: REVOKED, id: hash(this.jti) };
    await engine.records.insert(key, { payload: {}, expiresAt: this.exp }, engine.clock.now());
  };
}

function known(token: TokenModel | undefined, claims: Claims): TokenModel | undefined {
  if (token !== undefined) verified.set(token, claims);
  return token;
}

export function scopeText(scope: unknown): string | undefined {
  return Array.isArray(scope) ? scope.join(' ') : typeof scope === 'string' ? scope : undefined;
}

/** The claims of a JWT of ours that is an access token and has not expired. */
function verifier(engine: Engine): (value: string) => Promise<Claims | undefined> {
  let from: unknown;
  let keys: ReturnType<typeof createLocalJWKSet>;
  return async (value) => {
    const ring = engine.ring();
    if (from !== ring) {
      from = ring;
      keys = createLocalJWKSet({ keys: ring.keys.map(({ publicJwk }) => ({ ...publicJwk })) as never });
    }
    const token = value.startsWith(STRUCTURED) ? value.slice(STRUCTURED.length) : value;
    try {
      const { payload } = await jwtVerify<JWTPayload>(token, keys, {
        issuer: engine.issuer.identifier,
        typ: 'at+jwt',
        currentDate: new Date(engine.clock.now() * 1000),
      });
      return payload as unknown as Claims;
    } catch {
      return undefined;
    }
  };
}

/** The core signs in the place of the provider, by scopes and lives of its own. */
function issueByCore(model: TokenClass, engine: Engine, isPerson: boolean): void {
  model.prototype.save = async function save(this: TokenModel): Promise<string> {
    const ctx = Provider.ctx as KoaContextWithOIDC;
    const scoped = scopedOf(ctx, engine, {
      scope: this.scope,
      isPerson,
      source: isPerson ? sourceOf(ctx) : undefined,
    });
    this.scope = scoped.scopes.join(' ') || undefined;
    this.expiresIn = scoped.ttlSeconds;
    this.jti ??= this.generateTokenId();
    const claims = await claimsFor(ctx, engine, this, scoped.scopes);
    const { workload = NO_WORKLOAD, peer } = ctx.req as PreparedRequest;
    const issued = await inOAuthWords(() =>
      engine.issuer.issueDecided(
        'oauth',
        { workload, peer, tokenId: this.jti, tellLater },
        {
          ...{ allowed: true, rule: `client ${this.clientId}`, subject: this.accountId ?? this.clientId },
          ...{ audience: scoped.audience, claims, ttlSeconds: scoped.ttlSeconds },
          ...{ algorithm: scoped.algorithm, type: 'at+jwt' },
        },
      ),
    );
    if (isPerson) {
      const { payload } = await this.getValueAndPayload();
      await model.adapter.upsert(this.jti, payload, scoped.ttlSeconds);
    }
    return issued.token;
  };
}

/**
 * A code, a device code or a refresh token is not consumed by a request for which no token can be
 * made: one for a resource or a scope that is not to be had.
 */
function consumeAfterDecision({ prototype }: SourceClass, engine: Engine): void {
  const { consume } = prototype;
  prototype.consume = async function consumeDecided(this: SourceModel) {
    const ctx = Provider.ctx as KoaContextWithOIDC;
    const { scope } = ctx.oidc.params ?? {};
    scopedOf(ctx, engine, {
      scope: typeof scope === 'string' && scope !== '' ? scope : this.scope,
      isPerson: true,
      source: this,
    });
    await consume.call(this);
  };
}

type Made = {
  readonly scope: string | undefined;
  readonly isPerson: boolean;
  readonly source: ResourceSource | undefined;
};

function scopedOf(ctx: KoaContextWithOIDC, engine: Engine, { scope, isPerson, source }: Made) {
  const sent = (ctx.oidc.body ?? {}) as Readonly<Record<string, string | string[] | undefined>>;
  // What a client asks for itself is read as it was sent: the provider drops scopes that it does not know.
  const { narrowTo } = ctx.req as PreparedRequest;
  const names = String((isPerson ? scope : sent.scope) ?? '')
    .split(' ')
    .filter((name) => name !== '' && (narrowTo?.includes(name) ?? true));
  if (narrowTo !== undefined && names.length === 0)
    throw new errors.InvalidScope('none of these scopes was granted', narrowTo.join(' '));
  const named = [...new Set([...listOf(sent.resource), ...listOf(sent.audience)])];
  const { scopes, audience } = withinGranted({ scopes: names, audience: named }, source, engine.scoping);
  const asked = isPerson || scopes.length > 0 ? scopes : undefined;
  return scopedFor(ctx, engine, { scopes: asked, audience, isPerson });
}

async function claimsFor(
  ctx: KoaContextWithOIDC,
  engine: Engine,
  token: TokenModel,
  scopes: readonly string[],
): Promise<ClaimSet> {
  const bound = token.jkt === undefined ? {} : { cnf: { jkt: token.jkt } };
  const own = { ...token.extra, client_id: token.clientId, scope: scopeClaim(ctx, scopes), ...bound };
  if (token.accountId === undefined) return own;
  const source = sourceOf(ctx);
  if (source?.authTime === undefined) throw new errors.InvalidGrant('nobody signed in for it');
  const { idp, tenant, amr, acr } = await engine.people.loginOf(source);
  return {
    ...own,
    auth_time: source.authTime,
    idp,
    amr,
    ...(acr === undefined ? {} : { acr }),
    ...(tenant === undefined ? {} : { tenant }),
  };
}

/** What the token is made of: a code, a refresh token, or a password that was just checked. */
function sourceOf(ctx: KoaContextWithOIDC): (LoginSource & ResourceSource) | undefined {
  const { AuthorizationCode, DeviceCode, RefreshToken } = ctx.oidc.entities;
  return (AuthorizationCode ?? DeviceCode ?? RefreshToken ?? ctx.state.login) as
    | (LoginSource & ResourceSource)
    | undefined;
}
