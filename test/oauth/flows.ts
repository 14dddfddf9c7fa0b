/** Every flow in steps, so that anything may happen between two of them. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import type { Page } from './browser.ts';
import { type Answer, basic, ORDERS_API } from './server.ts';
import { APP, CALLBACK, INITIAL_TOKEN, PASSWORD, SCOPES, type Site, type User } from './site.ts';

type Form = Readonly<Record<string, string>>;

export type Flow = (site: Site) => AsyncGenerator<string, void>;

export const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

/** All of them step by step at the same time, until the last one has ended; how many steps that took. */
export async function playAll(
  site: Site,
  flows: readonly Flow[],
  between: (step: number) => Promise<void>,
): Promise<number> {
  const running = flows.map((flow) => flow(site));
  for (let step = 1; ; step++) {
    const results = await Promise.all(running.map((each) => each.next()));
    if (results.every(({ done }) => done)) return step;
    await between(step);
  }
}

export function token(site: Site, form: Readonly<Record<string, string>>, id?: string): Promise<Answer> {
  const isPublic = id === undefined;
  return site.post('/connect/token', form, isPublic ? {} : basic(id, id));
}

export async function granted(
  site: Site,
  form: Readonly<Record<string, string>>,
  id?: string,
): Promise<Readonly<Record<string, string>>> {
  const answer = await token(site, form, id);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body as Readonly<Record<string, string>>;
}

export const refreshForm = (given: Readonly<Record<string, string>>) => ({
  grant_type: 'refresh_token',
  refresh_token: given.refresh_token ?? '',
});

export async function refused(
  site: Site,
  form: Readonly<Record<string, string>>,
  id?: string,
): Promise<void> {
  const answer = await token(site, form, id);
  assert.equal(answer.body.error, 'invalid_grant', JSON.stringify(answer.body));
  assert.equal(answer.status, 400);
}

export async function isActive(site: Site, accessToken: string | undefined): Promise<boolean> {
  const caller = basic(ORDERS_API.id, 'orders');
  const { body } = await site.post('/connect/introspect', { token: accessToken ?? '' }, caller);
  assert.equal(typeof body.active, 'boolean', JSON.stringify(body));
  return body.active === true;
}

/** A used refresh token ends all that came of it. */
async function endFamily(
  site: Site,
  used: Readonly<Record<string, string>>,
  last: Readonly<Record<string, string>>,
  client: readonly [id?: string, form?: Readonly<Record<string, string>>],
): Promise<void> {
  const [id, more = {}] = client;
  await refused(site, { ...refreshForm(used), ...more }, id);
  await refused(site, { ...refreshForm(last), ...more }, id);
  assert.equal(await isActive(site, last.access_token), false, 'an access token of a family that has ended');
}

export type Asked = { readonly url: string; readonly verifier: string };

export function authorization(site: Site, id: string, more: Readonly<Record<string, string>> = {}) {
  const verifier = randomBytes(32).toString('base64url');
  const challenge = createHash('sha256').update(verifier).digest('base64url');
  const parameters = {
    client_id: id,
    response_type: 'code',
    redirect_uri: CALLBACK,
    scope: SCOPES.join(' '),
    state: randomBytes(8).toString('hex'),
    code_challenge: challenge,
    code_challenge_method: 'S256',
    ...more,
  };
  return { parameters, verifier, url: addressOf(site, parameters) };
}

const addressOf = ({ issuer }: Site, parameters: Readonly<Record<string, string>>) =>
  `${issuer}/connect/authorize?${new URLSearchParams(parameters)}`;

export function codeForm(page: Page, verifier: string): Readonly<Record<string, string>> {
  const code = new URL(page.url).searchParams.get('code');
  assert.ok(code !== null, `${page.status} ${page.url} ${page.html}`);
  return { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier };
}

const loginOf = ({ username }: User) => ({ username, password: PASSWORD });

async function* signIn(site: Site, hasCode: boolean): AsyncGenerator<string, void> {
  const user = await site.addUser(hasCode);
  const browser = site.browser();
  const { parameters, verifier } = authorization(site, 'web');
  const pushed = await site.post('/connect/par', parameters, basic('web', 'web'));
  assert.equal(pushed.status, 201, JSON.stringify(pushed.body));
  yield 'pushed';
  let page = await browser.open(
    addressOf(site, { client_id: 'web', request_uri: String(pushed.body.request_uri) }),
  );
  yield 'asked to sign in';
  page = await browser.submit(page, /\/login$/, loginOf(user));
  if (hasCode) {
    yield 'asked for a code';
    page = await browser.submit(page, /\/code$/, { code: user.code() });
  }
  yield 'asked for consent';
  page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
  yield 'has a code';
  const first = await granted(site, codeForm(page, verifier), 'web');
  yield 'has tokens';
  const second = await granted(site, refreshForm(first), 'web');
  if (!site.oldTokensAreGone) {
    assert.equal(await isActive(site, first.access_token), true, 'the first access token');
    const headers = { Authorization: `Bearer ${first.access_token}` };
    assert.equal((await fetch(`${site.issuer}/connect/userinfo`, { headers })).status, 200);
  }
  yield 'has refreshed';
  const third = await granted(site, refreshForm(second), 'web');
  yield 'has refreshed again';
  if (site.oldTokensAreGone) {
    const gone = new URLSearchParams({ id_token_hint: first.id_token ?? '' });
    page = await browser.open(`${site.issuer}/connect/endsession?${gone}`);
    assert.match(page.html, /Sign out\?/, 'a hint of a key that was revoked counts for nothing');
  }
  const hint = site.oldTokensAreGone ? { client_id: 'web' } : { id_token_hint: first.id_token ?? '' };
  const leave = new URLSearchParams({ ...hint, post_logout_redirect_uri: APP });
  page = await browser.open(`${site.issuer}/connect/endsession?${leave}`);
  yield 'asked to sign out';
  await endFamily(site, second, third, ['web']);
  yield 'ended its family';
  page = await browser.submit(page, /endsession\/confirm$/, { logout: 'yes' });
  assert.ok(page.url.startsWith(APP), `${page.status} ${page.url} ${page.html}`);
  yield 'signed out';
  page = await browser.open(authorization(site, 'web', { prompt: 'none', scope: 'openid' }).url);
  assert.equal(new URL(page.url).searchParams.get('error'), 'login_required');
}

export const code: Flow = (site) => signIn(site, false);
export const codeWithSecondFactor: Flow = (site) => signIn(site, true);

export async function* device(site: Site): AsyncGenerator<string, void> {
  const user = await site.addUser();
  const asked = await site.post('/connect/deviceauthorization', { client_id: 'tv' });
  assert.equal(asked.status, 200, JSON.stringify(asked.body));
  const form = { grant_type: DEVICE, device_code: String(asked.body.device_code), client_id: 'tv' };
  yield 'has a user code';
  assert.equal((await token(site, form)).body.error, 'authorization_pending');
  const browser = site.browser();
  let page = await browser.open(String(asked.body.verification_uri));
  yield 'asked for the user code';
  page = await browser.submit(page, /\/device$/, { user_code: String(asked.body.user_code) });
  yield 'asked to confirm';
  page = await browser.submit(page, /\/device$/, { confirm: 'yes' });
  yield 'asked to sign in';
  page = await browser.submit(page, /\/login$/, loginOf(user));
  yield 'asked for consent';
  page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
  assert.equal(page.status, 200, page.html);
  yield 'approved';
  const first = await granted(site, form);
  yield 'has tokens';
  const second = await granted(site, { ...refreshForm(first), client_id: 'tv' });
  yield 'has refreshed';
  await refused(site, form);
  assert.equal(await isActive(site, second.access_token), false);
}

export async function* password(site: Site): AsyncGenerator<string, void> {
  const user = await site.addUser(true);
  const form = { grant_type: 'password', ...loginOf(user), otp: user.code() };
  const first = await granted(site, form, 'legacy');
  yield 'has tokens';
  await refused(site, form, 'legacy');
  const second = await granted(site, refreshForm(first), 'legacy');
  yield 'has refreshed';
  if (!site.oldTokensAreGone) {
    const revoked = { token: second.access_token ?? '', token_type_hint: 'access_token' };
    const answer = await site.post('/connect/revocation', revoked, basic('legacy', 'legacy'));
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
  yield 'has revoked';
  if (!site.oldTokensAreGone) assert.equal(await isActive(site, second.access_token), false);
}

export async function* machine(site: Site): AsyncGenerator<string, void> {
  const given = await granted(site, { grant_type: 'client_credentials' }, 'machine');
  yield 'has a token';
  if (site.oldTokensAreGone) return assert.equal(await isActive(site, given.access_token), false);
  assert.equal(await isActive(site, given.access_token), true);
  await site.post('/connect/revocation', { token: given.access_token ?? '' }, basic('machine', 'machine'));
  yield 'has revoked';
  assert.equal(await isActive(site, given.access_token), false);
}

export async function* registered(site: Site): AsyncGenerator<string, void> {
  const wanted = {
    client_name: 'Worker',
    grant_types: ['client_credentials'],
    response_types: [],
    redirect_uris: [],
  };
  const made = await site.call('POST', `${site.issuer}/connect/register`, INITIAL_TOKEN, wanted);
  assert.equal(made.status, 201, JSON.stringify(made.body));
  const { client_id: id, client_secret: secret, registration_client_uri: uri } = made.body as Form;
  const bearer = String(made.body.registration_access_token);
  yield 'registered';
  const read = await site.call('GET', String(uri), bearer);
  assert.equal(read.status, 200, JSON.stringify(read.body));
  yield 'read';
  const ask = () =>
    site.post('/connect/token', { grant_type: 'client_credentials' }, basic(String(id), String(secret)));
  assert.equal((await ask()).status, 200);
  yield 'has a token';
  const now = String(read.body.registration_access_token ?? bearer);
  assert.equal((await site.call('DELETE', String(uri), now)).status, 204);
  yield 'gone';
  assert.equal((await ask()).body.error, 'invalid_client');
}

export const FLOWS: Readonly<Record<string, Flow>> = {
  code,
  codeWithSecondFactor,
  device,
  password,
  machine,
  registered,
};
