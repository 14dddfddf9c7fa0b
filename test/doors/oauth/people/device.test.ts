import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { suite, test } from 'node:test';
import Koa from 'koa';
import { IssuerError } from '../../../../src/core/errors.ts';
import {
  authorizationRequest,
  Browser,
  claimsOf,
  PASSWORD,
  postToken,
  redeem,
  serveIdentity,
} from '../../../fakes/people.ts';

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const CREDENTIALS = { username: 'ada', password: PASSWORD };

suite('a device', () => {
  async function start(t: Parameters<typeof serveIdentity>[0]) {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const answer = await fetch(`${identity.issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'tv', scope: 'openid profile' }),
    });
    const device = (await answer.json()) as Record<string, string>;
    const poll = () =>
      postToken(identity.issuer, {
        grant_type: DEVICE_GRANT,
        client_id: 'tv',
        device_code: device.device_code ?? '',
      });
    return { identity, device, poll, browser: new Browser() };
  }

  test('the code is entered, confirmed, and the device has its tokens', async (t) => {
    const { identity, device, poll, browser } = await start(t);
    await browser.open(device.verification_uri ?? '');
    assert.match(browser.page.text, /Enter the code that your device shows/);
    assert.match(browser.page.headers.get('content-security-policy') ?? '', /form-action 'self';/);
    assert.doesNotMatch(browser.page.text, /<script|onfocus/);
    await browser.submit('/device', { user_code: 'BBBB-BBBB' });
    assert.match(browser.page.text, /This code is not right/);
    assert.match(browser.page.text, /value="BBBB-BBBB"/);
    await browser.submit('/device', { user_code: '' });
    assert.match(browser.page.text, /Enter the code first/);
    await browser.submit('/device', { user_code: (device.user_code ?? '').toLowerCase() });
    assert.match(browser.page.text, /Is this your device\?/);
    assert.ok(browser.page.text.includes(device.user_code ?? '?'));
    assert.match(browser.page.text, /Television/);
    await browser.submit('/device', { confirm: 'yes' });
    await browser.submit('/login', CREDENTIALS);
    assert.equal(browser.page.status, 200, browser.page.text);
    assert.match(browser.page.text, /Device connected/);
    const tokens = await poll();
    assert.deepEqual(claimsOf(tokens.id_token).amr, ['pwd']);
    assert.deepEqual(identity.faults, []);
  });

  test('whoever cancels connects nothing, before the login and at it', async (t) => {
    const { device, poll, browser } = await start(t);
    await browser.open(device.verification_uri ?? '');
    await browser.submit('/device', { user_code: device.user_code ?? '' });
    await browser.submit('/device', { abort: 'yes' });
    assert.match(browser.page.text, /You cancelled\. The device was not connected/);
    assert.equal((await poll()).error, 'access_denied');
    const other = await start(t);
    await other.browser.open(other.device.verification_uri ?? '');
    await other.browser.submit('/device', { user_code: other.device.user_code ?? '' });
    await other.browser.submit('/device', { confirm: 'yes' });
    await other.browser.submit('/abort');
    assert.match(other.browser.page.text, /You cancelled\. The device was not connected/);
    assert.equal((await other.poll()).error, 'access_denied');
  });
});

suite('a logout', () => {
  async function signedIn(t: Parameters<typeof serveIdentity>[0]) {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    const request = authorizationRequest(identity.issuer, { client_id: 'trusted' });
    await browser.open(request.url);
    await browser.submit('/login', CREDENTIALS);
    const tokens = await redeem(identity, browser, request, { client_id: 'trusted' });
    return { identity, browser, hint: String(tokens.id_token) };
  }

  test('is asked for, and leads back to the client', async (t) => {
    const { identity, browser, hint } = await signedIn(t);
    const query = new URLSearchParams({
      id_token_hint: hint,
      post_logout_redirect_uri: 'https://app.example.com/bye',
      state: 's',
    });
    await browser.open(`${identity.issuer}/session/end?${query}`);
    assert.match(browser.page.text, /Mail<\/bdi><\/strong> asks to sign you out/);
    assert.match(browser.page.headers.get('content-security-policy') ?? '', /form-action 'self' https:;/);
    await browser.submit('/session/end/confirm', { logout: 'yes' });
    assert.equal(browser.page.url, 'https://app.example.com/bye?state=s');
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    assert.match(browser.page.text, /<h1>Sign in<\/h1>/);
  });

  test('may be turned down, and needs no client', async (t) => {
    const { identity, browser, hint } = await signedIn(t);
    await browser.open(`${identity.issuer}/session/end?id_token_hint=${hint}`);
    await browser.submit('/session/end/confirm');
    assert.match(browser.page.text, /stay signed in here/);
    await browser.open(`${identity.issuer}/session/end`);
    assert.doesNotMatch(browser.page.text, /asks to sign you out/);
    await browser.submit('/session/end/confirm', { logout: 'yes' });
    assert.match(browser.page.text, /You are signed out/);
  });
});

suite('pages of errors', () => {
  test('for people, also where the session cannot be saved', async (t) => {
    const { people } = await serveIdentity(t);
    const app = new Koa({ proxy: false });
    app.silent = true;
    const away = new IssuerError('temporarily_unavailable', 'the store is away', { retryAfterSeconds: 1 });
    app.use(people.middleware).use(() => Promise.reject(away));
    const server = app.listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const ask = (accept: string) =>
      fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}/device`, { headers: { accept } });
    const page = await ask('text/html');
    assert.equal(page.status, 503);
    assert.match(await page.text(), /Try again in a moment/);
    assert.equal(page.headers.get('retry-after'), '1');
    assert.equal(page.headers.get('cache-control'), 'no-store');
    assert.doesNotMatch(await (await ask('application/json')).text(), /<html/);
  });

  test('say the code, and escape what is in the request', async (t) => {
    const { issuer } = await serveIdentity(t);
    const browser = new Browser();
    await browser.open(authorizationRequest(issuer, { client_id: '<script>' }).url);
    assert.equal(browser.page.status, 400);
    assert.match(browser.page.text, /<code>invalid_client<\/code>/);
    await browser.open(authorizationRequest(issuer, { redirect_uri: 'https://evil.example/<script>' }).url);
    assert.equal(browser.page.status, 400);
    assert.doesNotMatch(browser.page.text, /<script/);
    assert.match(browser.page.headers.get('content-security-policy') ?? '', /^default-src 'none'/);
    await browser.open(`${issuer}/auth/unknown-uid`);
    assert.match(browser.page.text, /This page has expired/);
  });
});
