/** A real browser, a client's listener that it is sent back to, and a page with what its console complains of. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { type Browser, chromium, type Page } from 'playwright-core';
import { isMissing } from '../stores/requires.ts';

const CHROMIUM = '/usr/bin/chromium';

/** Undefined where there is none. */
export async function openChromium(args: readonly string[] = []): Promise<Browser | undefined> {
  if (!existsSync(CHROMIUM)) return undefined;
  return chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', ...args] });
}

export const isThere = (t: TestContext, browser: Browser | undefined): browser is Browser =>
  !isMissing(t, browser !== undefined, `${CHROMIUM} is not there`);

/** What a client keeps open on loopback while a person signs in; answers everything with a page that says so. */
export async function openListener(): Promise<{ readonly port: number; close(): void }> {
  const server = createServer((_, response) => response.end('<title>done</title>You can close this window.'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { port: (server.address() as AddressInfo).port, close };
}

/** Complaints are the console's errors, but for those that `isExpected`. */
export async function openPage(
  t: TestContext,
  browser: Browser,
  isExpected = /favicon/,
  options: Parameters<Browser['newContext']>[0] = {},
) {
  const context = await browser.newContext(options);
  t.after(() => context.close());
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => {
    const complaint = `${message.text()} ${message.location().url}`;
    if (message.type() === 'error' && !isExpected.test(complaint)) complaints.push(complaint);
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  return { page, complaints };
}

export async function signIn(page: Page, username: string, password: string): Promise<void> {
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
}
