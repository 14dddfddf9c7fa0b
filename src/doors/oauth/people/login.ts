/** The login of an interaction: which page, and what becomes of its forms. */
import { IssuerError } from '../../../core/errors.ts';
import type { EpochSeconds } from '../../../core/ports.ts';
import { hash } from '../adapter.ts';
import { idpsFor, parseAcrValues } from './acr-values.ts';
import { ACR, LOCAL_IDP, type LoginEvent } from './contract.ts';
import { codePage, loginPage } from './pages/login.ts';
import type { User } from './users.ts';
import { finish, nameOf, type Rooms, readForm, redirect, show, tell, type Visit } from './visit.ts';

/** Records of one interaction: `PendingLogin`, a password that was right; `UpstreamLogin`, a login elsewhere. */
const PENDING_SECONDS = 300;

type Pending = { readonly username: string; readonly remember: boolean };

export type Proven = {
  readonly sub: string;
  readonly idp: string;
  readonly amr: readonly string[];
  readonly acr?: string | undefined;
  readonly at?: EpochSeconds | undefined;
  readonly remember?: boolean | undefined;
};

const WRONG_PASSWORD = 'The user name or password is not right.';
const WRONG_CODE = 'This code is not right, or was used already. Wait for the next one.';
const NO_MEMBER = 'This account does not belong to the organization that the application asks for.';

export async function showLogin(rooms: Rooms, visit: Visit): Promise<void> {
  const proven = await takeUpstream(rooms, visit);
  if (proven !== undefined) return finishLogin(rooms, visit, proven);
  const pending = await findPending(rooms, visit);
  if (pending !== undefined) return showCode(rooms, visit, pending);
  const straight = straightTo(rooms, visit);
  if (straight !== undefined) return redirect(visit.context, `${visit.path}/idp/${straight}`);
  return showPasswordForm(rooms, visit, { username: await hintOf(rooms, visit) });
}

/** The one identity provider that is asked for, or the only one that there is. */
function straightTo({ config }: Rooms, { context, interaction, client }: Visit): string | undefined {
  if (context.query.ways !== undefined) return undefined;
  const idps = idpsFor(config, client);
  const { idp } = parseAcrValues(interaction.params.acr_values);
  const wanted = idp !== undefined && idps.includes(idp) ? idp : idps.length === 1 ? idps[0] : undefined;
  return wanted === LOCAL_IDP ? undefined : wanted;
}

type Filled = {
  readonly username?: string | undefined;
  readonly problem?: string;
  readonly status?: number;
};

function showPasswordForm(rooms: Rooms, visit: Visit, { username, problem, status }: Filled): void {
  const { client, interaction } = visit;
  const idps = idpsFor(rooms.config, client);
  const ways = idps
    .filter((name) => name !== LOCAL_IDP)
    .map((name) => ({ name, title: rooms.config.identityProviders?.[name]?.title ?? name }));
  const page = loginPage({
    ...visit,
    client: nameOf(client),
    hasPassword: idps.includes(LOCAL_IDP),
    ways,
    username,
    problem,
    reason: reasonOf(interaction.prompt.reasons, interaction.session?.accountId !== undefined),
  });
  show(rooms, visit, page, status);
}

function reasonOf(reasons: readonly string[], wasSignedIn: boolean): string | undefined {
  const has = (...names: readonly string[]) => names.some((name) => reasons.includes(name));
  if (has('account_missing')) return 'Your earlier sign-in is no longer valid.';
  if (has('essential_acr', 'essential_acrs'))
    return 'The application asks for a stronger sign-in, such as one with a one-time code.';
  if (has('id_token_hint', 'claims_id_token_sub_value'))
    return 'The application asks for one certain account: sign in with that one.';
  if (has('idp', 'tenant') && wasSignedIn)
    return 'The application asks for another sign-in than your earlier one.';
  if (has('login_prompt', 'max_age') && wasSignedIn) return 'The application asks you to sign in again.';
  return undefined;
}

async function hintOf({ accounts, users }: Rooms, { interaction }: Visit): Promise<string | undefined> {
  const { params, session } = interaction;
  if (typeof params.login_hint === 'string') return params.login_hint.slice(0, 128);
  if (session?.accountId === undefined) return undefined;
  const { idp } = await accounts.loginOf({ accountId: session.accountId });
  return idp === LOCAL_IDP ? (await users.findBySub(session.accountId))?.username : undefined;
}

export async function submitPassword(rooms: Rooms, visit: Visit): Promise<void> {
  const { username = '', password = '', remember } = await readForm(visit, rooms.issuer);
  if (!idpsFor(rooms.config, visit.client).includes(LOCAL_IDP))
    throw new IssuerError('access_denied', 'the client does not take local users');
  const { attempts, users } = rooms;
  const refuse = async (outcome: LoginEvent['outcome'], problem: string, status: number) => {
    tell(rooms, visit, outcome, { sub: (await users.find(username))?.sub });
    showPasswordForm(rooms, visit, { username, problem, status });
  };
  const problem = await tooMany(visit, () => attempts.take(username, visit.context.ip));
  if (problem !== undefined) return refuse('too_many', problem, 429);
  const user = await users.withPassword(username, password);
  if (user === undefined) return refuse('wrong_password', WRONG_PASSWORD, 401);
  if (!isMember(user, visit)) return refuse('wrong_tenant', NO_MEMBER, 403);
  await attempts.forgive(username);
  const pending: Pending = { username: user.username, remember: remember === 'yes' };
  if (user.totpSecret === undefined)
    return finishLogin(rooms, visit, { ...localLogin(user, false), remember: pending.remember });
  await keepPending(rooms, visit, pending);
  redirect(visit.context, visit.path);
}

export async function submitCode(rooms: Rooms, visit: Visit): Promise<void> {
  const { code = '' } = await readForm(visit, rooms.issuer);
  const pending = await findPending(rooms, visit);
  if (pending === undefined) return redirect(visit.context, visit.path);
  const { username } = pending;
  const problem = await tooMany(visit, () => rooms.attempts.takeCode(username));
  const user = await rooms.users.find(username);
  const refuse = (outcome: LoginEvent['outcome'], text: string, status: number) => {
    tell(rooms, visit, outcome, { sub: user?.sub });
    showCode(rooms, visit, pending, { problem: text, status });
  };
  if (problem !== undefined) return refuse('too_many', problem, 429);
  if (user === undefined || !(await rooms.users.useCode(user, code)))
    return refuse('wrong_code', WRONG_CODE, 401);
  if (!(await forgetPending(rooms, visit))) return redirect(visit.context, visit.path);
  return finishLogin(rooms, visit, { ...localLogin(user, true), remember: pending.remember });
}

export async function restart(rooms: Rooms, visit: Visit): Promise<void> {
  await readForm(visit, rooms.issuer);
  await forgetPending(rooms, visit);
  redirect(visit.context, visit.path);
}

export async function abort(rooms: Rooms, visit: Visit): Promise<void> {
  await readForm(visit, rooms.issuer);
  await forgetPending(rooms, visit);
  await finish(visit, { error: 'access_denied', error_description: 'the person cancelled the sign-in' });
}

/** With a user's password alone, or with a one-time code beside it. */
export function localLogin({ sub }: User, hasCode: boolean): Proven {
  return hasCode
    ? { sub, idp: LOCAL_IDP, amr: ['pwd', 'otp', 'mfa'], acr: ACR.multiFactor }
    : { sub, idp: LOCAL_IDP, amr: ['pwd'], acr: ACR.password };
}

/** Whether the user may have the tenant that is asked for. */
export function mayHaveTenant({ tenants }: User, tenant: string | undefined): boolean {
  return tenant === undefined || tenants === undefined || tenants.includes(tenant);
}

function isMember(user: User, { interaction }: Visit): boolean {
  return mayHaveTenant(user, parseAcrValues(interaction.params.acr_values).tenant);
}

/** `ts` is given, since a second prompt brings the same result again, and the login has one time. */
function finishLogin(rooms: Rooms, visit: Visit, proven: Proven): Promise<void> {
  const { sub, idp, amr, acr, at = rooms.clock.now(), remember = false } = proven;
  tell(rooms, visit, 'signed_in', { idp, sub });
  const { tenant } = parseAcrValues(visit.interaction.params.acr_values);
  const login = { accountId: sub, amr: [...amr], ts: at, remember, idp };
  const more = { ...(acr === undefined ? {} : { acr }), ...(tenant === undefined ? {} : { tenant }) };
  return finish(visit, { login: { ...login, ...more } });
}

async function takeUpstream({ records, realm, clock }: Rooms, { interaction }: Visit) {
  const key = { realm, model: 'UpstreamLogin', id: hash(interaction.uid) };
  const found = await records.find(key, clock.now());
  if (found === undefined || !(await records.remove(key))) return undefined;
  return found.payload as Proven;
}

async function findPending({ records, realm, clock }: Rooms, { interaction }: Visit) {
  const found = await records.find({ realm, model: 'PendingLogin', id: hash(interaction.uid) }, clock.now());
  return found?.payload as Pending | undefined;
}

async function keepPending(
  { records, realm, clock }: Rooms,
  { interaction }: Visit,
  payload: Pending,
): Promise<void> {
  const expiresAt = clock.now() + PENDING_SECONDS;
  await records.upsert({ realm, model: 'PendingLogin', id: hash(interaction.uid) }, { payload, expiresAt });
}

function forgetPending({ records, realm }: Rooms, { interaction }: Visit): Promise<boolean> {
  return records.remove({ realm, model: 'PendingLogin', id: hash(interaction.uid) });
}

function showCode(
  rooms: Rooms,
  visit: Visit,
  { username }: Pending,
  { problem, status }: { readonly problem?: string; readonly status?: number } = {},
): void {
  show(rooms, visit, codePage({ ...visit, client: nameOf(visit.client), username, problem }), status);
}

/** What to say where there were too many attempts. */
async function tooMany({ context }: Visit, take: () => Promise<void>): Promise<string | undefined> {
  try {
    await take();
    return undefined;
  } catch (error) {
    if (!(error instanceof IssuerError) || error.code !== 'too_many_requests') throw error;
    const seconds = error.retryAfterSeconds ?? 60;
    context.set('Retry-After', String(seconds));
    const minutes = Math.ceil(seconds / 60);
    return `Too many attempts. Wait ${minutes === 1 ? 'a minute' : `${minutes} minutes`}, then try again.`;
  }
}
