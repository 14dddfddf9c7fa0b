/** An issuer with the Vultr door, as a process of its own, and how its API is asked. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { hashOf } from '../oauth/server.ts';
import { createPlace, type Scope, type Server, type Settings, start, writeConfig } from '../system/start.ts';

export const APP = 'https://shop.example.com/';
export const CALLBACK = `${APP}callback`;
export const PASSWORD = 'correct horse battery staple';
export const API = 'https://orders.example.com';
export const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
export const JWT_TYPE = 'urn:ietf:params:oauth:token-type:jwt';

export const SHOP = {
  id: 'shop',
  secrets: [hashOf('shop')],
  redirectUris: [CALLBACK],
  scopes: ['openid', 'profile', 'email', 'offline_access', 'orders.read'],
  consent: false,
};
/** Without a secret: API keys speak for it. */
const KEYED = { id: 'keyed', redirectUris: [CALLBACK], consent: false };
const APPLET = { id: 'applet', public: true, redirectUris: [CALLBACK], consent: false };

export const CLIENTS = [SHOP, KEYED, APPLET];

export type Answer = { readonly status: number; readonly headers: Headers; readonly body: Body };
// biome-ignore lint/suspicious/noExplicitAny: answers are looked into
export type Body = any;

export type Api = Server & {
  readonly base: string;
  readonly key: string;
  call(method: string, path: string, body?: unknown, key?: string): Promise<Answer>;
  /** POSTs a form. */
  form(
    path: string,
    fields: Readonly<Record<string, string>>,
    headers?: Record<string, string>,
  ): Promise<Answer>;
  create(name: string, more?: Settings): Promise<string>;
};

export async function answerOf(response: Response): Promise<Answer> {
  const body = await response.text();
  if (body !== '' && response.status !== 303 && !body.startsWith('<'))
    assert.equal(response.headers.get('content-type'), 'application/json', `${response.url} ${body}`);
  return {
    status: response.status,
    headers: response.headers,
    body: body.startsWith('{') ? JSON.parse(body) : body,
  };
}

export function adminCall(socketPath: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/json' };
    request({ socketPath, path, method: body === undefined ? 'GET' : 'POST', headers }, async (response) => {
      const found = await text(response);
      resolve({ status: response.statusCode ?? 0, headers: new Headers(), body: JSON.parse(found) });
    })
      .on('error', reject)
      .end(body === undefined ? undefined : JSON.stringify(body));
  });
}

export async function startVultr(scope: Scope, vultr: Settings = {}, settings: Settings = {}): Promise<Api> {
  const place = await createPlace(scope);
  const block = {
    clients: CLIENTS,
    resources: [{ audience: API, scopes: ['orders.read'] }],
    allowPrivateIssuers: true,
    spareKeys: 0,
    ...vultr,
  };
  const oauth = { people: { passwords: { cost: 10 } } };
  writeConfig(place, { doors: { fly: {}, oauth, vultr: block }, ...settings });
  return apiOf(await start(scope, place));
}

/** The API of a server, with a new key. */
export async function apiOf(server: Server): Promise<Api> {
  const made = await adminCall(server.admin, '/v1/api-keys/add', { name: `test-${Date.now()}` });
  assert.equal(made.status, 200, JSON.stringify(made.body));
  const base = `${server.issuer}/v2/oidc`;
  const { key } = made.body;
  const api: Api = {
    ...{ ...server, base, key },
    async call(method, path, body, given = key) {
      const headers = { Authorization: `Bearer ${given}`, 'Content-Type': 'application/json' };
      const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
      return answerOf(await fetch(`${base}${path}`, { method, headers, ...sent }));
    },
    async form(path, fields, headers = {}) {
      const body = new URLSearchParams(fields);
      return answerOf(await fetch(`${base}${path}`, { method: 'POST', headers, body }));
    },
    async create(name, more = {}) {
      const { status, body } = await api.call('POST', '/provider', { name, ...more });
      assert.equal(status, 201, JSON.stringify(body));
      return body.provider.id;
    },
  };
  return api;
}

export async function addUser(api: Api, provider: string, username = 'ada'): Promise<void> {
  const user = { username, password: PASSWORD, claims: { name: 'Ada', email: 'ada@example.com' } };
  const { status, body } = await adminCall(api.admin, `/v1/issuers/${provider}/users/add`, user);
  assert.equal(status, 200, JSON.stringify(body));
}

export const keyIds = async (api: Api, provider: string): Promise<readonly string[]> =>
  (await api.call('GET', `/provider/${provider}/.well-known/jwks`)).body.keys.map(
    ({ kid }: { readonly kid: string }) => kid,
  );

/** A new API key with these fields. */
export async function addKey({ admin }: Pick<Api, 'admin'>, fields: object): Promise<string> {
  const { body } = await adminCall(admin, '/v1/api-keys/add', { name: `k${Math.random()}`, ...fields });
  return body.key;
}
