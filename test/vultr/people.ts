/** The browser's part of a login at a provider. */
import assert from 'node:assert/strict';
import { type Browser, openBrowser, type Page } from '../oauth/browser.ts';
import { APP, type Api, CALLBACK, PASSWORD } from './api.ts';

export async function authorize(
  api: Api,
  provider: string,
  query: Readonly<Record<string, string>>,
  browser: Browser = openBrowser(APP),
  username = 'ada',
): Promise<Page> {
  const { body } = await api.call('GET', `/provider/${provider}/.well-known/openid-configuration`);
  const url = new URL(body.authorization_endpoint);
  url.search = new URLSearchParams({ response_type: 'code', redirect_uri: CALLBACK, ...query }).toString();
  const page = await browser.open(url.href);
  return page.url.startsWith(APP) ? page : browser.submit(page, /\/login$/, { username, password: PASSWORD });
}

export async function signIn(
  api: Api,
  provider: string,
  query: Readonly<Record<string, string>>,
): Promise<string> {
  const page = await authorize(api, provider, query);
  const code = new URL(page.url).searchParams.get('code');
  assert.ok(code, `${page.status} ${page.url} ${page.html}`);
  return code;
}
