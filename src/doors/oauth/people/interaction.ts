/** /interaction/…: finds the handler, and answers every fault with a page. */
import type { Context, Next } from 'koa';
import { IssuerError } from '../../../core/errors.ts';
import { ERROR_STATUS } from '../../door.ts';
import { showConsent, submitConsent } from './consent.ts';
import { withOwnPages } from './library-pages.ts';
import { abort, restart, showLogin, submitCode, submitPassword } from './login.ts';
import { errorPage, expiredPage } from './pages/error.ts';
import { beginUpstream, upstreamCallback } from './upstream-login.ts';
import { openVisit, type Rooms, show, type Visit } from './visit.ts';

const CALLBACK = /^\/interaction\/callback\/([\w.-]{1,64})$/;
const INTERACTION =
  /^\/interaction\/([\w-]{16,64})(?:\/(login|code|restart|consent|abort|idp\/[\w.-]{1,64}))?$/;

type Handler = (rooms: Rooms, visit: Visit) => Promise<void>;

/** By prompt: an answer to one is none to another. */
const FORMS: Readonly<Record<string, { readonly prompts: readonly string[]; readonly handle: Handler }>> = {
  login: { prompts: ['login'], handle: submitPassword },
  code: { prompts: ['login'], handle: submitCode },
  restart: { prompts: ['login'], handle: restart },
  consent: { prompts: ['consent'], handle: submitConsent },
  abort: { prompts: ['login', 'consent'], handle: abort },
};

export function createMiddleware(rooms: Rooms): (context: Context, next: Next) => Promise<void> {
  return async (context, next) => {
    const path = withoutPrefix(context.path, rooms.prefix);
    if (path !== '/interaction' && !path.startsWith('/interaction/')) {
      await withOwnPages(rooms.brand, context, path, next).catch((error: unknown) => {
        // What fails when the provider saves a session, after its own page of errors.
        if (context.accepts('json', 'html') !== 'html') throw error;
        showFault(rooms, context, error);
      });
      return;
    }
    try {
      await answer(rooms, context, path);
    } catch (error) {
      showFault(rooms, context, error);
    }
  };
}

function withoutPrefix(path: string, prefix: string): string {
  return prefix !== '' && path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : path;
}

async function answer(rooms: Rooms, context: Context, path: string): Promise<void> {
  const isRead = context.method === 'GET'; // not HEAD: reading a page may go on with the login
  const [, callback] = CALLBACK.exec(path) ?? [];
  if (callback !== undefined && isRead) return upstreamCallback(rooms, context, callback);
  const [, uid, step] = INTERACTION.exec(path) ?? [];
  if (uid === undefined) throw new IssuerError('not_found', 'no page of an interaction');
  const idp = step?.startsWith('idp/') === true ? step.slice('idp/'.length) : undefined;
  const form = step === undefined ? undefined : FORMS[step];
  if (isRead !== (form === undefined) || (!isRead && context.method !== 'POST'))
    throw new IssuerError('method_not_allowed', `${context.method} for a page of an interaction`);
  const visit = await openVisit(rooms, context, uid);
  if (visit === undefined) return show(rooms, { context }, expiredPage(), 400);
  const prompt = visit.interaction.prompt.name;
  if (idp !== undefined && prompt === 'login') return beginUpstream(rooms, visit, idp);
  if (form?.prompts.includes(prompt) === true) return form.handle(rooms, visit);
  if (form !== undefined) return show(rooms, visit, expiredPage(), 400);
  return prompt === 'consent' ? showConsent(rooms, visit) : showLogin(rooms, visit);
}

const TEXTS: Readonly<Record<string, string>> = {
  access_denied: 'The form came from another page, or from one that is too old. Go back and try again.',
  not_found: 'There is no such page.',
  temporarily_unavailable: 'The server is busy or cannot reach its data. Try again in a moment.',
};

export function showFault(rooms: Rooms, context: Context, thrown: unknown): void {
  const error =
    thrown instanceof IssuerError
      ? thrown
      : new IssuerError('server_error', 'an unexpected fault', { cause: thrown });
  if (error.code === 'server_error') context.app.emit('error', thrown, context);
  if (error.retryAfterSeconds !== undefined) context.set('Retry-After', String(error.retryAfterSeconds));
  const text = TEXTS[error.code] ?? error.sentence;
  const reason = error.shown?.reason;
  const description = typeof reason === 'string' ? reason : undefined;
  show(rooms, { context }, errorPage({ text, code: error.code, description }), ERROR_STATUS[error.code]);
}
