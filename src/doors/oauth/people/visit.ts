/** One request of a browser to the pages of an interaction, and what guards its forms. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Context } from 'koa';
import type { Client, Interaction, Provider } from 'oidc-provider';
import { IssuerError } from '../../../core/errors.ts';
import { readBody } from '../../body.ts';
import type { Accounts } from './accounts.ts';
import type { Attempts } from './attempts.ts';
import { LOCAL_IDP, type LoginEvent, type PeopleParts } from './contract.ts';
import { type Page, sendPage, sourcesOf } from './page.ts';
import type { Upstreams } from './upstream.ts';
import type { Users } from './users.ts';

/** What the handlers work with. */
export type Rooms = PeopleParts & {
  readonly brand: string;
  /** The issuer's path: before every path here. */
  readonly prefix: string;
  readonly users: Users;
  readonly accounts: Accounts;
  readonly attempts: Attempts;
  readonly upstreams: Upstreams;
};

export type Visit = {
  readonly context: Context;
  /** The instance that answers this request. */
  readonly provider: Provider;
  readonly interaction: Interaction;
  readonly client: Client;
  /** The path of this interaction. */
  readonly path: string;
  readonly csrf: string;
  /** Where the answers of its forms may lead. */
  readonly formAction: readonly string[];
};

export type Fields = Readonly<Record<string, string | undefined>>;

/** Undefined: the interaction has expired or is another browser's. */
export async function openVisit(rooms: Rooms, context: Context, uid: string): Promise<Visit | undefined> {
  const provider = rooms.provider();
  const interaction = await provider.interactionDetails(context.req, context.res).catch((error: Error) => {
    if (error.name === 'SessionNotFound') return undefined;
    throw error;
  });
  if (interaction === undefined || interaction.uid !== uid) return undefined;
  const { params, deviceCode } = interaction;
  const client = await provider.Client.find(String(params.client_id));
  if (client === undefined) return undefined;
  return {
    context,
    provider,
    interaction,
    client,
    path: `${rooms.prefix}/interaction/${uid}`,
    csrf: csrfToken(interaction),
    formAction: deviceCode === undefined ? sourcesOf(params.redirect_uri as string | undefined) : [],
  };
}

/**
 * Known only to a page of this interaction: `cid` never leaves the server, and the interaction is
 * found by the browser's signed cookie.
 */
function csrfToken({ uid, cid }: Interaction): string {
  return createHmac('sha256', cid).update(`csrf ${uid}`).digest('base64url');
}

/** The form of a page of ours. Throws `invalid_request`, and `access_denied` where it came from elsewhere. */
export async function readForm({ context, csrf }: Visit, issuer: string): Promise<Fields> {
  if (!isSameOrigin(context, issuer)) throw new IssuerError('access_denied', 'a form of another site');
  const fields = await readFormFields(context);
  const given = Buffer.from(fields.csrf ?? '');
  if (given.length !== csrf.length || !timingSafeEqual(given, Buffer.from(csrf)))
    throw new IssuerError('access_denied', 'a form without the token of its page');
  return fields;
}

/** By Fetch Metadata; by Origin for browsers without, where our own pages send `null` (no-referrer). */
function isSameOrigin(context: Context, issuer: string): boolean {
  const site = context.get('Sec-Fetch-Site');
  if (site !== '') return site === 'same-origin' || site === 'none';
  const origin = context.get('Origin');
  if (origin === '' || origin === 'null' || origin === new URL(issuer).origin) return true;
  return URL.parse(origin)?.host === context.get('Host');
}

async function readFormFields(context: Context): Promise<Fields> {
  const { body } = context.req as { readonly body?: unknown };
  if (typeof body === 'object' && body !== null && !Buffer.isBuffer(body))
    return textsOf(Object.entries(body));
  if (context.is('application/x-www-form-urlencoded') !== 'application/x-www-form-urlencoded')
    throw new IssuerError('invalid_request', 'the body is no form');
  const bytes = Buffer.isBuffer(body) ? body : await readBody(context.req);
  const form = [...new URLSearchParams(bytes.toString('utf8'))];
  if (new Set(form.map(([name]) => name)).size !== form.length)
    throw new IssuerError('invalid_request', 'a field is repeated');
  return textsOf(form);
}

function textsOf(pairs: readonly (readonly [string, unknown])[]): Fields {
  const texts = pairs.flatMap(([name, value]) => (typeof value === 'string' ? [[name, value] as const] : []));
  return Object.assign(Object.create(null), Object.fromEntries(texts)) as Fields;
}

export function show(rooms: Rooms, { context }: Pick<Visit, 'context'>, page: Page, status = 200): void {
  sendPage(context, rooms.brand, page, status);
}

export function redirect(context: Context, location: string): void {
  context.status = 303;
  context.redirect(location);
  context.body = '';
  context.set('Cache-Control', 'no-store');
  context.set('Referrer-Policy', 'no-referrer');
}

/** Back to the authorization request, which goes on with this result. */
export async function finish(
  { context, provider }: Visit,
  result: Parameters<Provider['interactionResult']>[2],
  isMerged = false,
): Promise<void> {
  const { req, res } = context;
  redirect(
    context,
    await provider.interactionResult(req, res, result, { mergeWithLastSubmission: isMerged }),
  );
}

export function nameOf(client: Client): { readonly name: string } {
  return { name: client.clientName ?? client.clientId };
}

/** Tells the audit log how a login went. */
export function tell(
  rooms: Rooms,
  { context, client }: Pick<Visit, 'context'> & Partial<Visit>,
  outcome: LoginEvent['outcome'],
  { idp = LOCAL_IDP, sub }: { readonly idp?: string; readonly sub?: string | undefined } = {},
): void {
  rooms.onLogin?.({ outcome, idp, sub, client: client?.clientId, address: context.ip });
}
