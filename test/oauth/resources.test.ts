/** The resources of an authorization are kept (RFC 8707 section 2.2): a token request may only narrow them. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { decodeJwt } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { API, basic, hashOf, OTHER_API, post, RESOURCES, startOAuth } from './server.ts';

const APP = 'https://shop.example.com/';
const CALLBACK = `${APP}callback`;
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const ADA = { username: 'ada', password: 'correct horse battery staple' };
const SCOPES = ['openid', 'offline_access', 'orders.read', 'billing.read'];
const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code', 'refresh_token', 'password', 'device_code'],
  scopes: SCOPES,
  redirectUris: [CALLBACK],
  consent: false,
};

type Pair = [name: string, value: string];
type Form = Readonly<Record<string, string>>;

suite('resources of an authorization', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  before(async () => {
    const people = { passwords: { cost: 10 } };
    server = await startOAuth(scope, { clients: [WEB], resources: RESOURCES, people });
    assert.equal(await adminPost(server.admin, '/v1/users/add', ADA), 200);
  });

  const send = (path: string, form: Form | string) =>
    post(`${server.issuer}/connect/${path}`, form, basic('web', 'web'));

  async function codeForm(isPushed: boolean, more: readonly Pair[] = [['resource', API]]): Promise<Form> {
    const verifier = randomBytes(32).toString('base64url');
    const asked = {
      client_id: 'web',
      response_type: 'code',
      redirect_uri: CALLBACK,
      scope: SCOPES.join(' '),
      code_challenge: createHash('sha256').update(verifier).digest('base64url'),
      code_challenge_method: 'S256',
    };
    const whole = new URLSearchParams([...Object.entries(asked), ...more]).toString();
    const pushed = isPushed ? await send('par', whole) : undefined;
    const query =
      pushed === undefined ? whole : { client_id: 'web', request_uri: String(pushed.body.request_uri) };
    const browser = openBrowser(APP);
    let page = await browser.open(`${server.issuer}/connect/authorize?${new URLSearchParams(query)}`);
    page = await browser.submit(page, /\/login$/, ADA);
    const code = new URL(page.url).searchParams.get('code');
    assert.ok(code !== null, `${page.status} ${page.url} ${page.html}`);
    return { grant_type: 'authorization_code', code, redirect_uri: CALLBACK, code_verifier: verifier };
  }

  async function deviceForm(more: readonly Pair[] = [['resource', API]]): Promise<Form> {
    const asked = new URLSearchParams([['scope', SCOPES.join(' ')], ...more]);
    const { body } = await send('deviceauthorization', asked.toString());
    const browser = openBrowser(APP);
    let page = await browser.open(String(body.verification_uri_complete));
    page = await browser.submit(page, /\/device$/);
    if (page.html.includes('name="confirm"'))
      page = await browser.submit(page, /\/device$/, { confirm: 'yes' });
    page = await browser.submit(page, /\/login$/, ADA);
    return { grant_type: DEVICE, device_code: String(body.device_code) };
  }

  const passwordForm = async () => ({
    ...{ grant_type: 'password', ...ADA, scope: SCOPES.join(' '), resource: API },
  });

  for (const [name, make] of [
    ['a code', () => codeForm(false)],
    ['a code of a pushed request', () => codeForm(true)],
    ['a device code', () => deviceForm()],
    ['a password', passwordForm],
  ] as const)
    test(`${name} and its refresh tokens are for what was asked for, and nothing else`, async () => {
      const form = await make();
      if (form.grant_type !== 'password') {
        const wider = await send('token', { ...form, resource: OTHER_API });
        assert.deepEqual([wider.status, wider.body.error], [400, 'invalid_target']);
      }
      let { body } = await send('token', form);
      for (const round of [1, 2]) {
        assert.equal(typeof body.access_token, 'string', JSON.stringify(body));
        const { aud, scope: given } = decodeJwt(String(body.access_token));
        assert.equal(aud, API, `round ${round}`);
        assert.equal((given as string[]).includes('billing.read'), false);
        const refresh = { grant_type: 'refresh_token', refresh_token: String(body.refresh_token) };
        for (const more of [{ resource: OTHER_API }, { scope: 'billing.read' }]) {
          const wider = await send('token', { ...refresh, ...more } as Form);
          assert.deepEqual([wider.status, wider.body.error], [400, 'invalid_target'], JSON.stringify(more));
        }
        ({ body } = await send('token', round === 1 ? refresh : { ...refresh, scope: 'openid' }));
      }
      assert.equal(decodeJwt(String(body.access_token)).aud, server.issuer, 'of the person alone');
    });

  for (const [name, make] of [
    ['a code', (more: readonly Pair[]) => codeForm(false, more)],
    ['a code of a pushed request', (more: readonly Pair[]) => codeForm(true, more)],
    ['a device code', deviceForm],
  ] as const)
    test(`${name}: resource and audience mean the same, and may be repeated`, async () => {
      const cases: readonly (readonly [readonly Pair[], unknown])[] = [
        [[['audience', API]], API],
        [
          [
            ['resource', API],
            ['resource', OTHER_API],
          ],
          [API, OTHER_API],
        ],
        [
          [
            ['resource', OTHER_API],
            ['audience', OTHER_API],
          ],
          OTHER_API,
        ],
      ];
      for (const [more, wanted] of cases) {
        const { body } = await send('token', await make(more));
        assert.equal(typeof body.access_token, 'string', JSON.stringify([more, body]));
        assert.deepEqual(decodeJwt(String(body.access_token)).aud, wanted);
        const refresh = { grant_type: 'refresh_token', refresh_token: String(body.refresh_token) };
        const again = await send('token', refresh);
        assert.deepEqual(decodeJwt(String(again.body.access_token)).aud, wanted, 'refreshed');
      }
    });

  test('a device that asks for an unknown audience is refused', async () => {
    const { body } = await send('deviceauthorization', { audience: 'https://other.example.com' });
    assert.equal(body.error, 'invalid_target');
  });
});
