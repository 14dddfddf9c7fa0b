/** What goes through the browser: RFC 9207, RFC 9700 sections 2.1, 4.1, 4.2 and 4.12, RFC 7636, RFC 8252. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { scopeOf } from '../system/suite.ts';
import { openBrowser, type Page } from './browser.ts';
import { adminPost } from './people.ts';
import { basic, hashOf, post, RESOURCES, startOAuth } from './server.ts';

const FORM = 'application/x-www-form-urlencoded';

const APP = 'https://shop.example.com/';
const CALLBACK = `${APP}callback`;
const PASSWORD = 'correct horse battery staple';
const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code'],
  scopes: ['openid', 'orders.read'],
  redirectUris: [CALLBACK, `${APP}with?query=1`],
};
const ONE = { ...WEB, id: 'one', redirectUris: [CALLBACK], consent: false };
const NATIVE = {
  ...WEB,
  id: 'native',
  secrets: undefined,
  public: true,
  redirectUris: ['http://127.0.0.1/cb', 'http://[::1]/cb', 'http://localhost:8080/cb'],
};
const DESK = { ...WEB, id: 'desk', redirectUris: ['http://127.0.0.1:8080/cb', 'http://localhost:8080/cb'] };
const MACHINE = {
  id: 'machine',
  secrets: [hashOf('m')],
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};
const CHALLENGE = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'; // RFC 7636 appendix B
const VERIFIER = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';

type Query = Readonly<Record<string, string | undefined>>;

/** Sent back to the application with this error. */
const REFUSED: Readonly<Record<string, readonly [Query, string]>> = {
  'no PKCE': [{ code_challenge: undefined, code_challenge_method: undefined }, 'invalid_request'],
  'plain PKCE': [{ code_challenge_method: 'plain' }, 'invalid_request'],
  'PKCE without a method, which is plain': [{ code_challenge_method: undefined }, 'invalid_request'],
  'a short challenge': [{ code_challenge: 'short' }, 'invalid_request'],
  'a challenge of other characters': [{ code_challenge: '+'.repeat(43) }, 'invalid_request'],
  'an access token in the browser': [{ response_type: 'token' }, 'unsupported_response_type'],
  'a hybrid': [{ response_type: 'code id_token' }, 'unsupported_response_type'],
  'no response type': [{ response_type: undefined }, 'invalid_request'],
  'an unknown scope': [{ scope: 'openid nonsense' }, 'invalid_scope'],
  'no scope': [{ scope: undefined }, 'invalid_scope'],
  'an unknown resource': [{ resource: 'https://other.example.com' }, 'invalid_target'],
  'an unknown audience': [{ audience: 'https://other.example.com' }, 'invalid_target'],
  'nobody is signed in': [{ prompt: 'none' }, 'login_required'],
  'none and login': [{ prompt: 'none login' }, 'invalid_request'],
  'a request object': [{ request: 'e30.e30.' }, 'request_not_supported'],
  'a request elsewhere': [{ request_uri: 'https://evil.example/r' }, 'request_uri_not_supported'],
};

/** No redirect at all: an error page. */
const WRONG_PLACES: readonly string[] = [
  `${CALLBACK}/`,
  'https://shop.example.com:444/callback',
  'https://shop.example.com:443/callback',
  'https://SHOP.example.com/callback',
  'https://shop.example.com/Callback',
  'https://shop.example.com/callback?x=1',
  'https://shop.example.com/callback#x',
  'https://shop.example.com/x/../callback',
  'https://shop.example.com/%63allback',
  'https://user@shop.example.com/callback',
  'https://shop.example.com.evil.example/callback',
  'https://evil.example/callback',
  'http://shop.example.com/callback',
  '//shop.example.com/callback',
  `${APP}with`,
  `${APP}with?query=2`,
  `${CALLBACK} `,
  'javascript:alert(1)',
  '',
];

suite('what goes through the browser', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    server = await startOAuth(scope, {
      clients: [WEB, ONE, NATIVE, DESK, MACHINE],
      resources: RESOURCES,
      people: { passwords: { cost: 10 } },
    });
    assert.equal(
      await adminPost(server.admin, '/v1/users/add', { username: 'ada', password: PASSWORD }),
      200,
    );
  });

  function urlOf(query: Query): string {
    const whole: Query = {
      client_id: 'web',
      response_type: 'code',
      redirect_uri: CALLBACK,
      scope: 'openid orders.read',
      state: 'a state & more',
      code_challenge: CHALLENGE,
      code_challenge_method: 'S256',
      ...query,
    };
    const url = new URL(`${server.issuer}/connect/authorize`);
    for (const [name, value] of Object.entries(whole))
      if (value !== undefined) url.searchParams.set(name, value);
    return url.href;
  }
  const open = (query: Query, back = APP): Promise<Page> => openBrowser(back).open(urlOf(query));

  function assertSentBack(page: Page, error: string | null): URLSearchParams {
    assert.ok(page.url.startsWith(CALLBACK), `${page.url}: ${page.html}`);
    assert.ok([302, 303].includes(page.status), 'RFC 9700 section 4.12: never 307');
    const { search, hash } = new URL(page.url);
    // What would have come in the fragment is refused there too.
    const sent = new URLSearchParams(search === '' ? hash.slice(1) : search);
    assert.equal(sent.get('error'), error, page.url);
    assert.equal(sent.get('iss'), server.issuer, 'RFC 9207 section 2');
    assert.equal(sent.get('state'), 'a state & more');
    assert.match(page.headers.get('cache-control') ?? '', /no-store/);
    return sent;
  }

  function assertNotSentBack(page: Page, what: string): void {
    assert.ok(page.url.startsWith(server.issuer), `${what}: ${page.url}`);
    assert.equal(page.status, 400, what);
    assert.match(page.headers.get('content-type') ?? '', /^text\/html/);
    assert.match(page.headers.get('content-security-policy') ?? '', /default-src 'none'/);
    assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
    assert.doesNotMatch(page.html, /<script|href="(?:javascript|https:\/\/evil)/);
  }

  for (const [name, [query, error]] of Object.entries(REFUSED))
    test(`${name}: ${error}, with iss and state`, async () => {
      const sent = assertSentBack(await open(query), error);
      assert.equal(sent.has('code'), false);
    });

  for (const uri of WRONG_PLACES)
    test(`nobody is sent to ${uri}`, async () => {
      assertNotSentBack(await open({ redirect_uri: uri }, 'https://nowhere.invalid'), uri);
    });

  test('nor anywhere for a client that is unknown, or may not sign people in, or without a redirect_uri', async () => {
    for (const id of ['nobody', 'machine', '', 'a'.repeat(600), '<b>'])
      assertNotSentBack(await open({ client_id: id }), id);
    assertNotSentBack(await open({ client_id: undefined }), 'no client');
    assertNotSentBack(await open({ redirect_uri: undefined }), 'several redirect URIs, none named');
    for (const name of ['client_id', 'redirect_uri']) {
      const twice = `${urlOf({})}&${name}=https://evil.example/`;
      assertNotSentBack(await openBrowser(APP).open(twice), `${name} twice`);
    }
  });

  test('a parameter that is repeated is invalid_request', async () => {
    for (const name of ['scope', 'nonce', 'code_challenge', 'response_type', 'prompt', 'unknown']) {
      const url = urlOf({ nonce: 'n', prompt: 'login', unknown: 'u' });
      const page = await openBrowser(APP).open(`${url}&${name}=x`);
      const { searchParams: sent } = new URL(page.url);
      assert.deepEqual([sent.get('error'), sent.get('iss')], ['invalid_request', server.issuer], name);
    }
  });

  test('a program on a device has any port of loopback, and nothing but the port', async () => {
    const at = (uri: string) => open({ client_id: 'native', redirect_uri: uri });
    for (const uri of ['http://127.0.0.1:4711/cb', 'http://[::1]:1/cb', 'http://localhost:8080/cb'])
      assert.match((await at(uri)).html, /type="password"/, uri);
    for (const uri of [
      'http://127.0.0.1:4711/cb/',
      'http://localhost:1/cb',
      'http://127.0.0.2/cb',
      'https://127.0.0.1/cb',
    ])
      assertNotSentBack(await at(uri), uri);
  });

  test('whoever has a secret has no other port either', async () => {
    const at = (uri: string) => open({ client_id: 'desk', redirect_uri: uri });
    for (const host of ['127.0.0.1', 'localhost']) {
      assert.match((await at(`http://${host}:8080/cb`)).html, /type="password"/);
      for (const place of [`${host}:1`, host]) assertNotSentBack(await at(`http://${place}/cb`), place);
    }
  });

  test('a code comes with iss, leaves no Referer, and is for its client, verifier and redirect alone', async () => {
    const browser = openBrowser(APP);
    let page = await browser.open(urlOf({}));
    assert.equal(page.headers.get('referrer-policy'), 'no-referrer');
    assert.match(page.headers.get('content-security-policy') ?? '', /frame-ancestors 'none'/);
    page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
    const code = assertSentBack(page, null).get('code') ?? '';
    const form = { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: VERIFIER };
    const redeem = (change: Query, who?: Readonly<Record<string, string>>) => {
      const whole = Object.entries({ ...form, ...change }).filter(([, value]) => value !== undefined);
      return post(server.token, Object.fromEntries(whole) as Record<string, string>, who);
    };
    const wrong: readonly (readonly [Query, string])[] = [
      [{ code_verifier: CHALLENGE }, 'invalid_grant'],
      [{ code_verifier: undefined }, 'invalid_grant'],
      [{ code_verifier: 'short' }, 'invalid_request'],
      [{ redirect_uri: APP }, 'invalid_grant'],
      [{ redirect_uri: undefined }, 'invalid_request'],
      [{ code: undefined }, 'invalid_request'],
      [{ code: `${code}x` }, 'invalid_grant'],
    ];
    for (const [change, error] of wrong) {
      const { status, body } = await redeem(change, basic('web', 'web'));
      assert.deepEqual([status, body.error], [400, error], JSON.stringify([change, body]));
    }
    const stolen = await redeem({ client_id: 'native' });
    assert.deepEqual([stolen.status, stolen.body.error], [400, 'invalid_grant']);
    const right = await redeem({}, basic('web', 'web'));
    assert.equal(right.status, 200, JSON.stringify(right.body));
    const again = await redeem({}, basic('web', 'web'));
    assert.equal(again.body.error, 'invalid_grant');
  });

  test('a redirect_uri is asked for, and asked for again, where the client has but one too', async () => {
    assertNotSentBack(await open({ client_id: 'one', redirect_uri: undefined }), 'none');
    const browser = openBrowser(APP);
    const page = await browser.submit(await browser.open(urlOf({ client_id: 'one' })), /\/login$/, {
      ...{ username: 'ada', password: PASSWORD },
    });
    const code = assertSentBack(page, null).get('code') ?? '';
    const form = { grant_type: 'authorization_code', code, code_verifier: VERIFIER };
    const { status, body } = await post(server.token, form, basic('one', 'web'));
    assert.deepEqual([status, body.error], [400, 'invalid_request']);
  });

  test('a form of another site is sent on to the same as an address', async () => {
    const { search, pathname } = new URL(urlOf({ nonce: 'a b' }));
    const answer = await post(`${server.issuer}${pathname}`, search.slice(1));
    assert.equal(answer.status, 303);
    assert.match(answer.headers.get('cache-control') ?? '', /no-store/);
    const place = new URL(answer.headers.get('location') ?? '', server.issuer);
    assert.equal(place.href.replaceAll('+', '%20'), urlOf({ nonce: 'a b' }).replaceAll('+', '%20'));
    assert.match((await openBrowser(APP).open(place.href)).html, /type="password"/);
    const out = await post(`${server.issuer}/connect/endsession`, 'client_id=web&state=s');
    assert.deepEqual(
      [out.status, out.headers.get('location')],
      [303, '/connect/endsession?client_id=web&state=s'],
    );
    const both = await post(`${server.issuer}/connect/endsession?client_id=web`, 'state=s');
    assert.equal(both.headers.get('location'), '/connect/endsession?client_id=web&state=s');
    const long = await post(`${server.issuer}${pathname}`, `state=${'s'.repeat(6000)}`);
    assert.deepEqual([long.status, long.body.error], [413, 'request_too_large']);
    const json = await post(`${server.issuer}${pathname}`, '{}', { 'Content-Type': 'application/json' });
    assert.deepEqual([json.status, json.body.error], [400, 'invalid_request']);
  });

  test('a person whose form cannot be sent on gets a page', async () => {
    const html = { Accept: 'text/html,*/*;q=0.8' };
    const tries: readonly (readonly [
      path: string,
      body: string,
      type: string,
      status: number,
      said: RegExp,
    ])[] = [
      ['authorize', '{}', 'application/json', 400, /invalid_request.*the body is no form/s],
      ['authorize', 'a=1', 'text/plain', 400, /invalid_request.*the body is no form/s],
      ['endsession', `state=${'s'.repeat(6000)}`, FORM, 413, /request_too_large.*5000 characters/s],
      ['authorize', `state=${'s'.repeat(60_000)}`, FORM, 413, /request_too_large/],
      ['endsession/confirm', `xsrf=${'s'.repeat(60_000)}`, FORM, 413, /request_too_large/],
    ];
    for (const [path, body, type, status, said] of tries) {
      const answer = await post(`${server.issuer}/connect/${path}`, body, { ...html, 'Content-Type': type });
      assert.deepEqual(
        [answer.status, answer.headers.get('content-type')],
        [status, 'text/html; charset=utf-8'],
      );
      assert.match(String(answer.body.text), said);
      assert.match(answer.headers.get('content-security-policy') ?? '', /default-src 'none'/);
    }
    const token = await post(server.token, '{}', { ...html, 'Content-Type': 'application/json' });
    assert.equal(token.body.error, 'invalid_request', 'the token endpoint stays JSON');
  });

  test('denied: access_denied, with iss', async () => {
    const browser = openBrowser(APP);
    let page = await browser.open(urlOf({ prompt: 'consent' }));
    page = await browser.submit(page, /\/login$/, { username: 'ada', password: PASSWORD });
    page = await browser.submit(page, /\/consent$/, { decision: 'deny' });
    assertSentBack(page, 'access_denied');
  });
});
