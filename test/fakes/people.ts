/** A real oidc-provider on loopback with the pages of people, and a browser without scripts for it. */
import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import Koa from 'koa';
import {
  type Adapter,
  type AdapterPayload,
  type ClientMetadata,
  type Configuration,
  type KoaContextWithOIDC,
  Provider,
} from 'oidc-provider';
import type { RecordStore } from '../../src/core/records.ts';
import { createFrame, type Route } from '../../src/doors/door.ts';
import { bindLogins } from '../../src/doors/oauth/consent.ts';
import {
  CLIENT_PROPERTIES,
  type LoginEvent,
  type People,
  type PeopleConfig,
} from '../../src/doors/oauth/people/contract.ts';
import { openPeople } from '../../src/doors/oauth/people/people.ts';
import { collectingRecorder } from './recorder.ts';
import { fakeRecords } from './records.ts';

export const PASSWORD = 'correct horse battery';
export const CALLBACK = 'https://app.example.com/cb';
/** scrypt's cost in tests, where nothing is to be kept from anybody. */
const CHEAP = 10;

export type Identity = {
  readonly issuer: string;
  readonly people: People;
  readonly records: RecordStore;
  readonly provider: () => Provider;
  /** Puts a new instance in the place of the old one, as a rotation of keys does. */
  readonly swap: () => void;
  /** Moves the server's clock, but not oidc-provider's. */
  readonly advance: (seconds: number) => void;
  /** What the admin socket would answer. */
  readonly admin: (path: string, fields?: object) => Promise<{ status: number } & Record<string, unknown>>;
  readonly addUser: (username: string, more?: object) => Promise<string>;
  readonly faults: unknown[];
  /** What an audit log would have. */
  readonly events: LoginEvent[];
};

export type Setup = {
  readonly config?: PeopleConfig;
  readonly clients?: readonly ClientMetadata[];
  readonly path?: string;
};

export async function serveIdentity(t: TestContext, setup: Setup = {}): Promise<Identity> {
  const app = new Koa();
  const faults: unknown[] = [];
  const events: LoginEvent[] = [];
  app.on('error', (error) => faults.push(error));
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(
    () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  );
  const issuer = `http://localhost:${(server.address() as AddressInfo).port}${setup.path ?? ''}`;
  const records = fakeRecords();
  let skew = 0;
  const now = () => Math.floor(Date.now() / 1000) + skew;
  const config = { passwords: { cost: CHEAP }, ...setup.config };
  const people = openPeople({
    provider: () => provider,
    records,
    realm: 'test',
    secret: randomBytes(32),
    issuer,
    config,
    clock: { now, elapsed: now },
    onLogin: (event) => events.push(event),
  });
  const create = providerFactory(issuer, people, setup.clients ?? CLIENTS);
  let provider = create();
  app.keys = provider.keys as string[];
  app.use(people.middleware);
  app.use(mounted(setup.path ?? '', () => provider));
  server.on('request', app.callback());
  const admin = adminOf(people.adminRoutes);
  return {
    ...{ issuer, people, records, admin, faults, events },
    provider: () => provider,
    swap: () => {
      provider = create();
    },
    advance: (seconds) => {
      skew += seconds;
    },
    async addUser(username, more = {}) {
      const user = await admin('/v1/users/add', { username, password: PASSWORD, ...more });
      assert.equal(user.status, 200, JSON.stringify(user));
      return String(user.sub);
    },
  };
}

function mounted(path: string, provider: () => Provider): Koa.Middleware {
  return async (context) => {
    const { req, res } = context;
    const original = req.url ?? '';
    Object.assign(req, { originalUrl: original });
    if (path !== '' && original.startsWith(path)) req.url = original.slice(path.length) || '/';
    context.respond = false;
    await provider().callback()(req, res);
  };
}

export const CLIENTS: readonly ClientMetadata[] = [
  client('app', { client_name: 'Photo <b>Album</b>' }),
  client('trusted', { client_name: 'Mail', require_consent: false }),
  client('corp-only', { client_name: 'Corp', identity_providers: ['corp'], require_consent: false }),
  client('local-only', { client_name: 'Local', identity_providers: ['local'], require_consent: false }),
  client('cli', {
    client_name: 'Command line',
    application_type: 'native',
    redirect_uris: ['http://127.0.0.1/cb', 'com.example.cli:/cb'],
  }),
  client('tv', {
    client_name: 'Television',
    grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'],
    response_types: [],
    redirect_uris: [],
    require_consent: false,
  }),
];

function client(id: string, more: Omit<ClientMetadata, 'client_id'> = {}): ClientMetadata {
  return {
    client_id: id,
    token_endpoint_auth_method: 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: [CALLBACK],
    post_logout_redirect_uris: ['https://app.example.com/bye'],
    ...more,
  } as ClientMetadata;
}

const API = 'https://api.example.com';

/** What contract.ts asks of the engine, and no more. */
function providerFactory(issuer: string, people: People, clients: readonly ClientMetadata[]): () => Provider {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwks = { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'k' }] };
  const adapter = memoryAdapter();
  const cookieKey = randomBytes(32).toString('base64url');
  const configuration = (): Configuration => ({
    adapter,
    clients: clients.map((metadata) => ({ ...metadata })),
    jwks: jwks as never,
    // A browser keeps cookies by host, and every issuer of a test is on localhost.
    cookies: { keys: [cookieKey], names: cookieNames(new URL(issuer).port) },
    findAccount: people.findAccount as never,
    interactions: people.interactions as never,
    claims: people.claims,
    renderError: people.renderError,
    extraClientMetadata: { properties: [...CLIENT_PROPERTIES] },
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    loadExistingGrant: (context) => loadGrant(people, context),
    issueRefreshToken: () => true,
    expiresWithSession: () => false,
    responseTypes: ['code'],
    scopes: ['openid', 'profile', 'email', 'offline_access', 'photos.read'],
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true, ...people.deviceFlow },
      rpInitiatedLogout: { enabled: true, ...people.rpInitiatedLogout },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => [],
        useGrantedResource: () => true,
        getResourceServerInfo: () => ({ scope: 'photos.read', audience: API, accessTokenFormat: 'jwt' }),
      },
      claimsParameter: { enabled: true },
    },
    acrValues: ['urn:mintmark:acr:pwd', 'http://schemas.openid.net/pape/policies/2007/06/multi-factor'],
    extraTokenClaims: async (_context, token) =>
      JSON.parse(JSON.stringify(await people.loginOf(sourceOf(token)))),
    routes: { code_verification: '/device' },
  });
  return () => {
    const provider = new Provider(issuer, configuration());
    bindLogins(provider, { people });
    return provider;
  };
}

function cookieNames(tag: string) {
  const [session, interaction, resume] = ['session', 'interaction', 'resume'].map((name) => `_${name}${tag}`);
  return { session, interaction, resume };
}

function sourceOf(token: unknown) {
  const { oidc } = Provider.ctx as KoaContextWithOIDC;
  const { AuthorizationCode, RefreshToken, DeviceCode } = oidc.entities;
  return (AuthorizationCode ?? RefreshToken ?? DeviceCode ?? token) as never;
}

async function loadGrant(people: People, context: KoaContextWithOIDC) {
  await people.rememberLogin(context);
  const { oidc } = context;
  const { provider, session, account } = oidc;
  const found = oidc.result?.consent?.grantId ?? session?.grantIdFor(oidc.client!.clientId);
  const grant = found === undefined ? undefined : await provider.Grant.find(found);
  if (oidc.client?.require_consent !== false) return grant;
  const whole =
    grant ?? new provider.Grant({ accountId: account!.accountId, clientId: oidc.client!.clientId });
  whole.addOIDCScope([...oidc.requestParamOIDCScopes].join(' '));
  for (const [resource, server] of Object.entries(oidc.resourceServers ?? {}))
    whole.addResourceScope(resource, [...(server as { scopes: Set<string> }).scopes].join(' '));
  await whole.save();
  return whole;
}

function memoryAdapter(): (model: string) => Adapter {
  const kept = new Map<string, AdapterPayload>();
  const all = () => [...kept.values()];
  return (model) => ({
    async upsert(id, payload) {
      kept.set(`${model}:${id}`, structuredClone({ ...payload, model }));
    },
    find: async (id) => structuredClone(kept.get(`${model}:${id}`)),
    findByUid: async (uid) => structuredClone(all().find((each) => each.model === model && each.uid === uid)),
    findByUserCode: async (userCode) => structuredClone(all().find((each) => each.userCode === userCode)),
    async consume(id) {
      Object.assign(kept.get(`${model}:${id}`) ?? {}, { consumed: Math.floor(Date.now() / 1000) });
    },
    async destroy(id) {
      kept.delete(`${model}:${id}`);
    },
    async revokeByGrantId(grantId) {
      for (const [id, payload] of kept) if (payload.grantId === grantId) kept.delete(id);
    },
  });
}

/** The admin routes in their frame, called without a socket. */
function adminOf(routes: readonly Route[]): Identity['admin'] {
  const door = { name: 'oauth', surface: 'admin' as const, routes };
  const frame = createFrame({
    ...{ surface: 'admin', doors: [door], version: '0' },
    recorder: collectingRecorder(),
    peerOf: () => undefined,
  });
  return async (path, fields) => {
    const server = createServer(frame).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    try {
      const { port } = server.address() as AddressInfo;
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: fields === undefined ? 'GET' : 'POST',
        headers: { 'content-type': 'application/json', connection: 'close' },
        ...(fields === undefined ? {} : { body: JSON.stringify(fields) }),
      });
      return { status: answer.status, ...((await answer.json()) as object) };
    } finally {
      server.close();
    }
  };
}

// ── the browser ─────────────────────────────────────────────────────────────

type Cookie = { readonly name: string; readonly value: string; readonly path: string };

export type Shown = {
  readonly url: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
};

/** Follows redirects as long as they stay on this machine, and keeps cookies by their path. */
export class Browser {
  #cookies: Cookie[] = [];
  page: Shown = { url: 'about:blank', status: 0, headers: new Headers(), text: '' };

  async open(url: string, init: RequestInit = {}): Promise<Shown> {
    const target = new URL(url, this.page.url === 'about:blank' ? undefined : this.page.url);
    if (target.hostname !== 'localhost') {
      this.page = { url: target.href, status: 0, headers: new Headers(), text: '' };
      return this.page;
    }
    const headers = { accept: 'text/html', cookie: this.#cookieFor(target), ...(init.headers as object) };
    const answer = await fetch(target, { ...init, headers, redirect: 'manual' });
    for (const line of answer.headers.getSetCookie()) this.#keep(line, target);
    const location = answer.headers.get('location');
    this.page = {
      url: target.href,
      status: answer.status,
      headers: answer.headers,
      text: withoutStyle(await answer.text()),
    };
    return location === null ? this.page : this.open(new URL(location, target).href);
  }

  /** Fills in the first form whose action ends so, and sends it by the button of that value. */
  async submit(action: string, fields: Readonly<Record<string, string>> = {}, init: RequestInit = {}) {
    const form = this.forms().find((each) => each.action.endsWith(action));
    assert.ok(form !== undefined, `no form to ${action} in ${this.page.text}`);
    const body = new URLSearchParams({ ...form.fields, ...fields }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded', ...(init.headers as object) };
    return this.open(new URL(form.action, this.page.url).href, { method: 'POST', body, ...init, headers });
  }

  forms(): readonly { readonly action: string; readonly fields: Record<string, string> }[] {
    return [...this.page.text.matchAll(/<form method="post" action="([^"]*)">(.*?)<\/form>/gs)].map(
      ([, action = '', inner = '']) => ({
        action: unescapeText(action),
        fields: Object.fromEntries(
          [...inner.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)"/g)].map(
            ([, name = '', value = '']) => [name, unescapeText(value)],
          ),
        ),
      }),
    );
  }

  forget(name: string): void {
    this.#cookies = this.#cookies.filter((cookie) => !cookie.name.startsWith(name));
  }

  /** The query of the address that the client was called back with. */
  get answer(): URLSearchParams {
    assert.match(this.page.url, /^https:\/\/app\.example\.com|^http:\/\/127|^com\./, this.page.text);
    return new URL(this.page.url).searchParams;
  }

  #cookieFor({ pathname }: URL): string {
    const fits = ({ path }: Cookie) =>
      pathname === path || pathname.startsWith(path.endsWith('/') ? path : `${path}/`);
    return this.#cookies
      .filter(fits)
      .map(({ name, value }) => `${name}=${value}`)
      .join('; ');
  }

  #keep(line: string, { pathname }: URL): void {
    const [pair = '', ...attributes] = line.split(/; */);
    const [name = '', value = ''] = pair.split(/=(.*)/s);
    const named = (attribute: string) =>
      attributes.find((each) => each.toLowerCase().startsWith(`${attribute}=`))?.slice(attribute.length + 1);
    const path = named('path') ?? pathname.replace(/[^/]*$/, '');
    this.#cookies = this.#cookies.filter((cookie) => cookie.name !== name || cookie.path !== path);
    const isGone = named('max-age') === '0' || /1970/.test(named('expires') ?? '');
    if (!isGone) this.#cookies.push({ name, value, path });
  }
}

const withoutStyle = (page: string) => page.replace(/<style>.*?<\/style>/s, '');

function unescapeText(text: string): string {
  return text
    .replace(/&#39;/g, "'")
    .replace(/&quot;/g, '"')
    .replace(/&lt;/g, '<')
    .replace(/&amp;/g, '&');
}

export type Request = { readonly url: string; readonly verifier: string };

export function authorizationRequest(
  issuer: string,
  parameters: Readonly<Record<string, string>> = {},
): Request {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: 'app',
    response_type: 'code',
    scope: 'openid profile email',
    redirect_uri: CALLBACK,
    state: 'the-state',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...parameters,
  });
  return { url: `${issuer}/auth?${query}`, verifier };
}

export type Tokens = Readonly<Record<string, unknown>> & {
  readonly id_token?: string;
  readonly access_token?: string;
};

export async function postToken(issuer: string, fields: Readonly<Record<string, string>>): Promise<Tokens> {
  const answer = await fetch(`${issuer}/token`, { method: 'POST', body: new URLSearchParams(fields) });
  return (await answer.json()) as Tokens;
}

export function redeem(
  { issuer }: Identity,
  browser: Browser,
  { verifier }: Request,
  more: Readonly<Record<string, string>> = {},
): Promise<Tokens> {
  const code = browser.answer.get('code');
  assert.ok(code !== null, browser.page.url);
  return postToken(issuer, {
    grant_type: 'authorization_code',
    client_id: 'app',
    code,
    redirect_uri: CALLBACK,
    code_verifier: verifier,
    ...more,
  });
}

export function claimsOf(token: unknown): Record<string, unknown> {
  return JSON.parse(Buffer.from(String(token).split('.')[1] ?? '', 'base64url').toString('utf8'));
}
