/** What ends with a sign-out, and what hints count for (OpenID Connect RP-Initiated Logout 1.0). */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { ask } from '../system/ask.ts';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { basic, post, startOAuth } from './server.ts';
import { APP, CALLBACK, PASSWORD, SCOPES, WEB } from './site.ts';

const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'; // RFC 7636 appendix B
const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
const USER = { username: 'ada', password: PASSWORD };

suite('signing out', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    server = await startOAuth(scope, {
      clients: [WEB],
      people: { passwords: { cost: 10 } },
    });
    assert.equal(await adminPost(server.admin, '/v1/users/add', USER), 200);
  });

  const authorize = () =>
    `${server.issuer}/connect/authorize?${new URLSearchParams({
      ...{ client_id: 'web', response_type: 'code', redirect_uri: CALLBACK, scope: SCOPES.join(' ') },
      ...{ code_challenge: CHALLENGE, code_challenge_method: 'S256' },
    })}`;
  const signOut = (query: Readonly<Record<string, string>>) =>
    `${server.issuer}/connect/endsession?${new URLSearchParams(query)}`;

  async function signIn() {
    const browser = openBrowser(APP);
    let page = await browser.submit(await browser.open(authorize()), /\/login$/, USER);
    page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
    const code = new URL(page.url).searchParams.get('code') ?? '';
    const form = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: VERIFIER };
    const { status, body } = await post(server.token, form, basic('web', 'web'));
    assert.equal(status, 200, JSON.stringify(body));
    return { browser, given: body as Readonly<Record<string, string>> };
  }

  test('ends the session of the browser and its consents, and no token', async () => {
    const { browser, given } = await signIn();
    const hint = { id_token_hint: given.id_token ?? '', post_logout_redirect_uri: APP };
    const asked = await browser.open(signOut(hint));
    assert.equal((await browser.submit(asked, /\/confirm$/, { logout: 'yes' })).url, APP);
    const again = await browser.submit(await browser.open(authorize()), /\/login$/, USER);
    assert.match(again.html, /action="[^"]*\/consent"/);
    const introspected = { token: given.access_token ?? '' };
    const { body } = await post(`${server.issuer}/connect/introspect`, introspected, basic('web', 'web'));
    assert.equal(body.active, true);
    const refresh = { grant_type: 'refresh_token', refresh_token: given.refresh_token ?? '' };
    assert.equal((await post(server.token, refresh, basic('web', 'web'))).status, 200);
  });

  test('staying signed in ends nothing but the consent of who asked', async () => {
    const { browser, given } = await signIn();
    const asked = await browser.open(signOut({ id_token_hint: given.id_token ?? '' }));
    await browser.submit(asked, /\/confirm$/, {});
    assert.match((await browser.open(authorize())).html, /action="[^"]*\/consent"/);
    const refresh = { grant_type: 'refresh_token', refresh_token: given.refresh_token ?? '' };
    assert.equal((await post(server.token, refresh, basic('web', 'web'))).status, 200);
  });

  test('a hint of a key that was revoked counts for nothing: the person is asked all the same', async () => {
    const { browser, given } = await signIn();
    const { keys } = (await ask(server.admin, '/v1/keys')).json<{
      keys: { keyId: string; state: string }[];
    }>();
    for (const { keyId } of keys.filter(({ state }) => state === 'active'))
      assert.equal(await adminPost(server.admin, '/v1/keys/revoke', { keyId }), 200);
    const hint = { id_token_hint: given.id_token ?? '', post_logout_redirect_uri: APP };
    const asked = await browser.open(signOut(hint));
    assert.deepEqual([asked.status, asked.html.includes('Sign out?')], [200, true]);
    const stayed = await browser.submit(asked, /\/confirm$/, { logout: 'yes' });
    assert.match(stayed.url, /\/endsession\/success/, 'an address that nobody vouches for');
    const other = await signIn();
    const named = await other.browser.open(signOut({ ...hint, client_id: 'web' }));
    assert.equal((await other.browser.submit(named, /\/confirm$/, { logout: 'yes' })).url, APP);
    const forged = `${other.given.id_token?.split('.').slice(0, 2).join('.')}.${'A'.repeat(342)}`;
    assert.equal((await browser.open(signOut({ id_token_hint: forged }))).status, 400);
  });
});
