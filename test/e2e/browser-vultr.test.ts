/** A person at a provider of Vultr's API, in Chromium: signed in there and there alone, and gone with it. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { decodeJwt } from 'jose';
import type { Browser } from 'playwright-core';
import { hashOf } from '../oauth/server.ts';
import { scopeOf } from '../system/suite.ts';
import { type Api, addUser, PASSWORD, startVultr } from '../vultr/api.ts';
import { isThere, openChromium, openListener, openPage, signIn } from './chromium.ts';

suite('a provider of Vultr in Chromium', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let browser: Browser | undefined;
  let listener: Awaited<ReturnType<typeof openListener>>;
  let api: Api;
  let callback: string;
  before(async () => {
    browser = await openChromium();
    if (browser === undefined) return;
    listener = await openListener();
    callback = `http://127.0.0.1:${listener.port}/callback`;
    const shop = { id: 'shop', secrets: [hashOf('shop')], redirectUris: [callback] };
    api = await startVultr(scope, { clients: [{ ...shop, scopes: ['openid', 'email', 'offline_access'] }] });
  });
  after(async () => {
    await browser?.close();
    listener?.close();
  });

  async function authorizationUrl(provider: string): Promise<string> {
    const { body } = await api.call('GET', `/provider/${provider}/.well-known/openid-configuration`);
    const query = { response_type: 'code', client_id: 'shop', redirect_uri: callback, state: 'kept' };
    return `${body.authorization_endpoint}?${new URLSearchParams(query)}`;
  }

  test('signs in, allows, and the code is worth tokens at that provider', async (t) => {
    if (!isThere(t, browser)) return;
    const id = await api.create('staff');
    await addUser(api, id);
    const { page, complaints } = await openPage(t, browser);
    await page.goto(await authorizationUrl(id));
    await signIn(page, 'ada', PASSWORD);
    await page.getByText('shop').first().waitFor();
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByText('You can close this window.').waitFor();
    const { searchParams } = new URL(page.url());
    assert.equal(searchParams.get('state'), 'kept');
    const code = searchParams.get('code') ?? assert.fail(page.url());
    const grant = { grant_type: 'authorization_code', code, redirect_url: callback };
    const { status, body } = await api.call('POST', `/provider/${id}/token`, grant);
    assert.equal(status, 201, JSON.stringify(body));
    assert.equal(decodeJwt(body.id_token).iss, `${api.base}/provider/${id}`);
    assert.deepEqual(complaints, []);
  });

  test('whoever has signed in at one is nobody at another', async (t) => {
    if (!isThere(t, browser)) return;
    const [here, there] = [await api.create('here'), await api.create('there')];
    await addUser(api, here);
    const { page } = await openPage(t, browser);
    await page.goto(await authorizationUrl(here));
    await signIn(page, 'ada', PASSWORD);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByText('You can close this window.').waitFor();
    await page.goto(await authorizationUrl(there));
    await signIn(page, 'ada', PASSWORD); // it asks: there is no session, and then that there is no such user
    await page.getByRole('alert').waitFor();
    assert.ok(page.url().startsWith(`${api.base}/provider/${there}/`), page.url());
  });

  test('a provider that goes while its page is open', async (t) => {
    if (!isThere(t, browser)) return;
    const id = await api.create('short-lived');
    await addUser(api, id);
    const { page } = await openPage(t, browser);
    await page.goto(await authorizationUrl(id));
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 204);
    const answered = page.waitForResponse((response) => response.request().method() === 'POST');
    await signIn(page, 'ada', PASSWORD);
    assert.equal((await answered).status(), 404);
    assert.ok(page.url().startsWith(api.base), page.url());
  });
});
