/** The pages for people in a real browser: what it lets through, what it looks like, and who can use it. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, type TestContext, test } from 'node:test';
import axe from 'axe-core';
import { TOTP } from 'otpauth';
import type { Browser, Page } from 'playwright-core';
import { authorizationRequest, type Identity, PASSWORD, serveIdentity } from '../fakes/people.ts';
import { isThere, openChromium, openPage, signIn } from './chromium.ts';

const LOOKS = [
  { name: 'phone-light', viewport: { width: 390, height: 844 }, colorScheme: 'light' },
  { name: 'phone-dark', viewport: { width: 390, height: 844 }, colorScheme: 'dark' },
  { name: 'desktop-light', viewport: { width: 1280, height: 800 }, colorScheme: 'light' },
  { name: 'desktop-dark', viewport: { width: 1280, height: 800 }, colorScheme: 'dark' },
] as const;

/** Sites of others, all on one TLS port: what they answer is in their address. */
function serveSites(directory: string) {
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', [...made, '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=sites'], {
    stdio: 'ignore',
  });
  const pages = new Map<string, string>();
  const server = createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (request, response) => {
    const { host = '', url = '' } = { host: request.headers.host, url: request.url };
    if (host.startsWith('app.example.com') && url.startsWith('/cb')) {
      response.writeHead(302, { location: 'https://www.elsewhere.example/home' }).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(pages.get(host.split(':')[0] ?? '') ?? `<title>${host}</title>at ${host}`);
  });
  return { server, pages };
}

suite('the pages in Chromium', () => {
  let browser: Browser | undefined;
  let sites: ReturnType<typeof serveSites>;
  let directory: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'mintmark-pages-'));
    sites = serveSites(directory);
    await new Promise<void>((resolve) => sites.server.listen(0, '127.0.0.1', resolve));
    const { port } = sites.server.address() as AddressInfo;
    const names = ['app.example.com', 'www.elsewhere.example', 'evil.example'];
    browser = await openChromium([
      '--ignore-certificate-errors',
      `--host-resolver-rules=${names.map((name) => `MAP ${name} 127.0.0.1:${port}`).join(',')}`,
    ]);
  });

  after(async () => {
    if (browser === undefined) return;
    await browser.close();
    sites.server.close();
    sites.server.closeAllConnections();
    for (const name of ['key.pem', 'cert.pem']) rmSync(join(directory, name));
  });

  const open = (t: TestContext, chrome: Browser, options = {}) =>
    openPage(t, chrome, /status of 4\d\d/, { ignoreHTTPSErrors: true, ...options });

  async function withAda(t: TestContext, more: object = {}): Promise<Identity> {
    const corp = { issuer: 'https://corp.example', clientId: 'x', title: 'Corp single sign-on' };
    const scopes = { 'photos.read': 'See your photos, and those that are shared with you' };
    const title = 'Acme Identity';
    const identity = await serveIdentity(t, { config: { title, scopes, identityProviders: { corp } } });
    await identity.addUser('ada', { claims: { name: 'Ada Lovelace' }, ...more });
    return identity;
  }

  for (const { name, ...look } of LOOKS)
    test(`every page, ${name}: screenshots, accessibility, no complaint of the browser`, async (t) => {
      if (!isThere(t, browser)) return;
      const identity = await withAda(t);
      const { page, complaints } = await open(t, browser, look);
      const shot = async (title: string) => {
        await page.screenshot({ path: join(directory, `${title}-${name}.png`), fullPage: true });
        await assertAccessible(page, title);
      };
      await tour(page, identity, shot);
      assert.deepEqual(complaints, []);
      t.diagnostic(`screenshots in ${directory}`);
    });

  /** Through every page that there is. */
  async function tour(page: Page, identity: Identity, shot: (title: string) => Promise<void>) {
    const { issuer } = identity;
    const api = {
      scope: 'openid profile email offline_access photos.read',
      resource: 'https://api.example.com',
    };
    await page.goto(authorizationRequest(issuer, api).url);
    await shot('login');
    await signIn(page, 'ada', 'wrong password');
    await shot('login-wrong');
    await signIn(page, 'ada', PASSWORD);
    await shot('consent');
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL('https://www.elsewhere.example/home');
    await page.goto(`${authorizationRequest(issuer, { client_id: 'trusted' }).url}&prompt=login`);
    await shot('login-again');
    await identity.admin('/v1/users/totp', { username: 'ada' });
    await signIn(page, 'ada', PASSWORD);
    await shot('code');
    await page.getByLabel('One-time code').fill('000000');
    await page.getByRole('button', { name: 'Continue' }).click();
    await shot('code-wrong');
    await identity.admin('/v1/users/totp', { username: 'ada', remove: true });
    const device = await fetch(`${issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'tv', scope: 'openid' }),
    });
    const { user_code: userCode } = (await device.json()) as { user_code: string };
    await page.goto(`${issuer}/device`);
    await shot('device');
    await page.getByLabel('Code').fill('BBBB-BBBB');
    await page.getByRole('button', { name: 'Continue' }).click();
    await shot('device-wrong');
    await page.getByLabel('Code').fill(userCode);
    await page.getByRole('button', { name: 'Continue' }).click();
    await shot('device-confirm');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Device connected' }).waitFor();
    await shot('device-done');
    await page.goto(authorizationRequest(issuer, { client_id: 'nobody' }).url);
    await shot('error');
    await page.goto(`${issuer}/interaction/${'x'.repeat(43)}`);
    await shot('expired');
    await page.goto(`${issuer}/session/end`);
    await shot('logout');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('heading', { name: 'Signed out' }).waitFor();
    await shot('logged-out');
  }

  test('the narrowest screens and the largest letters: nothing is cut off', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { page } = await open(t, browser, { viewport: { width: 320, height: 568 } });
    await tour(page, identity, async (title) => {
      const wide = await page.evaluate('document.documentElement.scrollWidth');
      assert.ok(Number(wide) <= 320, `${title} is ${wide} wide`);
    });
  });

  test('by keyboard alone, without scripts', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { page, complaints } = await open(t, browser, { javaScriptEnabled: false });
    await page.goto(authorizationRequest(identity.issuer).url);
    await page.locator('#username:focus').waitFor();
    await page.keyboard.type('ada');
    await page.keyboard.press('Tab');
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Allow access?' }).waitFor();
    await page.waitForLoadState();
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.waitForURL('https://www.elsewhere.example/home');
    assert.deepEqual(complaints, []);
  });

  test('a wrong password: the problem is announced and belongs to its fields', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { page } = await open(t, browser);
    await page.goto(authorizationRequest(identity.issuer).url);
    await signIn(page, 'ada', 'wrong password');
    assert.match(await page.title(), /^Error: /);
    const problem = page.getByRole('alert');
    assert.match((await problem.textContent()) ?? '', /not right/);
    const password = page.getByLabel('Password');
    assert.equal(await password.getAttribute('aria-describedby'), await problem.getAttribute('id'));
    assert.equal(await page.evaluate('document.activeElement.id'), 'password');
  });

  test('a code of an authenticator app, typed as it is shown', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { secret } = await identity.admin('/v1/users/totp', { username: 'ada' });
    const { page } = await open(t, browser);
    await page.goto(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    await signIn(page, 'ada', PASSWORD);
    await page.getByRole('heading', { name: 'Enter your code' }).waitFor();
    await page.locator('#code:focus').waitFor();
    await page.keyboard.type(new TOTP({ secret: String(secret) }).generate().replace(/(...)/, '$1 '));
    await page.keyboard.press('Enter');
    await page.waitForURL('https://www.elsewhere.example/home');
  });

  test('somebody else signs in, and a device is connected by its link', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { issuer } = identity;
    await identity.addUser('bob');
    const { page, complaints } = await open(t, browser);
    await page.goto(authorizationRequest(issuer, { client_id: 'trusted' }).url);
    await signIn(page, 'ada', PASSWORD);
    await page.waitForURL('https://www.elsewhere.example/home');
    await page.goto(`${authorizationRequest(issuer).url}&prompt=login`);
    await signIn(page, 'bob', PASSWORD);
    await page.getByText('asks for access to your account bob').waitFor();
    const device = await fetch(`${issuer}/device/auth`, {
      method: 'POST',
      body: new URLSearchParams({ client_id: 'tv', scope: 'openid' }),
    });
    const { verification_uri_complete: link } = (await device.json()) as Record<string, string>;
    await page.goto(link ?? '');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByRole('heading', { name: 'Is this your device?' }).waitFor();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('alert').getByText('not connected').waitFor();
    assert.deepEqual(complaints, []);
  });

  test('another site can neither post to the pages nor frame them', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { page, complaints } = await open(t, browser);
    await page.goto(authorizationRequest(identity.issuer).url);
    const address = page.url();
    sites.pages.set(
      'evil.example',
      `<iframe src="${address}" title="frame"></iframe>
      <form method="post" action="${address}/login"><input name="username" value="ada"><button>Go</button></form>`,
    );
    await page.goto('https://evil.example/');
    await page.getByRole('button', { name: 'Go' }).click();
    await page.getByRole('heading', { name: 'This page has expired' }).waitFor();
    assert.ok(
      complaints.some((text) => /frame-ancestors/.test(text)),
      complaints.join('\n'),
    );
  });

  test('a command line on loopback gets its code', async (t) => {
    if (!isThere(t, browser)) return;
    const identity = await withAda(t);
    const { page } = await open(t, browser);
    const home = new URL(identity.issuer);
    const redirectUri = `http://127.0.0.1:${home.port}/cb`;
    await page.route('**/cb?*', (route) => route.fulfill({ body: 'done' }));
    await page.goto(
      authorizationRequest(identity.issuer, { client_id: 'cli', redirect_uri: redirectUri }).url,
    );
    await signIn(page, 'ada', PASSWORD);
    await page.getByRole('button', { name: 'Allow' }).click();
    await page.waitForURL(/127\.0\.0\.1:\d+\/cb\?code=/);
  });
});

/** axe's own rules for WCAG 2.2 AA and good practice. */
async function assertAccessible(page: Page, title: string): Promise<void> {
  await page.evaluate(axe.source);
  const found = (await page.evaluate(
    "axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })",
  )) as axe.AxeResults;
  const violations = found.violations.map(
    ({ id, help, nodes }) => `${title}: ${id}: ${help}: ${nodes.map((node) => node.html).join(' ')}`,
  );
  assert.deepEqual(violations, []);
}
