/** Who a `sub` is, and how that person logged in: see contract.ts for how it reaches the tokens. */
import { randomBytes } from 'node:crypto';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import type { Clock, EpochSeconds } from '../../../core/ports.ts';
import type { RecordPayload, RecordStore } from '../../../core/records.ts';
import { hash } from '../adapter.ts';
import type { UserClaims } from './claims.ts';
import { LOCAL_IDP, type Login, type LoginSource, type Person } from './contract.ts';
import type { Users } from './users.ts';

/** The tenant of a login is remembered for longer than any refresh token may live, and on with each that it is read for. */
const LOGIN_KEPT_SECONDS = 400 * 24 * 3600;
/** Read within the first month, it need not be written again. */
const LOGIN_LEFT_SECONDS = 370 * 24 * 3600;

const PAGE = 200;

export type UpstreamPerson = {
  readonly idp: string;
  readonly issuer: string;
  readonly subject: string;
  readonly claims: UserClaims;
};

export type Account = UpstreamPerson & { readonly sub: string };

export type Accounts = {
  /** Without a token the login is the session's of the request. */
  find(context: KoaContextWithOIDC | undefined, sub: string, token?: unknown): Promise<Person | undefined>;
  claimsOf(sub: string): Promise<UserClaims | undefined>;
  /** People of upstreams who signed in here, by sub. */
  list(page: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly Account[]>;
  /** Ends all that came of the person's logins; who comes again is the same sub. Throws `not_found`. */
  forget(sub: string): Promise<void>;
  /** Keeps what the upstream said last of a person; returns the person's sub here. */
  keepUpstream(person: UpstreamPerson): Promise<string>;
  rememberLogin(context: KoaContextWithOIDC): Promise<void>;
  /** What is given in a login keeps its tenant, whatever later logins do to the session. */
  bindLogin(context: KoaContextWithOIDC, given: GivenInLogin): Promise<void>;
  keepTenant(source: LoginSource, tenant: string): Promise<void>;
  loginOf(source: LoginSource): Promise<Login>;
};

/** An AuthorizationCode or a DeviceCode. */
export type GivenInLogin = {
  accountId?: string | undefined;
  sessionUid?: string | undefined;
  authTime?: EpochSeconds | undefined;
};

export type AccountsParts = {
  readonly records: RecordStore;
  readonly realm: string;
  readonly clock: Clock;
  readonly users: Users;
};

export function createAccounts(parts: AccountsParts): Accounts {
  const { records, realm, clock, users } = parts;
  const upstream = async (sub: string) =>
    (await records.find({ realm, model: 'Account', id: sub }, clock.now()))?.payload as
      | UpstreamPerson
      | undefined;
  async function whoIs(sub: string): Promise<Known | undefined> {
    const user = await users.findBySub(sub);
    if (user === undefined) return upstream(sub);
    const { username, claims, signedOutBefore } = user;
    return { idp: LOCAL_IDP, claims: { preferred_username: username, ...claims }, signedOutBefore };
  }
  async function keepTenant(source: LoginSource, tenant: string): Promise<void> {
    const expiresAt = clock.now() + LOGIN_KEPT_SECONDS;
    await records.upsert({ realm, model: 'Login', id: loginId(source) }, { payload: { tenant }, expiresAt });
  }
  async function tenantOf(source: LoginSource): Promise<string | undefined> {
    const found = await records.find({ realm, model: 'Login', id: loginId(source) }, clock.now());
    const tenant = found?.payload.tenant as string | undefined;
    const isOld = (found?.expiresAt ?? 0) < clock.now() + LOGIN_LEFT_SECONDS;
    if (tenant !== undefined && isOld) await keepTenant(source, tenant);
    return tenant;
  }
  return {
    keepTenant,
    claimsOf: async (sub) => (await whoIs(sub))?.claims,
    async find(context, sub, token) {
      const found = await whoIs(sub);
      const since = loggedInAt(context, token);
      const isOver = since !== undefined && since < (found?.signedOutBefore ?? 0);
      if (found === undefined || isOver) return undefined;
      return { accountId: sub, idp: found.idp, claims: () => ({ ...found.claims, sub, idp: found.idp }) };
    },
    list: (page) => listAccounts(parts, page),
    forget: (sub) => forget(parts, sub),
    async keepUpstream(person) {
      const sub = subjectOf(person);
      await records.upsert({ realm, model: 'Account', id: sub }, { payload: person });
      return sub;
    },
    async rememberLogin({ oidc: { result, session } }) {
      if (session === undefined || result?.login === undefined) return;
      const source = sessionSource(session);
      const tenant = tenantIn(result);
      // An upstream's login of the same moment may have been for another tenant.
      if (tenant === undefined) await records.remove({ realm, model: 'Login', id: loginId(source) });
      else await keepTenant(source, tenant);
    },
    async bindLogin({ oidc: { result, session } }, given) {
      if (session === undefined || given.accountId === undefined) return;
      const isNew = result?.login !== undefined;
      const tenant = isNew ? tenantIn(result) : await tenantOf(sessionSource(session));
      given.sessionUid = newLoginUid();
      if (tenant !== undefined) await keepTenant(given, tenant);
    },
    async loginOf(source) {
      const idp = (await upstream(source.accountId ?? ''))?.idp ?? LOCAL_IDP;
      return { idp, tenant: await tenantOf(source), amr: source.amr ?? [], acr: source.acr };
    },
  };
}

async function listAccounts({ records, realm, clock }: AccountsParts, page: Parameters<Accounts['list']>[0]) {
  const found = await records.list({ realm, model: 'Account' }, page, clock.now());
  return found.map(({ id, payload }) => ({ ...(payload as RecordPayload & UpstreamPerson), sub: id }));
}

/**
 * The account last: the next call ends what is left of one that failed. Sessions go before grants, so that
 * nothing new comes from a page that is still open.
 */
async function forget({ records, realm, clock }: AccountsParts, sub: string): Promise<void> {
  let isThere = false;
  for (const model of ['Session', 'Grant'])
    for (let after: string | undefined, isMore = true; isMore; ) {
      const page = await records.list({ realm, model }, { after, limit: PAGE }, clock.now());
      for (const { id } of page.filter(({ payload }) => payload.accountId === sub)) {
        if (model === 'Grant') await records.removeFamily(realm, id);
        isThere = (await records.remove({ realm, model, id })) || isThere;
      }
      after = page.at(-1)?.id;
      isMore = page.length === PAGE;
    }
  isThere = (await records.remove({ realm, model: 'Account', id: sub })) || isThere;
  if (isThere) return;
  const reason = 'no person of an identity provider has this sub';
  throw new IssuerError('not_found', 'no such person', { shown: { reason } });
}

type Known = {
  readonly idp: string;
  readonly claims: UserClaims;
  readonly signedOutBefore?: EpochSeconds | undefined;
};

type Session = {
  readonly accountId?: string | undefined;
  readonly uid: string;
  readonly amr?: readonly string[] | undefined;
  readonly acr?: string | undefined;
  authTime(): EpochSeconds | undefined;
};

export function sessionSource(session: Session): LoginSource {
  const { accountId, uid, amr, acr } = session;
  return { accountId, sessionUid: uid, authTime: session.authTime(), amr, acr };
}

/** The same person of the same upstream is always the same sub, which says nothing of either. */
function subjectOf({ issuer, subject }: UpstreamPerson): string {
  return hash(JSON.stringify([issuer, subject]));
}

function tenantIn(result: KoaContextWithOIDC['oidc']['result']): string | undefined {
  const { tenant } = (result?.login ?? {}) as { readonly tenant?: unknown };
  return typeof tenant === 'string' ? tenant : undefined;
}

export function newLoginUid(): string {
  return randomBytes(16).toString('base64url');
}

function loginId({ sessionUid, accountId, authTime }: LoginSource): string {
  return hash(JSON.stringify([sessionUid, accountId, authTime]));
}

/** When the login was that a token or the browser's session comes from. */
function loggedInAt(context: KoaContextWithOIDC | undefined, token: unknown): EpochSeconds | undefined {
  const { authTime, iat } = (token ?? {}) as { readonly authTime?: number; readonly iat?: number };
  return authTime ?? iat ?? context?.oidc?.session?.authTime();
}
