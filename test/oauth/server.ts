/** An issuer with the OAuth door, as a process of its own. */
import { createHash } from 'node:crypto';
import { createPlace, type Scope, type Server, type Settings, start, writeConfig } from '../system/start.ts';

export const API = 'https://orders.example.com';
export const OTHER_API = 'https://billing.example.com';
export const SECRET = 'a secret: with +signs & "quotes"';

export const hashOf = (secret: string) => `sha256:${createHash('sha256').update(secret).digest('base64url')}`;

export const RESOURCES = [
  { audience: API, scopes: ['orders.read', 'orders.write'], introspectedBy: ['orders-api'] },
  { audience: OTHER_API, scopes: ['billing.read'], algorithm: 'ES256', ttl: '5m' },
];

export const MACHINE = {
  id: 'shop:worker+1',
  secrets: [hashOf('an older one'), hashOf(SECRET)],
  grants: ['client_credentials'],
  scopes: ['orders.read', 'billing.read'],
};

export const ORDERS_API = {
  id: 'orders-api',
  secrets: [hashOf('orders')],
  grants: ['client_credentials'],
  scopes: ['orders.write'],
  scopeAs: 'string',
};

/** The client that RESOURCES name is among the others. */
export function withIntrospector(oauth: Settings): Settings {
  const clients = (oauth.clients ?? []) as readonly { readonly id: string }[];
  const isThere = oauth.resources !== RESOURCES || clients.some(({ id }) => id === ORDERS_API.id);
  return isThere ? oauth : { ...oauth, clients: [...clients, ORDERS_API] };
}

export async function startOAuth(
  scope: Scope,
  oauth: Settings = {},
  settings: Settings = {},
): Promise<Server & { readonly token: string }> {
  const place = await createPlace(scope);
  const block = { clients: [MACHINE, ORDERS_API], resources: RESOURCES, ...oauth };
  writeConfig(place, { doors: { fly: {}, oauth: withIntrospector(block) }, ...settings });
  const server = await start(scope, place);
  return { ...server, token: `${place.issuer}/connect/token` };
}

export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
};

/** A form as it is given, so that it may be wrong. */
export async function post(
  url: string,
  form: string | Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
    body: typeof form === 'string' ? form : new URLSearchParams(form).toString(),
    redirect: 'manual',
  });
  const text = await response.text();
  const body = text.startsWith('{') ? JSON.parse(text) : { text };
  return { status: response.status, headers: response.headers, body };
}

/** RFC 6749 section 2.3.1: both are form-encoded first. */
export function basic(id: string, secret: string): Readonly<Record<string, string>> {
  const encode = (text: string) => new URLSearchParams({ '': text }).toString().slice(1);
  return { Authorization: `Basic ${Buffer.from(`${encode(id)}:${encode(secret)}`).toString('base64')}` };
}
