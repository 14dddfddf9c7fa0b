/** The browser's part of `aws sso login`, in Chromium: the address that the CLI opens, and the device's link. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { CreateTokenCommand, StartDeviceAuthorizationCommand } from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import type { Browser } from 'playwright-core';
import { cliUrl, DEVICE, PASSWORD, register, START_URL, sdk, startAws } from '../aws-sso-oidc/server.ts';
import type { Server } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { isThere, openChromium, openListener, openPage, signIn } from './chromium.ts';

suite('aws sso login in Chromium', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let browser: Browser | undefined;
  let server: Server;
  /** The CLI's own, which says that the window can be closed. */
  let listener: Awaited<ReturnType<typeof openListener>>;
  before(async () => {
    browser = await openChromium();
    if (browser === undefined) return;
    server = await startAws(scope);
    listener = await openListener();
  });
  after(async () => {
    await browser?.close();
    listener?.close();
  });

  test('the address that the CLI opens', async (t) => {
    if (!isThere(t, browser)) return;
    const client = sdk(server.issuer);
    const ours = await register(client);
    const redirectUri = `http://127.0.0.1:${listener.port}/oauth/callback`;
    const { url, codeVerifier } = cliUrl(server.issuer, ours.clientId, { redirect_uri: redirectUri });
    const { page, complaints } = await openPage(t, browser);
    await page.goto(url);
    await signIn(page, 'ada', PASSWORD);
    await page.getByText('aws-cli').first().waitFor();
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(/\/oauth\/callback\?/);
    await page.getByText('You can close this window.').waitFor();
    const code = new URL(page.url()).searchParams.get('code') ?? assert.fail(page.url());
    const tokens = await client.send(
      new CreateTokenCommand({ ...ours, grantType: 'authorization_code', code, codeVerifier, redirectUri }),
    );
    assert.equal(decodeJwt(String(tokens.accessToken)).client_id, ours.clientId);
    assert.deepEqual(complaints, []);
  });

  test("the device's link", async (t) => {
    if (!isThere(t, browser)) return;
    const client = sdk(server.issuer);
    const ours = await register(client);
    const device = await client.send(new StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
    const { page, complaints } = await openPage(t, browser);
    await page.goto(String(device.verificationUriComplete));
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText(String(device.userCode)).waitFor();
    await page.getByRole('button', { name: 'Continue' }).click();
    await signIn(page, 'ada', PASSWORD);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Device connected' }).waitFor();
    const tokens = await client.send(
      new CreateTokenCommand({ ...ours, grantType: DEVICE, deviceCode: device.deviceCode }),
    );
    assert.ok(tokens.refreshToken);
    assert.deepEqual(complaints, []);
  });
});
