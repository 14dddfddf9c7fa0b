import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { ACR } from '../../../../src/doors/oauth/people/contract.ts';
import {
  authorizationRequest,
  Browser,
  claimsOf,
  PASSWORD,
  redeem,
  serveIdentity,
} from '../../../fakes/people.ts';

const API = 'https://api.example.com';
const CREDENTIALS = { username: 'ada', password: PASSWORD };

suite('a login by the pages', () => {
  test('a grant lives on when it is given again', async (t) => {
    t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    const allow = async () => {
      const request = authorizationRequest(identity.issuer, { prompt: 'login consent' });
      await browser.open(request.url);
      await browser.submit('/login', CREDENTIALS);
      await browser.submit('/consent', { decision: 'allow' });
      return String((await redeem(identity, browser, request)).access_token);
    };
    const token = identity.provider().AccessToken;
    const grantOf = async (value: string) =>
      identity.provider().Grant.find(String((await token.find(value))?.grantId));
    const first = await grantOf(await allow());
    t.mock.timers.tick(5 * 24 * 3600 * 1000);
    const second = await grantOf(await allow());
    assert.equal(second?.jti, first?.jti);
    assert.equal((second?.exp ?? 0) - (first?.exp ?? 0), 5 * 24 * 3600);
  });

  test('password, consent, code, tokens with idp, amr and acr', async (t) => {
    const identity = await serveIdentity(t);
    const sub = await identity.addUser('Ada', { claims: { name: 'Ada Lovelace', email: 'ada@example.com' } });
    const browser = new Browser();
    const request = authorizationRequest(identity.issuer, {
      scope: 'openid profile photos.read',
      resource: API,
    });
    const page = await browser.open(request.url);
    assert.equal(page.status, 200);
    assert.match(page.text, /Photo &lt;b&gt;Album&lt;\/b&gt;/);
    assert.doesNotMatch(page.text, /<b>|<script/);
    await browser.submit('/login', { username: ' ADA ', password: PASSWORD });
    assert.match(browser.page.text, /Allow access\?/);
    assert.match(browser.page.text, /See your name and profile/);
    assert.match(browser.page.text, /At <bdi>https:\/\/api\.example\.com<\/bdi>/);
    assert.equal(browser.page.text.match(/<code><bdi>photos\.read<\/bdi><\/code>/g)?.length, 1);
    assert.match(browser.page.text, /<bdi>app\.example\.com<\/bdi>/);
    identity.swap();
    await browser.submit('/consent', { decision: 'allow' });
    assert.equal(browser.answer.get('state'), 'the-state');
    const tokens = await redeem(identity, browser, request);
    const { idp, amr, acr, tenant, aud } = claimsOf(tokens.access_token);
    assert.deepEqual(
      { idp, amr, acr, tenant, aud },
      {
        ...{ idp: 'local', amr: ['pwd'], acr: ACR.password, tenant: undefined, aud: API },
      },
    );
    assert.equal(claimsOf(tokens.id_token).sub, sub);
    assert.deepEqual(identity.faults, []);
  });

  test('the pages say no more than they must, and to nobody else', async (t) => {
    const identity = await serveIdentity(t);
    const browser = new Browser();
    const { headers, text } = await browser.open(authorizationRequest(identity.issuer).url);
    const policy = headers.get('content-security-policy') ?? '';
    assert.match(policy, /^default-src 'none'; style-src 'sha256-[\w+/=]{44}';/);
    assert.match(policy, /frame-ancestors 'none'/);
    assert.match(policy, /form-action 'self' https:;/);
    assert.equal(headers.get('referrer-policy'), 'no-referrer');
    assert.equal(headers.get('cache-control'), 'no-store');
    assert.equal(headers.get('x-frame-options'), 'DENY');
    assert.match(text, /<html lang="en">/);
    assert.match(text, /autocomplete="username"/);
    assert.match(text, /autocomplete="current-password"/);
    assert.doesNotMatch(text, /https?:\/\//);
  });

  test('a wrong password and an unknown user look the same', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const answers: string[] = [];
    for (const username of ['ada', 'bob']) {
      const browser = new Browser();
      await browser.open(authorizationRequest(identity.issuer).url);
      const { status, text } = await browser.submit('/login', { username, password: 'wrong password' });
      assert.equal(status, 401);
      assert.match(text, /<title>Error: Sign in/);
      assert.match(text, /aria-invalid="true"/);
      answers.push(text.replaceAll(/value="[^"]*"|interaction\/[\w-]+/g, ''));
    }
    assert.equal(answers[0], answers[1]);
  });

  test('too many attempts of one user: 429 for whoever tries, until the window ends', async (t) => {
    const identity = await serveIdentity(t, { config: { logins: { perUser: 3, windowSeconds: 60 } } });
    await identity.addUser('ada');
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer).url);
    for (let i = 0; i < 3; i++)
      await browser.submit('/login', { username: 'ada', password: 'wrong password' });
    assert.equal(browser.page.status, 401);
    await browser.submit('/login', CREDENTIALS);
    assert.equal(browser.page.status, 429);
    assert.equal(browser.page.headers.get('retry-after'), '60');
    assert.match(browser.page.text, /Too many attempts\. Wait a minute/);
    identity.advance(60);
    await browser.submit('/login', CREDENTIALS);
    assert.match(browser.page.text, /Allow access\?/);
  });

  test('a user with a second factor gives a code, once', async (t) => {
    const { TOTP } = await import('otpauth');
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const { secret } = await identity.admin('/v1/users/totp', { username: 'ada' });
    const generator = new TOTP({ secret: String(secret) });
    const browser = new Browser();
    const request = authorizationRequest(identity.issuer, { client_id: 'trusted' });
    await browser.open(request.url);
    await browser.submit('/login', CREDENTIALS);
    assert.match(browser.page.text, /autocomplete="one-time-code"/);
    await browser.submit('/code', { code: '000000' });
    assert.equal(browser.page.status, 401);
    const code = generator.generate();
    await browser.submit('/code', { code: `${code.slice(0, 3)} ${code.slice(3)}` });
    const tokens = await redeem(identity, browser, request, { client_id: 'trusted' });
    const { amr, acr, idp, auth_time: at } = claimsOf(tokens.id_token);
    assert.deepEqual({ amr, acr, idp }, { amr: ['pwd', 'otp', 'mfa'], acr: ACR.multiFactor, idp: 'local' });
    assert.equal(typeof at, 'number');
    const second = new Browser();
    await second.open(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    await second.submit('/login', CREDENTIALS);
    await second.submit('/code', { code });
    assert.equal(second.page.status, 401);
    await second.submit('/restart');
    assert.match(second.page.text, /autocomplete="current-password"/);
  });

  test('the audit log hears of every login, and not of what was typed', async (t) => {
    const identity = await serveIdentity(t, { config: { logins: { perUser: 2 } } });
    const sub = await identity.addUser('ada', { tenants: [] });
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer).url);
    await browser.submit('/login', { username: 'hunter2 my password', password: 'ada' });
    await browser.submit('/login', { username: 'ada', password: 'wrong password' });
    await browser.submit('/login', CREDENTIALS);
    const { check } = identity.people.passwords;
    await assert.rejects(async () => {
      for (let i = 0; i < 9; i++) await check('ada', 'wrong password', { address: '192.0.2.1' });
    });
    const where = { idp: 'local', address: '127.0.0.1', client: 'app' };
    assert.deepEqual(identity.events.slice(0, 3), [
      { outcome: 'wrong_password', ...where, sub: undefined },
      { outcome: 'wrong_password', ...where, sub },
      { outcome: 'signed_in', ...where, sub },
    ]);
    assert.equal(identity.events.at(-1)?.outcome, 'too_many');
    assert.doesNotMatch(JSON.stringify(identity.events), /hunter2/);
  });

  test('five codes in a window are all', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    await identity.admin('/v1/users/totp', { username: 'ada' });
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer).url);
    await browser.submit('/login', CREDENTIALS);
    for (let i = 0; i < 5; i++) await browser.submit('/code', { code: '000000' });
    assert.equal(browser.page.status, 401);
    await browser.submit('/code', { code: '000000' });
    assert.equal(browser.page.status, 429);
  });

  test('whoever cancels or denies goes back with access_denied', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer).url);
    await browser.submit('/abort');
    assert.equal(browser.answer.get('error'), 'access_denied');
    const other = new Browser();
    await other.open(authorizationRequest(identity.issuer).url);
    await other.submit('/login', CREDENTIALS);
    await other.submit('/consent', { decision: 'deny' });
    assert.equal(other.answer.get('error'), 'access_denied');
  });

  test('a first-party client is not asked for consent, and a second visit not at all', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    const request = () => authorizationRequest(identity.issuer, { client_id: 'trusted' }).url;
    await browser.open(request());
    await browser.submit('/login', CREDENTIALS);
    assert.ok(browser.answer.has('code'));
    await browser.open(request());
    assert.ok(browser.answer.has('code'));
    await browser.open(`${request()}&prompt=login&login_hint=grace`);
    assert.match(browser.page.text, /asks you to sign in again/);
    assert.match(browser.page.text, /value="grace"/);
    await browser.open(`${request()}&prompt=login`);
    assert.match(browser.page.text, /value="ada"/);
    await browser.submit('/login', CREDENTIALS);
    assert.ok(browser.answer.has('code'));
    await browser.open(`${request()}&prompt=none`);
    assert.ok(browser.answer.has('code'));
    await new Promise((resolve) => setTimeout(resolve, 2100));
    await browser.open(`${request()}&max_age=1`);
    assert.match(browser.page.text, /asks you to sign in again/);
  });

  test('a new password ends earlier logins, and so does the end of a user', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    const request = authorizationRequest(identity.issuer, { client_id: 'trusted' });
    await browser.open(request.url);
    await browser.submit('/login', CREDENTIALS);
    assert.ok(browser.answer.has('code'));
    identity.advance(5);
    await identity.admin('/v1/users/password', { username: 'ada', password: 'another long password' });
    const tokens = await redeem(identity, browser, request, { client_id: 'trusted' });
    assert.equal(tokens.error, 'invalid_grant');
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    assert.match(browser.page.text, /Your earlier sign-in is no longer valid/);
    await browser.submit('/login', { username: 'ada', password: 'another long password' });
    assert.ok(browser.answer.has('code'));
    await identity.admin('/v1/users/remove', { username: 'ada' });
    await browser.open(authorizationRequest(identity.issuer, { client_id: 'trusted' }).url);
    assert.match(browser.page.text, /Your earlier sign-in is no longer valid/);
    assert.deepEqual(identity.faults, []);
  });

  test('a tenant is kept by the login, and another one takes another login', async (t) => {
    const identity = await serveIdentity(t);
    await identity.addUser('ada', { tenants: ['acme', 'umbrella'] });
    const browser = new Browser();
    const ask = async (tenant: string) => {
      const request = authorizationRequest(identity.issuer, {
        ...{ client_id: 'trusted', scope: 'openid photos.read', resource: API },
        acr_values: `tenant:${tenant}`,
      });
      await browser.open(request.url);
      return request;
    };
    const tenantOf = async (request: ReturnType<typeof authorizationRequest>) => {
      const tokens = await redeem(identity, browser, request, { client_id: 'trusted' });
      return claimsOf(tokens.access_token).tenant;
    };
    let request = await ask('acme');
    await browser.submit('/login', CREDENTIALS);
    assert.equal(await tenantOf(request), 'acme');
    assert.equal(await tenantOf(await ask('acme')), 'acme');
    request = await ask('umbrella');
    assert.match(browser.page.text, /asks for another sign-in/);
    await browser.submit('/login', CREDENTIALS);
    assert.equal(await tenantOf(request), 'umbrella');
    await ask('initech');
    await browser.submit('/login', CREDENTIALS);
    assert.equal(browser.page.status, 403);
    assert.match(browser.page.text, /does not belong to the organization/);
  });
});

suite('what is not a form of ours', () => {
  async function atLogin(t: Parameters<typeof serveIdentity>[0]) {
    const identity = await serveIdentity(t);
    await identity.addUser('ada');
    const browser = new Browser();
    await browser.open(authorizationRequest(identity.issuer).url);
    return { identity, browser };
  }

  test('without the page’s token, or with that of another interaction', async (t) => {
    const { identity, browser } = await atLogin(t);
    const other = new Browser();
    await other.open(authorizationRequest(identity.issuer).url);
    const [{ fields } = { fields: {} as Record<string, string> }] = other.forms();
    const here = browser.page;
    for (const csrf of ['', 'x'.repeat(43), fields.csrf ?? '']) {
      browser.page = here;
      await browser.submit('/login', { ...CREDENTIALS, csrf });
      assert.equal(browser.page.status, 403);
      assert.match(browser.page.text, /The form came from another page/);
    }
  });

  test('posted by another site', async (t) => {
    const { browser } = await atLogin(t);
    const here = browser.page;
    const headers: readonly Record<string, string>[] = [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site', origin: 'null' },
      { origin: 'https://evil.example' },
    ];
    for (const each of headers) {
      browser.page = here;
      await browser.submit('/login', CREDENTIALS, { headers: each });
      assert.equal(browser.page.status, 403, JSON.stringify(each));
    }
    browser.page = here;
    await browser.submit('/login', CREDENTIALS, {
      headers: { 'sec-fetch-site': 'same-origin', origin: 'null' },
    });
    assert.match(browser.page.text, /Allow access\?/);
  });

  test('of another type, too large, or with a field twice', async (t) => {
    const { browser } = await atLogin(t);
    const here = browser.page;
    const [{ fields } = { fields: {} as Record<string, string> }] = browser.forms();
    const form = new URLSearchParams({ ...fields, ...CREDENTIALS }).toString();
    const tries: readonly [string, string, number][] = [
      [form, 'text/plain', 400],
      [`${form}&username=bob`, 'application/x-www-form-urlencoded', 400],
      [`${form}&x=${'y'.repeat(70_000)}`, 'application/x-www-form-urlencoded', 413],
    ];
    for (const [body, type, status] of tries) {
      browser.page = here;
      await browser.submit('/login', {}, { body, headers: { 'content-type': type } });
      assert.equal(browser.page.status, status, type);
    }
  });

  test('of an interaction that is over, another browser’s, or none', async (t) => {
    const { identity, browser } = await atLogin(t);
    const here = browser.page;
    const stranger = new Browser();
    await stranger.open(here.url);
    assert.equal(stranger.page.status, 400);
    assert.match(stranger.page.text, /This page has expired/);
    await browser.submit('/abort');
    await browser.open(here.url);
    assert.match(browser.page.text, /This page has expired/);
    for (const path of ['/interaction', '/interaction/x', '/interaction/callback/../x'])
      assert.equal((await stranger.open(`${identity.issuer}${path}`)).status, 404);
    const wrongMethod = await stranger.open(here.url, { method: 'DELETE' });
    assert.equal(wrongMethod.status, 405);
    assert.deepEqual(identity.faults, []);
  });

  test('a consent before the login', async (t) => {
    const { browser } = await atLogin(t);
    const [{ fields } = { fields: {} as Record<string, string> }] = browser.forms();
    const body = new URLSearchParams({ ...fields, decision: 'allow' }).toString();
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    await browser.open(`${browser.page.url}/consent`, { method: 'POST', body, headers });
    assert.equal(browser.page.status, 400);
  });
});
