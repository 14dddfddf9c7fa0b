import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { ClientMetadata } from 'oidc-provider';
import type { PeopleConfig } from '../../../../src/doors/oauth/people/contract.ts';
import {
  authorizationRequest,
  Browser,
  claimsOf,
  PASSWORD,
  postToken,
  redeem,
  type Setup,
  serveIdentity,
  type Tokens,
} from '../../../fakes/people.ts';

const API = 'https://api.example.com';
const SECRET = 'the secret of the client';

async function fileWith(t: TestContext, text: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'mintmark-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'secret'), text);
  return join(directory, 'secret');
}

/** One instance that sends people on to another; `localhost` for both, so their cookies are told apart by name and path only. */
async function two(t: TestContext, setup: Setup & { readonly secret?: string; readonly corp?: object } = {}) {
  const upstreamClient: { redirect_uris: string[] } & ClientMetadata = {
    client_id: 'mintmark',
    client_name: 'Mintmark',
    client_secret: SECRET,
    redirect_uris: ['http://localhost/cb'],
    require_consent: false,
    application_type: 'native',
  };
  const upstream = await serveIdentity(t, {
    path: '/corp',
    clients: [upstreamClient],
    config: { title: 'Corp' },
  });
  const clientSecretFile = await fileWith(t, `${setup.secret ?? SECRET}\n`);
  const corp = { issuer: upstream.issuer, clientId: 'mintmark', clientSecretFile, title: 'Corp sign-in' };
  const config: PeopleConfig = { ...setup.config, identityProviders: { corp: { ...corp, ...setup.corp } } };
  const identity = await serveIdentity(t, { ...setup, config });
  upstreamClient.redirect_uris = [`${identity.issuer}/interaction/callback/corp`];
  upstream.swap();
  const sub = await upstream.addUser('grace', {
    claims: { name: 'Grace Hopper', email: 'grace@corp.example' },
  });
  return { upstream, identity, sub };
}

suite('a login at an upstream identity provider', () => {
  test('goes there and back: a stable sub, its claims, idp and amr', async (t) => {
    const { identity, upstream, sub } = await two(t, { corp: { claims: { nickname: 'name' } } });
    const subs = [];
    for (let i = 0; i < 2; i++) {
      const browser = new Browser();
      const request = authorizationRequest(identity.issuer, {
        ...{ client_id: 'trusted', scope: 'openid profile email photos.read', resource: API },
        acr_values: 'tenant:acme',
      });
      await browser.open(request.url);
      assert.match(browser.page.text, /Corp sign-in/);
      await browser.open(`${browser.page.url}/idp/corp`);
      assert.match(browser.page.text, /– Corp<\/title>/);
      await browser.submit('/login', { username: 'grace', password: PASSWORD });
      const tokens = await redeem(identity, browser, request, { client_id: 'trusted' });
      const { idp, amr, tenant, sub: here } = claimsOf(tokens.access_token);
      assert.deepEqual({ idp, amr, tenant }, { idp: 'corp', amr: ['pwd'], tenant: 'acme' });
      subs.push(here);
    }
    assert.equal(subs[0], subs[1]);
    assert.notEqual(subs[0], sub);
    const person = await identity.people.findAccount({} as never, String(subs[0]));
    const { name, nickname, email } = (await person!.claims('id_token', '', {}, []))!;
    assert.deepEqual(
      { name, nickname, email },
      {
        ...{ name: 'Grace Hopper', nickname: 'Grace Hopper', email: 'grace@corp.example' },
      },
    );
    assert.deepEqual([...identity.faults, ...upstream.faults], []);
  });

  test('a later login of the same moment there, for another tenant or none, leaves earlier ones theirs', async (t) => {
    const { identity } = await two(t);
    const browser = new Browser();
    const tenantOf = (tokens: Tokens) => claimsOf(tokens.access_token).tenant;
    const goFor = async (acr: string, more: Record<string, string> = {}) => {
      const photos = { client_id: 'trusted', scope: 'openid photos.read', resource: API };
      const request = authorizationRequest(identity.issuer, { ...photos, acr_values: acr, ...more });
      await browser.open(request.url);
      if (browser.page.text.includes('Corp</title>'))
        await browser.submit('/login', { username: 'grace', password: PASSWORD });
      return redeem(identity, browser, request, { client_id: 'trusted' });
    };
    const refresh = (tokens: Tokens) =>
      postToken(identity.issuer, {
        ...{ grant_type: 'refresh_token', client_id: 'trusted', refresh_token: String(tokens.refresh_token) },
      });
    const first = await goFor('idp:corp tenant:acme');
    const second = await goFor('idp:corp tenant:umbrella');
    assert.deepEqual([first, second].map(tenantOf), ['acme', 'umbrella']);
    assert.equal(
      claimsOf(first.id_token).auth_time,
      claimsOf(second.id_token).auth_time,
      'else they are told apart anyway',
    );
    const [again, other] = [await refresh(first), await refresh(second)];
    assert.deepEqual([again, other].map(tenantOf), ['acme', 'umbrella']);
    assert.equal(tenantOf(await goFor('idp:corp')), 'umbrella', 'the session has it still');
    assert.equal(tenantOf(await refresh(again)), 'acme');
  });

  test('straight there for idp:corp, and for a client that has no other way', async (t) => {
    const { identity } = await two(t);
    const go = async (parameters: Record<string, string>) => {
      const browser = new Browser();
      await browser.open(authorizationRequest(identity.issuer, parameters).url);
      return browser.page.text;
    };
    assert.match(await go({ acr_values: 'idp:corp' }), /– Corp<\/title>/);
    assert.match(await go({ client_id: 'corp-only' }), /– Corp<\/title>/);
    assert.match(await go({ acr_values: 'idp:unknown' }), /Corp sign-in/);
    assert.doesNotMatch(await go({ client_id: 'local-only', acr_values: 'idp:corp' }), /Corp/);
  });

  test('whom a client does not take is asked again, also where signed in already', async (t) => {
    const { identity } = await two(t);
    await identity.addUser('ada');
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    await browser.submit('/login', { username: 'ada', password: PASSWORD });
    assert.ok(browser.answer.has('code'));
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'corp-only' }).url);
    assert.match(browser.page.text, /– Corp<\/title>/);
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'corp-only', prompt: 'none' }).url);
    assert.equal(browser.answer.get('error'), 'login_required');
    const interaction = new Browser();
    await interaction.open(authorizationRequest(identity.issuer, { client_id: 'local-only' }).url);
    await interaction.open(`${interaction.page.url}/idp/corp`);
    assert.equal(interaction.page.status, 404);
  });

  test('a login that is cancelled there is told here', async (t) => {
    const { identity } = await two(t);
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer, { acr_values: 'idp:corp' }).url);
    await browser.submit('/abort');
    assert.equal(browser.page.status, 400);
    assert.match(browser.page.text, /Corp sign-in did not sign you in/);
    assert.match(browser.page.text, /<code>access_denied<\/code>/);
    const [, other = ''] = /href="([^"]*\?ways=all)"/.exec(browser.page.text) ?? [];
    await browser.open(other);
    assert.match(browser.page.text, /autocomplete="current-password"/);
  });

  test('a callback twice, of another browser, or of another provider', async (t) => {
    const { identity } = await two(t);
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer, { acr_values: 'idp:corp' }).url);
    let callback = '';
    const open = browser.open.bind(browser);
    browser.open = (url, init) => {
      if (url.includes('/interaction/callback/')) callback = url;
      return callback === url ? Promise.resolve(browser.page) : open(url, init);
    };
    await browser.submit('/login', { username: 'grace', password: PASSWORD });
    assert.match(callback, /\/interaction\/callback\/corp\?/);
    const stranger = new Browser();
    await stranger.open(callback);
    assert.equal(stranger.page.status, 400);
    await open(callback.replace('/corp?', '/other?'));
    assert.equal(browser.page.status, 400);
    assert.match(browser.page.text, /This page has expired/);
    browser.open = open;
    await browser.open(callback);
    assert.match(browser.page.text, /Allow access\?/);
    await browser.open(callback);
    assert.match(browser.page.text, /This page has expired/);
  });

  test('an upstream that is away, or that refuses our secret', async (t) => {
    const { identity } = await two(t, { secret: 'wrong' });
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer, { acr_values: 'idp:corp' }).url);
    await browser.submit('/login', { username: 'grace', password: PASSWORD });
    assert.equal(browser.page.status, 502);
    assert.doesNotMatch(browser.page.text, /invalid_client/);
    assert.equal(identity.faults.length, 1);
    const away = await two(t, { corp: { issuer: 'http://localhost:1' } });
    await browser.open(authorizationRequest(away.identity.issuer, { acr_values: 'idp:corp' }).url);
    assert.equal(browser.page.status, 502);
    assert.match(browser.page.text, /Corp sign-in could not be asked/);
    assert.equal(away.identity.faults.length, 1);
  });
});
