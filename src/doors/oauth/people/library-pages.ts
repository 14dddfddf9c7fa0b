/** Pages that oidc-provider makes of its own, each a form that a script sends: people get pages of ours. */
import type { IncomingMessage } from 'node:http';
import type { Context, Next } from 'koa';
import type { KoaContextWithOIDC } from 'oidc-provider';
import { sendPage, sourcesOf } from './page.ts';
import { continuePage } from './pages/logout.ts';

const DEVICE = /^\/device\/?$/i;
const SCRIPTED = '<title>Submitting Callback</title>';
const FORM = /<form method="post" action="([^"]*)">/;
const FIELD = /<input type="hidden" name="(\w+)" value="([\w-]*)"\/>/g;

const givenCodes = new WeakMap<IncomingMessage, string>();

/** The code that came with the address. */
export function givenUserCode({ req }: Pick<Context, 'req'>): string | undefined {
  return givenCodes.get(req);
}

/** `path` is without that of the issuer. */
export async function withOwnPages(brand: string, context: Context, path: string, next: Next): Promise<void> {
  if (DEVICE.test(path) && context.query.user_code !== undefined) takeUserCode(context);
  await next();
  const { body } = context;
  if (typeof body === 'string' && body.includes(SCRIPTED)) sendContinuePage(brand, context, body);
}

/** The form for the code is then asked for, and has it filled in (sources.ts). */
function takeUserCode(context: Context): void {
  const { user_code: given, ...rest } = context.query;
  if (typeof given === 'string') givenCodes.set(context.req, given.slice(0, 64));
  context.query = rest;
}

/** Where somebody signs out who is not signed in, or signs in as somebody else. */
function sendContinuePage(brand: string, context: Context, body: string): void {
  const { params, entities } = (context as unknown as KoaContextWithOIDC).oidc;
  const uris = [params?.post_logout_redirect_uri, entities.Interaction?.params.redirect_uri];
  const action = URL.parse(FORM.exec(body)?.[1] ?? '')?.pathname ?? '';
  const fields = [...body.matchAll(FIELD)].map(([, name = '', value = '']) => [name, value] as const);
  const formAction = uris.flatMap((uri) => sourcesOf(uri as string | undefined));
  sendPage(context, brand, continuePage({ action, fields, formAction }));
}
