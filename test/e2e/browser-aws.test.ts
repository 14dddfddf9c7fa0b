/** The browser's part of `aws sso login`, in Chromium: the address that the CLI opens, and the device's link. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer, type Server as Listener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, suite, type TestContext, test } from 'node:test';
import { CreateTokenCommand, StartDeviceAuthorizationCommand } from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import { type Browser, chromium, type Page } from 'playwright-core';
import { cliUrl, DEVICE, PASSWORD, register, START_URL, sdk, startAws } from '../aws-sso-oidc/server.ts';
import { isMissing } from '../stores/requires.ts';
import type { Server } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';

const CHROMIUM = '/usr/bin/chromium';

suite('aws sso login in Chromium', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let browser: Browser;
  let server: Server;
  /** The CLI's own, which says that the window can be closed. */
  let listener: Listener;
  before(async () => {
    if (!existsSync(CHROMIUM)) return;
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
    server = await startAws(scope);
    listener = createServer((_, response) => response.end('<title>done</title>You can close this window.'));
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  });
  after(async () => {
    await browser?.close();
    listener?.close();
    listener?.closeAllConnections();
  });

  async function openPage(t: TestContext) {
    const context = await browser.newContext();
    t.after(() => context.close());
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (message.type() === 'error' && !/favicon/.test(message.location().url))
        complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    return { page, complaints };
  }

  async function signIn(page: Page): Promise<void> {
    await page.getByLabel('User name').fill('ada');
    await page.getByLabel('Password').fill(PASSWORD);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  }

  test('the address that the CLI opens', async (t) => {
    if (isMissing(t, browser !== undefined, `${CHROMIUM} is not there`)) return;
    const client = sdk(server.issuer);
    const ours = await register(client);
    const { port } = listener.address() as AddressInfo;
    const redirectUri = `http://127.0.0.1:${port}/oauth/callback`;
    const { url, codeVerifier } = cliUrl(server.issuer, ours.clientId, { redirect_uri: redirectUri });
    const { page, complaints } = await openPage(t);
    await page.goto(url);
    await signIn(page);
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
    if (isMissing(t, browser !== undefined, `${CHROMIUM} is not there`)) return;
    const client = sdk(server.issuer);
    const ours = await register(client);
    const device = await client.send(new StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
    const { page, complaints } = await openPage(t);
    await page.goto(String(device.verificationUriComplete));
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText(String(device.userCode)).waitFor();
    await page.getByRole('button', { name: 'Continue' }).click();
    await signIn(page);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.getByRole('heading', { name: 'Device connected' }).waitFor();
    const tokens = await client.send(
      new CreateTokenCommand({ ...ours, grantType: DEVICE, deviceCode: device.deviceCode }),
    );
    assert.ok(tokens.refreshToken);
    assert.deepEqual(complaints, []);
  });
});
