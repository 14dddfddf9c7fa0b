/** The way to an upstream identity provider and back, for one interaction and one browser. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { Context } from 'koa';
import { IssuerError } from '../../../core/errors.ts';
import { hash } from '../adapter.ts';
import { idpsFor } from './acr-values.ts';
import type { Proven } from './login.ts';
import { errorPage, expiredPage } from './pages/error.ts';
import { type Checks, UpstreamError } from './upstream.ts';
import { type Rooms, redirect, show, tell, type Visit } from './visit.ts';

const WAY_SECONDS = 900;
const RESULT_SECONDS = 120;

/** A record of model `UpstreamWay`, by the hash of `state`. */
type Way = Omit<Checks, 'state'> & {
  readonly idp: string;
  /** The hash of the cookie of the browser that set out; the interaction is named there. */
  readonly browser: string;
  readonly maxAge?: number;
};

export async function beginUpstream(rooms: Rooms, visit: Visit, idp: string): Promise<void> {
  const { context, interaction, client } = visit;
  if (!idpsFor(rooms.config, client).includes(idp))
    throw new IssuerError('not_found', 'the client may not use this identity provider');
  const { records, realm, clock } = rooms;
  const [state, nonce, verifier] = [random(), random(), random()];
  const browser = `${random()}.${interaction.uid}`;
  const again = howAgain(visit);
  const { login_hint: hint } = interaction.params;
  const question = { state, nonce, verifier, ...again, redirectUri: callbackUri(rooms, idp) };
  const location = await attempt(rooms, context, interaction.uid, idp, () =>
    rooms.upstreams.begin(idp, { ...question, loginHint: typeof hint === 'string' ? hint : undefined }),
  );
  if (location === undefined) return;
  const { maxAge } = again;
  const payload: Way = {
    ...{ idp, nonce, verifier, browser: hash(browser) },
    ...(maxAge === undefined ? {} : { maxAge }),
  };
  const key = { realm, model: 'UpstreamWay', id: hash(state) };
  await records.insert(key, { payload, expiresAt: clock.now() + WAY_SECONDS }, clock.now());
  setCookie(rooms, context, state, browser, WAY_SECONDS);
  redirect(context, location);
}

/** Whoever is to sign in anew here does so there. */
function howAgain({ interaction }: Visit): { readonly prompt?: string; readonly maxAge?: number } {
  const { prompt, params } = interaction;
  const maxAge = Number(params.max_age ?? Number.NaN);
  return {
    ...(prompt.reasons.includes('login_prompt') ? { prompt: 'login' } : {}),
    ...(Number.isSafeInteger(maxAge) && maxAge >= 0 ? { maxAge } : {}),
  };
}

export async function upstreamCallback(rooms: Rooms, context: Context, idp: string): Promise<void> {
  const state = String(context.query.state ?? '');
  const way = await takeWay(rooms, context, state, idp);
  if (way === undefined) return show(rooms, { context }, expiredPage(), 400);
  setCookie(rooms, context, state, '', 0);
  const address = new URL(callbackUri(rooms, idp));
  address.search = context.search;
  const login = await attempt(rooms, context, way.uid, idp, () =>
    rooms.upstreams.finish(idp, address, { ...way, state }),
  );
  if (login === undefined) return;
  const { records, realm, clock, accounts } = rooms;
  const { issuer, subject, claims, amr, acr, authTime } = login;
  const sub = await accounts.keepUpstream({ idp, issuer, subject, claims });
  const at = Math.min(authTime ?? clock.now(), clock.now());
  const payload: Proven = { sub, idp, amr, at, ...(acr === undefined ? {} : { acr }) };
  const expiresAt = clock.now() + RESULT_SECONDS;
  await records.upsert({ realm, model: 'UpstreamLogin', id: hash(way.uid) }, { payload, expiresAt });
  redirect(context, `${rooms.prefix}/interaction/${way.uid}`);
}

/** Once, and only for the browser that set out. */
async function takeWay({ records, realm, clock }: Rooms, context: Context, state: string, idp: string) {
  const key = { realm, model: 'UpstreamWay', id: hash(state) };
  const way = (await records.find(key, clock.now()))?.payload as Way | undefined;
  if (way?.idp !== idp) return undefined;
  const cookie = context.cookies.get(cookieName(state), { signed: false }) ?? '';
  if (!timingSafeEqual(Buffer.from(hash(cookie)), Buffer.from(way.browser))) return undefined;
  const [, uid = ''] = cookie.split('.');
  return (await records.remove(key)) ? { ...way, uid } : undefined;
}

/** Undefined where it failed and the page that says so is sent. */
async function attempt<T>(
  rooms: Rooms,
  context: Context,
  uid: string,
  idp: string,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    if (error.code === undefined) context.app.emit('error', error, context);
    tell(rooms, { context }, 'upstream_failed', { idp });
    const title = rooms.config.identityProviders?.[idp]?.title ?? idp;
    const path = `${rooms.prefix}/interaction/${uid}`;
    const page = errorPage({
      title: 'You are not signed in',
      text:
        error.code === undefined
          ? `${title} could not be asked, or gave no answer that can be used. The log of this server says why.`
          : `${title} did not sign you in.`,
      code: error.code,
      description: error.description,
      links: [
        { href: `${path}/idp/${idp}`, text: 'Try again' },
        { href: `${path}?ways=all`, text: 'Other ways to sign in' },
      ],
    });
    show(rooms, { context }, page, error.code === undefined ? 502 : 400);
    return undefined;
  }
}

function callbackUri({ issuer }: Rooms, idp: string): string {
  return `${issuer.replace(/\/$/, '')}/interaction/callback/${idp}`;
}

/** One for each way, so that two tabs do not disturb each other. */
function setCookie(
  { issuer, prefix }: Rooms,
  context: Context,
  state: string,
  value: string,
  seconds: number,
): void {
  const secure = issuer.startsWith('https:') ? '; Secure' : '';
  const path = `${prefix}/interaction/callback`;
  const cookie = `${cookieName(state)}=${value}; Path=${path}; Max-Age=${seconds}; HttpOnly; SameSite=Lax${secure}`;
  context.append('Set-Cookie', cookie);
}

function cookieName(state: string): string {
  return `_upstream_${hash(state).slice(0, 16)}`;
}

function random(): string {
  return randomBytes(32).toString('base64url');
}
