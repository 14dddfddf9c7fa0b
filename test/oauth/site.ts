/** One issuer of one or more processes behind a balancer, and what its clients and people were given. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { TOTP } from 'otpauth';
import { ask } from '../system/ask.ts';
import {
  createPlace,
  type Place,
  type Scope,
  type Server,
  type Settings,
  start,
  until,
  writeConfig,
} from '../system/start.ts';
import { type Balancer, startBalancer } from './balancer.ts';
import { type Browser, openBrowser, type Page } from './browser.ts';
import { type Answer, API, hashOf, ORDERS_API, post, RESOURCES } from './server.ts';

export const APP = 'https://shop.example.com/';
export const CALLBACK = `${APP}callback`;
export const PASSWORD = 'correct horse battery staple';
export const INITIAL_TOKEN = 'an-initial-access-token/long-enough==';
export const SCOPES = ['openid', 'profile', 'offline_access', 'orders.read'];

export const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code', 'refresh_token'],
  scopes: SCOPES,
  redirectUris: [CALLBACK],
  postLogoutRedirectUris: [APP],
};

export const CLIENTS = [
  WEB,
  { ...WEB, id: 'trusted', secrets: [hashOf('trusted')], consent: false },
  { id: 'legacy', secrets: [hashOf('legacy')], grants: ['password', 'refresh_token'], scopes: SCOPES },
  { id: 'tv', public: true, grants: ['device_code', 'refresh_token'], scopes: SCOPES },
  { id: 'machine', secrets: [hashOf('machine')], grants: ['client_credentials'], scopes: ['orders.read'] },
  ORDERS_API,
];

export type User = { readonly username: string; readonly code: () => string };

export type Site = {
  readonly issuer: string;
  readonly balancer: Balancer;
  readonly replicas: Server[];
  /** Every bearer value that was handed out, and what it is. */
  readonly handed: Map<string, string>;
  readonly tokens: Set<string>;
  /** A key was revoked: tokens from before are no longer good. */
  oldTokensAreGone: boolean;
  post(
    path: string,
    form: Readonly<Record<string, string>>,
    headers?: Readonly<Record<string, string>>,
  ): Promise<Answer>;
  /** With a JSON body, or none. */
  call(method: string, url: string, bearer: string, body?: object): Promise<Answer>;
  browser(): Browser;
  addUser(hasCode?: boolean): Promise<User>;
  /** SIGKILL, and another process on the same files. */
  restart(index: number): Promise<void>;
  /** So that there is room in the ring. */
  revokeRetired(): Promise<void>;
  /** Every replica knows of it when it returns. */
  rotate(): Promise<void>;
  revokeActive(): Promise<void>;
  verifyTokens(): Promise<void>;
};

/** `settingsOf` says where the keys and the records are. */
export async function startSite(
  scope: Scope,
  count: number,
  settingsOf: (place: Place) => Settings,
  oauth: Settings = {},
): Promise<Site> {
  const balancer = await startBalancer(scope);
  const places = await Promise.all(Array.from({ length: count }, () => createPlace(scope)));
  const people = { passwords: { cost: 10 }, logins: { perAddress: 100_000 } };
  const registration = (directory: string) => {
    const accessTokenFile = join(directory, 'registration');
    writeFileSync(accessTokenFile, INITIAL_TOKEN);
    return { accessTokenFile, scopes: ['orders.read'], grants: ['client_credentials'] };
  };
  const block = {
    clients: CLIENTS,
    resources: RESOURCES.slice(0, 1),
    people,
    deviceInterval: '1s',
    ...oauth,
  };
  const { issuer } = balancer;
  for (const place of places)
    writeConfig(place, {
      ...{ issuer, ...settingsOf(place) },
      doors: { oauth: { ...block, registration: registration(place.directory) } },
    });
  balancer.ports = places.map(({ port }) => port);
  const replicas = await Promise.all(places.map((place) => start(scope, place)));
  const handed = new Map<string, string>();
  const tokens = new Set<string>();
  let users = 0;
  return {
    ...{ issuer, balancer, replicas, handed, tokens, oldTokensAreGone: false },
    async post(path, form, headers) {
      const answer = await post(`${issuer}${path}`, form, headers);
      collect(answer.body, handed, tokens);
      return answer;
    },
    async call(...asked) {
      const answer = await call(...asked);
      collect(answer.body, handed, tokens);
      return answer;
    },
    browser: () => watchedBrowser(handed),
    async addUser(hasCode = false) {
      const username = `user-${++users}`;
      handed.set(PASSWORD, 'password');
      return addUser(replicas[users % count]!, username, hasCode, handed);
    },
    async restart(index) {
      replicas[index]!.signal('SIGKILL');
      await replicas[index]!.ended;
      replicas[index] = await start(scope, places[index]!);
    },
    rotate: () => changeKeys(replicas, 'active', () => ['/v1/keys/rotate', { force: true }]),
    revokeActive: () => changeKeys(replicas, 'active', (keyId) => ['/v1/keys/revoke', { keyId }]),
    revokeRetired: () => changeKeys(replicas, 'retired', (keyId) => ['/v1/keys/revoke', { keyId }]),
    verifyTokens: () => verifyTokens(issuer, tokens),
  };
}

async function call(method: string, url: string, bearer: string, body?: object): Promise<Answer> {
  const headers = { Authorization: `Bearer ${bearer}`, ...(body && { 'Content-Type': 'application/json' }) };
  const response = await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: JSON.parse(text || '{}') };
}

const BEARERS = [
  'refresh_token',
  'device_code',
  'user_code',
  'request_uri',
  'client_secret',
  'registration_access_token',
];

function collect(body: Answer['body'], handed: Map<string, string>, tokens: Set<string>): void {
  for (const name of BEARERS) if (typeof body[name] === 'string') handed.set(body[name], name);
  if (typeof body.user_code === 'string') handed.set(body.user_code.replace('-', ''), 'user_code');
  if (typeof body.request_uri === 'string')
    handed.set(body.request_uri.split(':').at(-1) ?? '', 'request_uri');
  for (const token of [body.access_token, body.id_token]) {
    if (typeof token !== 'string') continue;
    tokens.add(token);
    handed.set(token, 'token');
  }
}

function watchedBrowser(handed: Map<string, string>): Browser {
  const browser = openBrowser(APP);
  const watch = (page: Page) => {
    for (const [name, value] of browser.cookies) handed.set(value, `cookie ${name}`);
    const [, uid] = /\/interaction\/([\w-]+)/.exec(page.url) ?? [];
    if (uid !== undefined) handed.set(uid, 'interaction');
    const code = URL.parse(page.url)?.searchParams.get('code') ?? undefined;
    if (code !== undefined) handed.set(code, 'code');
    return page;
  };
  return {
    cookies: browser.cookies,
    open: async (url) => watch(await browser.open(url)),
    submit: async (page, action, fields) => watch(await browser.submit(page, action, fields)),
  };
}

async function addUser(
  { admin }: Server,
  username: string,
  hasCode: boolean,
  handed: Map<string, string>,
): Promise<User> {
  const change = async (path: string, fields: object) => {
    const headers = { 'Content-Type': 'application/json' };
    const answer = await ask(admin, path, { method: 'POST', headers, body: JSON.stringify(fields) });
    assert.equal(answer.status, 200, answer.text);
    return answer.json();
  };
  await change('/v1/users/add', { username, password: PASSWORD, claims: { name: username } });
  if (!hasCode) return { username, code: () => assert.fail('has no second factor') };
  const { secret } = await change('/v1/users/totp', { username });
  handed.set(String(secret), 'totp secret');
  return { username, code: () => new TOTP({ secret: String(secret) }).generate() };
}

type Key = { readonly keyId: string; readonly state: string };

const keysOf = async ({ admin }: Server) => (await ask(admin, '/v1/keys')).json<{ keys: Key[] }>().keys;

/** On one of the replicas; the others follow. */
async function changeKeys(
  replicas: readonly Server[],
  state: 'active' | 'retired',
  change: (keyId: string) => readonly [path: string, fields: object],
): Promise<void> {
  const replica = replicas[Math.floor(Math.random() * replicas.length)]!;
  const keys = await keysOf(replica);
  for (const { keyId } of keys.filter((key) => key.state === state)) {
    const [path, fields] = change(keyId);
    const answer = await ask(replica.admin, path, { method: 'POST', body: JSON.stringify(fields) });
    assert.equal(answer.status, 200, answer.text);
  }
  const idsOf = (all: readonly Key[]) =>
    JSON.stringify(all.map(({ keyId, state }) => `${keyId} ${state}`).sort());
  const wanted = idsOf(await keysOf(replica));
  for (const other of replicas)
    await until(async () => idsOf(await keysOf(other)) === wanted, 'the same ring');
}

async function verifyTokens(issuer: string, tokens: ReadonlySet<string>): Promise<void> {
  const answer = await fetch(`${issuer}/.well-known/jwks`);
  const keys = createLocalJWKSet((await answer.json()) as never);
  for (const token of tokens)
    await jwtVerify(token, keys, { issuer, audience: [API, issuer, ...CLIENTS.map(({ id }) => id)] }).catch(
      (error) => assert.fail(`${error.message}: ${JSON.stringify(decodeJwt(token))}`),
    );
}
