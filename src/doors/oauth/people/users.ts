/** Local users: records of model `User`, by normalized user name, and by `sub` as their second name. */
import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { IssuerError } from '../../../core/errors.ts';
import type { Clock, EpochSeconds } from '../../../core/ports.ts';
import type { FoundRecord, RecordPayload, RecordStore } from '../../../core/records.ts';
import { assertClaims, type UserClaims } from './claims.ts';
import type { Passwords } from './passwords.ts';
import { type Enrolment, enrol, openSecret, STEP_KEPT_SECONDS, sealSecret, stepOf } from './totp.ts';

export type User = {
  readonly username: string;
  readonly sub: string;
  readonly claims: UserClaims;
  /** The tenants that the user may ask for; any where absent. */
  readonly tenants?: readonly string[];
  readonly passwordHash?: string;
  /** Sealed (totp.ts). */
  readonly totpSecret?: string;
  readonly createdAt: EpochSeconds;
  /** Logins before then no longer count: the password was changed. */
  readonly signedOutBefore?: EpochSeconds;
};

export type NewUser = {
  readonly username: string;
  readonly password?: string | undefined;
  readonly sub?: string | undefined;
  readonly claims?: UserClaims | undefined;
  readonly tenants?: readonly string[] | undefined;
};

/** What is absent stays. */
export type UserChange = {
  /** By name; null takes one away. */
  readonly claims?: UserClaims | undefined;
  /** Null: any tenant. */
  readonly tenants?: readonly string[] | null | undefined;
};

export type Users = {
  /** Throws `conflict` where the name or the sub is taken. */
  add(user: NewUser): Promise<User>;
  list(page: { readonly after?: string | undefined; readonly limit: number }): Promise<readonly User[]>;
  find(username: string): Promise<User | undefined>;
  findBySub(sub: string): Promise<User | undefined>;
  /** These throw `not_found`. */
  remove(username: string): Promise<void>;
  /** Throws `invalid_request` for a claim that cannot be. */
  set(username: string, change: UserChange): Promise<User>;
  setPassword(username: string, password: string): Promise<User>;
  enrolTotp(username: string, issuer: string): Promise<Enrolment>;
  removeTotp(username: string): Promise<User>;
  /** The user whose password it is; as slow where there is none. */
  withPassword(username: string, password: string): Promise<User | undefined>;
  /** True once for each code. */
  useCode(user: User, code: string): Promise<boolean>;
};

export type UsersParts = {
  readonly records: RecordStore;
  readonly realm: string;
  readonly clock: Clock;
  readonly passwords: Passwords;
  /** What the secrets of second factors are sealed by. */
  readonly secret: Uint8Array;
  /** Whether a client has this id: whoever reads `sub` could take a person for it (RFC 9068 section 5). */
  readonly isClient: (id: string) => Promise<boolean>;
};

const USERNAME_MAX = 128;
const PASSWORD_MIN = 8; // NIST SP 800-63B section 3.1.1.2
const PASSWORD_MAX_BYTES = 1024;

export function createUsers(parts: UsersParts): Users {
  const { records, realm, clock, passwords } = parts;
  const place = { realm, model: 'User' };
  const find = async (username: string) => {
    const id = normalizeUsername(username);
    return id === undefined ? undefined : userOf(await records.find({ ...place, id }, clock.now()));
  };
  const change = (username: string, changed: (user: User) => User) =>
    changeUser(parts, find, username, changed);
  return {
    find,
    add: (user) => addUser(parts, user),
    async list(page) {
      const found = await records.list(place, page, clock.now());
      return found.flatMap((record) => userOf(record) ?? []);
    },
    findBySub: async (sub) => userOf(await records.findBy(place, 'uid', sub, clock.now())),
    async remove(username) {
      const id = normalizeUsername(username) ?? '';
      if (!(await records.remove({ ...place, id }))) throw noSuchUser();
    },
    set: (username, given) => change(username, (user) => changed(user, given)),
    async setPassword(username, password) {
      const passwordHash = await passwords.hash(assertPassword(password));
      return change(username, (user) => ({ ...user, passwordHash, signedOutBefore: clock.now() }));
    },
    async enrolTotp(username, issuer) {
      const user = (await find(username)) ?? fail(noSuchUser());
      const enrolment = enrol(issuer, user.username);
      await change(username, (current) => ({
        ...current,
        totpSecret: sealSecret(enrolment.secret, parts, current),
      }));
      return enrolment;
    },
    removeTotp: (username) => change(username, ({ totpSecret: _, ...user }) => user),
    async withPassword(username, password) {
      const user = await find(username);
      const { matches, isOutdated } = await passwords.verify(bounded(password), user?.passwordHash);
      if (!matches || user === undefined) return undefined;
      if (isOutdated) await renewHash(parts, user, await passwords.hash(password));
      return user;
    },
    useCode: (user, code) => useCode(parts, user, code),
  };
}

async function addUser(parts: UsersParts, given: NewUser): Promise<User> {
  const { records, realm, clock, passwords } = parts;
  const username =
    normalizeUsername(given.username) ??
    fail(invalid('the user name is empty, longer than 128 characters, or has characters that nobody sees'));
  const { sub = randomBytes(16).toString('base64url'), claims = {}, tenants, password } = given;
  if (!/^[\x21-\x7e]{1,127}$/.test(sub)) throw invalid('sub is no printable ASCII of at most 127 characters');
  if (await parts.isClient(sub)) throw invalid('that sub is the id of a client');
  const passwordHash = password === undefined ? undefined : await passwords.hash(assertPassword(password));
  const user: User = {
    username,
    sub,
    claims: assertClaims(claims),
    createdAt: clock.now(),
    ...(tenants === undefined ? {} : { tenants }),
    ...(passwordHash === undefined ? {} : { passwordHash }),
  };
  const key = { realm, model: 'User', id: username };
  if (await records.insert(key, { payload: user, uid: sub }, clock.now())) return user;
  throw new IssuerError('conflict', 'the user name or sub is taken', {
    shown: { reason: 'there is such a user already, or one with this sub' },
  });
}

function changed({ tenants: before, ...user }: User, { claims, tenants = before }: UserChange): User {
  const all = Object.entries({ ...user.claims, ...claims }).filter(([, value]) => value !== null);
  const kept = tenants === undefined || tenants === null ? {} : { tenants };
  return { ...user, claims: assertClaims(Object.fromEntries(all)), ...kept };
}

/** Compare and swap, again where somebody else was first. */
async function changeUser(
  { records, realm }: UsersParts,
  find: Users['find'],
  username: string,
  changed: (user: User) => User,
): Promise<User> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const user = (await find(username)) ?? fail(noSuchUser());
    const next = changed(user);
    const key = { realm, model: 'User', id: user.username };
    if (isDeepStrictEqual(next, user) || (await records.replace(key, user, next))) return next;
  }
  throw new IssuerError('conflict', 'others keep changing this user');
}

/** The same password by the parameters of today; whoever changed the user meanwhile wins. */
async function renewHash({ records, realm }: UsersParts, user: User, passwordHash: string): Promise<void> {
  await records.replace({ realm, model: 'User', id: user.username }, user, { ...user, passwordHash });
}

async function useCode(parts: UsersParts, user: User, code: string): Promise<boolean> {
  const { records, realm, clock } = parts;
  if (user.totpSecret === undefined) return false;
  const now = clock.now();
  const step = stepOf(openSecret(user.totpSecret, parts, user), code, now);
  if (step === undefined) return false;
  const key = { realm, model: 'UsedCode', id: `${user.sub}.${step}` };
  return records.insert(key, { payload: {}, expiresAt: now + STEP_KEPT_SECONDS }, now);
}

function userOf(record: FoundRecord | undefined): User | undefined {
  return record === undefined ? undefined : (record.payload as RecordPayload & User);
}

/** One name for what people take for one; undefined: it cannot be a user's. */
export function normalizeUsername(username: string): string | undefined {
  const name = username.normalize('NFKC').trim().toLowerCase();
  return name === '' || name.length > USERNAME_MAX || /[\p{C}\p{Zl}\p{Zp}]/u.test(name) ? undefined : name;
}

function assertPassword(password: string): string {
  if ([...password].length < PASSWORD_MIN)
    throw invalid(`a password has at least ${PASSWORD_MIN} characters`);
  if (Buffer.byteLength(password) > PASSWORD_MAX_BYTES)
    throw invalid(`a password has at most ${PASSWORD_MAX_BYTES} bytes`);
  return password;
}

/** A password that nobody can have costs no more than others. */
function bounded(password: string): string {
  return Buffer.byteLength(password) > PASSWORD_MAX_BYTES ? '' : password;
}

function invalid(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

function noSuchUser(): IssuerError {
  return new IssuerError('not_found', 'no such user', { shown: { reason: 'there is no such user' } });
}

function fail(error: IssuerError): never {
  throw error;
}
