/** Every exception of the API, provoked by the AWS SDK: its class, status, header and body. */
import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import * as aws from '@aws-sdk/client-sso-oidc';
import { createPlace, mintmark, type Server, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import {
  ACCESS_KEY,
  APPLICATION,
  addAda,
  allow,
  approve,
  CLI_REDIRECT,
  cliUrl,
  configure,
  DEVICE,
  iamSettings,
  LISTENER,
  type Registered,
  register,
  START_URL,
  sdk,
} from './server.ts';

const CLASSES: Readonly<Record<string, unknown>> = { ...aws };

suite('exceptions', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Server;
  let client: aws.SSOOIDCClient;
  let signing: aws.SSOOIDCClient;
  let ours: Registered;
  let narrow: Registered;
  let secretFile: string;

  before(async () => {
    const place = await createPlace(scope);
    secretFile = join(place.directory, 'aws-secret');
    configure(place, {
      door: { iam: iamSettings(place, { region: 'eu-central-1' }), registrations: { perAddress: 8 } },
      oauth: { deviceCodeTtl: '4s' },
    });
    server = await start(scope, place);
    await addAda(place);
    client = sdk(server.issuer);
    signing = sdk(server.issuer, { credentials: ACCESS_KEY });
    ours = await register(client);
    narrow = await register(client, { grantTypes: ['authorization_code'], scopes: ['openid'] });
  });

  const device = (registered = ours) =>
    client.send(new aws.StartDeviceAuthorizationCommand({ ...registered, startUrl: START_URL }));
  const poll = (deviceCode: string | undefined, registered = ours) =>
    client.send(new aws.CreateTokenCommand({ ...registered, grantType: DEVICE, deviceCode }));
  const token = (more: object) =>
    client.send(new aws.CreateTokenCommand({ ...ours, grantType: 'refresh_token', ...more }));
  const signed = (more: object, by = signing) =>
    by.send(
      new aws.CreateTokenWithIAMCommand({ clientId: APPLICATION, grantType: 'refresh_token', ...more }),
    );
  async function code(registered = ours) {
    const { url, codeVerifier } = cliUrl(server.issuer, registered.clientId, { scopes: 'openid' });
    const found = new URL((await allow(url)).url).searchParams.get('code') ?? '';
    return {
      ...registered,
      grantType: 'authorization_code',
      code: found,
      codeVerifier,
      redirectUri: LISTENER,
    };
  }

  const CASES: readonly (readonly [keyof typeof aws, string, () => Promise<unknown>])[] = [
    [
      'InvalidClientMetadataException',
      'a client that is not public',
      () => register(client, { clientType: 'x' }),
    ],
    ['InvalidClientMetadataException', 'a name of two lines', () => register(client, { clientName: 'a\nb' })],
    ['InvalidClientMetadataException', 'a name of blanks', () => register(client, { clientName: ' \u2003' })],
    ['InvalidRequestException', 'a client without a grant', () => register(client, { grantTypes: [] })],
    ['InvalidRequestException', 'a client without a name', () => register(client, { clientName: '' })],
    [
      'InvalidClientMetadataException',
      'a name that nobody sees',
      () => register(client, { clientName: '\u200b \u2060' }),
    ],
    [
      'InvalidScopeException',
      'a scope that no client may have',
      () => register(client, { scopes: ['root'] }),
    ],
    [
      'UnsupportedGrantTypeException',
      'registering password',
      () => register(client, { grantTypes: ['password'] }),
    ],
    [
      'InvalidRedirectUriException',
      'http elsewhere than on loopback',
      () => register(client, { redirectUris: ['http://shop.example.com/cb'] }),
    ],
    ['InvalidRedirectUriException', 'no address at all', () => register(client, { redirectUris: [] })],
    ['InvalidClientException', 'a device with a wrong secret', () => device({ ...ours, clientSecret: 'x' })],
    ['InvalidClientException', 'an unknown client', () => device({ clientId: 'x', clientSecret: 'x' })],
    [
      'InvalidRequestException',
      'a device without startUrl',
      () => client.send(new aws.StartDeviceAuthorizationCommand({ ...ours, startUrl: '' })),
    ],
    ['UnauthorizedClientException', 'a device of a client without the grant', () => device(narrow)],
    ['UnauthorizedClientException', 'a grant that was not registered', () => poll('x', narrow)],
    ['InvalidGrantException', 'an unknown device code', () => poll('x')],
    ['InvalidRequestException', 'no device code', () => poll(undefined)],
    ['InvalidGrantException', 'an unknown refresh token', () => token({ refreshToken: 'x' })],
    ['UnsupportedGrantTypeException', 'an unknown grant', () => token({ grantType: 'implicit' })],
    ['InvalidClientException', 'a wrong secret', () => token({ refreshToken: 'x', clientSecret: 'x' })],
    [
      'InvalidClientException',
      'a wrong secret, and a scope of others',
      () => token({ refreshToken: 'x', clientSecret: 'x', scope: ['root'] }),
    ],
    ['InvalidScopeException', 'a scope of others', () => token({ refreshToken: 'x', scope: ['root'] })],
    [
      'InvalidGrantException',
      'another redirectUri',
      async () => token({ ...(await code()), redirectUri: CLI_REDIRECT }),
    ],
    [
      'InvalidGrantException',
      'another verifier',
      async () => token({ ...(await code()), codeVerifier: 'v'.repeat(64) }),
    ],
    [
      'InvalidGrantException',
      'the code of another client',
      async () => token({ ...(await code()), ...narrow }),
    ],
    [
      'AuthorizationPendingException',
      'nobody has said yes yet',
      async () => poll((await device()).deviceCode),
    ],
    [
      'SlowDownException',
      'the third poll within an interval',
      async () => {
        const { deviceCode } = await device();
        // Of four in a row, three are within one interval, wherever it ends.
        for (let index = 0; index < 4; index++)
          await poll(deviceCode).catch((error: Error) => {
            if (error.name !== 'AuthorizationPendingException') throw error;
          });
      },
    ],
    [
      'AccessDeniedException',
      'the person said no',
      async () => {
        const { deviceCode, verificationUriComplete } = await device();
        await approve(String(verificationUriComplete), 'deny');
        await poll(deviceCode);
      },
    ],
    [
      'ExpiredTokenException',
      'the device code has ended',
      async () => {
        const { deviceCode } = await device();
        await sleep(5200);
        await poll(deviceCode);
      },
    ],
    [
      'AccessDeniedException',
      'a signature by another secret',
      () =>
        signed({}, sdk(server.issuer, { credentials: { ...ACCESS_KEY, secretAccessKey: 'x'.repeat(40) } })),
    ],
    [
      'InvalidRequestRegionException',
      'a signature for another region',
      () => signed({}, sdk(server.issuer, { credentials: ACCESS_KEY, region: 'us-east-1' })),
    ],
    [
      'InvalidClientException',
      'another application',
      () => signed({ clientId: 'arn:aws:sso:::application/x' }),
    ],
    ['UnsupportedGrantTypeException', 'a device that signs', () => signed({ grantType: DEVICE })],
    ['InvalidRequestException', 'no refresh token', () => signed({})],
    ['InvalidScopeException', 'too much', () => signed({ refreshToken: 'x', scope: ['billing.read'] })],
    [
      'InternalServerException',
      'the secret is gone',
      async () => {
        rmSync(secretFile);
        try {
          await signed({ refreshToken: 'x' });
        } finally {
          writeFileSync(secretFile, ACCESS_KEY.secretAccessKey);
        }
      },
    ],
    [
      'SlowDownException',
      'too many registrations',
      async () => {
        for (let index = 0; index < 8; index++) await register(client);
      },
    ],
  ];

  const seen = new Set<string>();
  for (const [name, what, provoke] of CASES)
    test(`${name}: ${what}`, async () => {
      const error = await provoke().then(
        () => assert.fail('it was not refused'),
        (thrown) => thrown as aws.SSOOIDCServiceException & Record<string, string>,
      );
      assert.equal(error.name, name);
      assert.ok(error instanceof (CLASSES[name] as new () => object), `${error}`);
      const status = { InvalidClientException: 401, InternalServerException: 500 }[name as string] ?? 400;
      assert.equal(error.$metadata.httpStatusCode, status);
      assert.equal(error.$response?.headers['x-amzn-errortype'], name);
      assert.match(String(error.error), /^[a-z_]+$/);
      assert.ok(String(error.error_description).length > 4);
      seen.add(name);
    });

  test('the region exception says where to go', async () => {
    const error = await signed(
      {},
      sdk(server.issuer, { credentials: ACCESS_KEY, region: 'us-east-1' }),
    ).catch((thrown) => thrown);
    assert.equal(error.endpoint, server.issuer);
    assert.equal(error.region, 'eu-central-1');
  });

  test('these were all that there are', () => {
    const all = Object.keys(CLASSES).filter(
      (name) => /.Exception$/.test(name) && name !== 'SSOOIDCServiceException',
    );
    assert.deepEqual([...seen].sort(), all.sort());
  });

  test('what is no call of this API', async () => {
    const raw = async (path: string, body: string | Uint8Array) => {
      const response = await fetch(`${server.issuer}${path}`, { method: 'POST', body });
      const { error } = (await response.json()) as { error: string };
      return `${response.status} ${response.headers.get('x-amzn-errortype')} ${error}`;
    };
    const malformed = '400 InvalidRequestException invalid_request';
    for (const body of ['', '[]', '{', 'a=b', '{"clientName":1}', '{"clientName":"a","clientName":"a"}'])
      assert.equal(await raw('/client/register', body), malformed, body);
    const wrong = { clientName: 'a', clientType: 'public', scopes: ['a', 1] };
    assert.equal(await raw('/client/register', JSON.stringify(wrong)), malformed);
    assert.equal(await raw('/client/register', Buffer.from([0x7b, 0xff, 0x7d])), malformed);
    for (const more of [{ clientName: null }, { scopes: [null] }])
      assert.equal(
        await raw('/client/register', JSON.stringify({ ...wrong, scopes: [], ...more })),
        malformed,
      );
    assert.equal(await raw('/token', 'x'.repeat(70_000)), malformed);
    assert.equal(await raw('/token?aws_iam=f', '{}'), malformed);
    assert.equal(await raw('/token?aws_iam=t', '{}'), '400 AccessDeniedException access_denied');
  });
});

test('a registration ends', async (t) => {
  const place = await createPlace(t);
  configure(place, { door: { registrationTtl: '2s' } });
  const server = await start(t, place);
  const client = sdk(server.issuer);
  const ours = await register(client);
  const ask = () => client.send(new aws.StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
  assert.equal((await ask()).$metadata.httpStatusCode, 200);
  await sleep(3000);
  await assert.rejects(ask(), { name: 'InvalidClientException' });
  const { url } = cliUrl(server.issuer, ours.clientId);
  assert.equal((await fetch(url)).status, 400);
});

test('below a path of its own, and /authorize at the root all the same', async (t) => {
  const place = await createPlace(t);
  configure(place, {
    door: { path: '/sso/oidc', idToken: false, scope: 'ignored', consent: false, accessTokenTtl: '30m' },
  });
  const server = await start(t, place);
  await addAda(place);
  const client = sdk(`${server.issuer}/sso/oidc`);
  const ours = await register(client);
  const { url, codeVerifier } = cliUrl(server.issuer, ours.clientId);
  const { openBrowser } = await import('../oauth/browser.ts');
  const browser = openBrowser(LISTENER);
  const login = await browser.open(url);
  const page = await browser.submit(login, /\/login$/, {
    username: 'ada',
    password: 'correct horse battery staple',
  });
  const code = new URL(page.url).searchParams.get('code') ?? assert.fail(page.url);
  const tokens = await client.send(
    new aws.CreateTokenCommand({
      ...ours,
      grantType: 'authorization_code',
      code,
      codeVerifier,
      redirectUri: LISTENER,
      scope: ['openid'],
    }),
  );
  assert.equal(tokens.idToken, undefined);
  assert.equal(tokens.expiresIn, 1800);
  const [, payload = ''] = String(tokens.accessToken).split('.');
  const { scope } = JSON.parse(Buffer.from(payload, 'base64url').toString());
  assert.equal(scope, 'sso:account:access openid offline_access');
  assert.equal((await fetch(`${server.issuer}/token`, { method: 'POST' })).status, 404);
});

test('a configuration without doors.oauth is refused', async (t) => {
  const place = await createPlace(t);
  writeConfig(place, { doors: { 'aws-sso-oidc': {} } });
  const { code, stderr } = await mintmark(['check', '--config', place.config]);
  assert.equal(code, 2);
  assert.match(stderr, /doors\.aws-sso-oidc: needs doors\.oauth beside it/);
  for (const path of ['/connect', '/oauth2', 'sso', '/sso/']) {
    writeConfig(place, { doors: { oauth: {}, 'aws-sso-oidc': { path } } });
    assert.equal((await mintmark(['check', '--config', place.config])).code, 2, path);
  }
});
