/** Users by way of the admin socket. */
import type { Context } from 'koa';
import { IssuerError } from '../../../core/errors.ts';
import { readFields } from '../../body.ts';
import type { Method, Route } from '../../door.ts';
import { bodyErrors, errorAnswer, jsonAnswer, jsonBody } from '../../openapi.ts';
import type { Accounts } from './accounts.ts';
import { isTenant } from './acr-values.ts';
import type { UserClaims } from './claims.ts';
import type { User, Users } from './users.ts';

const PAGE_LIMIT = 200;
const TEXT = { type: 'string' };

type Upstreamed = Pick<Accounts, 'list' | 'forget'>;

/** `brand` is what an authenticator app calls the account. */
export function createUserRoutes(users: Users, accounts: Upstreamed, brand: string): readonly Route[] {
  const list = async (context: Context) => {
    const found = await users.list(pageOf(context));
    context.body = { users: found.map(describe), ...next(found.map(({ username }) => username)) };
  };
  const set = async (context: Context) => {
    const fields = await readFields(context.req, ['username', 'claims', 'tenants']);
    const tenants = fields.tenants === null ? null : tenantsOf(fields.tenants);
    const change = { claims: claimsOf(fields.claims), tenants };
    context.body = describe(await users.set(requireText(fields, 'username'), change));
  };
  const add = async (context: Context) => {
    const fields = await readFields(context.req, ['username', 'password', 'sub', 'claims', 'tenants']);
    const user = {
      username: requireText(fields, 'username'),
      password: textOf(fields, 'password'),
      sub: textOf(fields, 'sub'),
      claims: claimsOf(fields.claims),
      tenants: tenantsOf(fields.tenants),
    };
    context.body = describe(await users.add(user));
  };
  const remove = async (context: Context) => {
    await users.remove(requireText(await readFields(context.req, ['username']), 'username'));
    context.body = {};
  };
  const password = async (context: Context) => {
    const fields = await readFields(context.req, ['username', 'password']);
    const [username, text] = [requireText(fields, 'username'), requireText(fields, 'password')];
    context.body = describe(await users.setPassword(username, text));
  };
  const totp = async (context: Context) => {
    const fields = await readFields(context.req, ['username', 'remove']);
    const username = requireText(fields, 'username');
    context.body =
      fields.remove === true
        ? describe(await users.removeTotp(username))
        : await users.enrolTotp(username, brand);
  };
  return [
    ...accountRoutes(accounts),
    route('GET', '/v1/users', list, 'The local users', undefined),
    route('POST', '/v1/users/add', add, 'Add a user', ADD),
    route('POST', '/v1/users/set', set, 'Change claims and tenants of a user; null takes away', SET),
    route('POST', '/v1/users/remove', remove, 'Remove a user', jsonBody({ username: TEXT }, ['username'])),
    route('POST', '/v1/users/password', password, 'Set a password; earlier logins end', PASSWORD),
    route('POST', '/v1/users/totp', totp, 'Give a user a second factor, or take it away', TOTP),
  ];
}

function accountRoutes(accounts: Upstreamed): readonly Route[] {
  const list = async (context: Context) => {
    const found = await accounts.list(pageOf(context));
    context.body = { users: found, ...next(found.map(({ sub }) => sub)) };
  };
  const forget = async (context: Context) => {
    await accounts.forget(requireText(await readFields(context.req, ['sub']), 'sub'));
    context.body = {};
  };
  return [
    route('GET', '/v1/users/upstream', list, 'People of other identity providers', undefined),
    route(
      'POST',
      '/v1/users/forget',
      forget,
      'Forget a person of another identity provider',
      jsonBody({ sub: TEXT }, ['sub']),
    ),
  ];
}

const ADD = jsonBody(
  {
    ...{ username: TEXT, password: TEXT, sub: TEXT },
    claims: { type: 'object' },
    tenants: { type: 'array', items: TEXT },
  },
  ['username'],
);
const SET = jsonBody(
  {
    username: TEXT,
    claims: { type: 'object' },
    tenants: { type: ['array', 'null'], items: TEXT },
  },
  ['username'],
);
const PASSWORD = jsonBody({ username: TEXT, password: TEXT }, ['username', 'password']);
const TOTP = jsonBody({ username: TEXT, remove: { type: 'boolean' } }, ['username']);

function route(
  method: Method,
  path: string,
  handle: Route['handle'],
  summary: string,
  requestBody: unknown,
): Route {
  const responses = {
    200: jsonAnswer(summary),
    ...(requestBody === undefined ? {} : { ...bodyErrors, 409: errorAnswer('The name or sub is taken') }),
    ...(requestBody === undefined ? {} : { 404: errorAnswer('There is no such user') }),
    503: errorAnswer('The users cannot be had at the moment'),
  };
  return {
    method,
    path,
    operation: { summary, ...(requestBody === undefined ? {} : { requestBody }), responses },
    handle,
  };
}

function pageOf({ query: { after } }: Context) {
  return { after: typeof after === 'string' ? after : undefined, limit: PAGE_LIMIT };
}

/** Undefined behind the last page. */
function next(names: readonly string[]): { readonly next?: string | undefined } {
  return names.length === PAGE_LIMIT ? { next: names.at(-1) } : {};
}

/** What may be said of a user: no hash, no secret. */
function describe({ username, sub, claims, tenants, totpSecret, passwordHash, createdAt }: User) {
  const has = { hasPassword: passwordHash !== undefined, hasTotp: totpSecret !== undefined };
  return { username, sub, claims, ...(tenants === undefined ? {} : { tenants }), ...has, createdAt };
}

type Fields = Readonly<Record<string, unknown>>;

function requireText(fields: Fields, name: string): string {
  return textOf(fields, name) ?? fail(`${name} is missing`);
}

function textOf(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  return value === undefined || typeof value === 'string' ? value : fail(`${name} is no string`);
}

function claimsOf(value: unknown): UserClaims | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return value === undefined ? undefined : isObject ? (value as UserClaims) : fail('claims is no object');
}

function tenantsOf(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const isList = Array.isArray(value) && value.every((name) => typeof name === 'string' && isTenant(name));
  return isList ? (value as readonly string[]) : fail('tenants is no list of names');
}

function fail(reason: string): never {
  throw new IssuerError('invalid_request', reason, { shown: { reason } });
}
