/** No page that people see has a script, those that the library makes of its own not either. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { scopeOf } from '../system/suite.ts';
import { openBrowser, type Page } from './browser.ts';
import { adminPost } from './people.ts';
import { basic, hashOf, post, startOAuth } from './server.ts';

const APP = 'https://shop.example.com/';
const CALLBACK = `${APP}callback`;
const PASSWORD = 'correct horse battery staple';
const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code'],
  scopes: ['openid'],
  redirectUris: [CALLBACK],
  postLogoutRedirectUris: [APP],
  consent: false,
};
const TV = { id: 'tv', public: true, grants: ['device_code'], scopes: ['openid'] };

suite('pages', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    server = await startOAuth(scope, { clients: [WEB, TV], people: { passwords: { cost: 10 } } });
    for (const username of ['ada', 'bob'])
      assert.equal(await adminPost(server.admin, '/v1/users/add', { username, password: PASSWORD }), 200);
  });

  const QUERY = {
    ...{ client_id: 'web', response_type: 'code', redirect_uri: CALLBACK, scope: 'openid' },
    ...{ code_challenge: 'a'.repeat(43), code_challenge_method: 'S256', state: 's' },
  };
  const requestFor = (more: Record<string, string>) =>
    `${server.issuer}/connect/authorize?${new URLSearchParams({ ...QUERY, ...more })}`;

  function assertOurs({ html, headers, status }: Page) {
    assert.equal(status, 200, html);
    assert.doesNotMatch(html, /<script/);
    assert.match(headers.get('content-security-policy') ?? '', /^default-src 'none'/);
    assert.equal(headers.get('x-frame-options'), 'DENY');
    assert.equal(headers.get('cache-control'), 'no-store');
  }

  test("the address with the code of a device: the form is filled in, and is the same browser's", async () => {
    const { body } = await post(`${server.issuer}/connect/deviceauthorization`, { client_id: 'tv' });
    const browser = openBrowser(APP);
    const page = await browser.open(String(body.verification_uri_complete));
    assertOurs(page);
    assert.match(page.html, new RegExp(`value="${body.user_code}"`));
    assert.match((await browser.submit(page, /\/device$/)).html, /Is this your device/);
    const odd = await browser.open(`${server.issuer}/device?user_code=${encodeURIComponent('"><b>')}`);
    assertOurs(odd);
    assert.doesNotMatch(odd.html, /<b>/);
    assertOurs(await browser.open(`${server.issuer}/device?user_code=a&user_code=b`));
    assert.doesNotMatch(
      (await browser.open(`${server.issuer}/device`)).html,
      / value="[^"]*"\s*class="code"/,
    );
  });

  test('a page of a device that is not there, with and without a session', async () => {
    for (const path of ['', '/']) {
      const browser = openBrowser(APP);
      if (path === '/') await browser.open(`${server.issuer}/device`);
      const { status, html, headers } = await browser.open(`${server.issuer}/device/x`);
      assert.equal(status, 400, html);
      assert.match(html, /This page has expired/);
      assert.equal(headers.get('cache-control'), 'no-store');
    }
  });

  test('whoever is not signed in is forgotten after an hour', async () => {
    const lifeOf = ({ headers }: Page) => {
      const line = headers.getSetCookie().find((cookie) => cookie.startsWith('_session=')) ?? '';
      return (Date.parse(/expires=([^;]*)/.exec(line)?.[1] ?? '') - Date.now()) / 1000;
    };
    for (const path of ['/device', '/connect/endsession']) {
      const life = lifeOf(await openBrowser(APP).open(`${server.issuer}${path}`));
      assert.ok(life > 3000 && life <= 3601, `${path}: ${life}`);
    }
    const browser = openBrowser(APP);
    const form = await browser.open(requestFor({}));
    await browser.submit(form, /\/login$/, { username: 'ada', password: PASSWORD, remember: 'yes' });
    const life = lifeOf(await browser.open(`${server.issuer}/device`));
    assert.ok(life > 13 * 86_400, `${life}`);
  });

  test('form_post is neither offered nor taken', async () => {
    const at = `${server.issuer}/.well-known/openid-configuration`;
    const metadata = (await (await fetch(at)).json()) as Record<string, readonly string[]>;
    assert.deepEqual(metadata.response_modes_supported, ['query', 'fragment']);
    const { url } = await openBrowser(APP).open(requestFor({ response_mode: 'form_post' }));
    const { searchParams } = new URL(url);
    assert.equal(searchParams.get('error'), 'unsupported_response_mode');
    assert.equal(searchParams.get('state'), 's');
    const pushed = { ...QUERY, response_mode: 'form_post' };
    const { status, body } = await post(`${server.issuer}/connect/par`, pushed, basic('web', 'web'));
    assert.deepEqual([status, body.error], [400, 'unsupported_response_mode']);
  });

  test('somebody else signs in, and somebody signs out who is not signed in', async () => {
    const browser = openBrowser(APP);
    const signIn = async (username: string) =>
      browser.submit(await browser.open(requestFor({ prompt: 'login' })), /\/login$/, {
        username,
        password: PASSWORD,
      });
    assert.ok((await signIn('ada')).url.startsWith(CALLBACK));
    const other = await signIn('bob');
    assertOurs(other);
    assert.match(other.headers.get('content-security-policy') ?? '', /form-action 'self' https:/);
    const back = await browser.submit(other, /\/endsession\/confirm$/);
    assert.ok(new URL(back.url).searchParams.has('code'), back.url);
    const query = new URLSearchParams({ client_id: 'web', post_logout_redirect_uri: APP });
    const fresh = openBrowser(APP);
    const asked = await fresh.open(`${server.issuer}/connect/endsession?${query}`);
    assertOurs(asked);
    assert.equal((await fresh.submit(asked, /\/endsession\/confirm$/)).url, APP);
  });
});
