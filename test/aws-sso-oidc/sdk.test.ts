/** The AWS SDK signs a person in: by a browser, by a device, and refreshes by itself. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  CreateTokenCommand,
  RegisterClientCommand,
  type SSOOIDCClient,
  StartDeviceAuthorizationCommand,
} from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import { API } from '../oauth/server.ts';
import type { Server } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import {
  allow,
  approve,
  CLI_REDIRECT,
  cliUrl,
  DEVICE,
  LISTENER,
  type Registered,
  register,
  SCOPES,
  START_URL,
  sdk,
  startAws,
} from './server.ts';

const DAY = 86_400;
const REFRESH = fileURLToPath(new URL('refresh.ts', import.meta.url));
const run = promisify(execFile);
const sha256 = (text: string) => createHash('sha256').update(text).digest('base64url');

/** The answers to two polls that the server finds there together: it was stopped until both had come. */
async function pollTwice({ issuer, signal }: Server, poll: object): Promise<readonly string[]> {
  const { hostname, port, host } = new URL(issuer);
  const sockets = [connect(Number(port), hostname), connect(Number(port), hostname)];
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  const body = JSON.stringify(poll);
  const head = `POST /token HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: ${body.length}`;
  signal('SIGSTOP');
  const written = sockets.map(
    (socket) => new Promise((done) => socket.write(`${head}\r\n\r\n${body}`, done)),
  );
  await Promise.all(written);
  signal('SIGCONT');
  return Promise.all(sockets.map(text));
}

// biome-ignore lint/suspicious/noExplicitAny: a document is looked into
const redirectUriOf = ({ paths }: any) =>
  paths['/client/register'].post.requestBody.content['application/json'].schema.properties.redirectUris
    .anyOf[0].items;

suite('the AWS SDK', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Server;
  let client: SSOOIDCClient;
  before(async () => {
    server = await startAws(scope);
    client = sdk(server.issuer);
  });

  async function signIn(registered: Registered, scopes = 'sso:account:access openid') {
    const { url, codeVerifier } = cliUrl(server.issuer, registered.clientId, { scopes });
    const page = await allow(url);
    const query = new URL(page.url).searchParams;
    assert.equal(query.get('state'), '6f0d1a7e');
    const code = query.get('code') ?? assert.fail(page.url);
    return { ...registered, grantType: 'authorization_code', code, codeVerifier, redirectUri: LISTENER };
  }

  test('RegisterClient answers all that AWS does, and keeps no secret', async () => {
    const answer = await client.send(
      new RegisterClientCommand({
        clientName: 'aws-cli',
        clientType: 'public',
        scopes: ['sso:account:access'],
        redirectUris: [CLI_REDIRECT],
        grantTypes: ['authorization_code', 'refresh_token'],
        issuerUrl: START_URL,
        entitledApplicationArn: 'arn:aws:sso::123456789012:application/ssoins-1/apl-2',
      }),
    );
    const { $metadata, ...members } = answer;
    assert.equal($metadata.httpStatusCode, 200);
    assert.equal(members.authorizationEndpoint, `${server.issuer}/authorize`);
    assert.equal(members.tokenEndpoint, `${server.issuer}/token`);
    assert.equal(Number(members.clientSecretExpiresAt) - Number(members.clientIdIssuedAt), 90 * DAY);
    assert.ok(Math.abs(Number(members.clientIdIssuedAt) - Date.now() / 1000) < 60);
    assert.ok(String(members.clientSecret).length >= 43);
    assert.ok(!server.output().includes(String(members.clientSecret)));
  });

  test('an optional member that is null is not there', async () => {
    const optional = ['scopes', 'redirectUris', 'grantTypes', 'issuerUrl', 'entitledApplicationArn'];
    const none = Object.fromEntries(optional.map((name) => [name, null]));
    const body = JSON.stringify({ clientName: 'a', clientType: 'public', ...none });
    const made = await fetch(`${server.issuer}/client/register`, { method: 'POST', body });
    assert.equal(made.status, 200, await made.text());
  });

  test('redirectUris are as long as its OpenAPI document says, and no longer', async () => {
    const { maxLength } = redirectUriOf(await (await fetch(`${server.issuer}/openapi.json`)).json());
    const long = CLI_REDIRECT.padEnd(maxLength, 'x');
    await register(client, { redirectUris: [long] });
    const longer = register(client, { redirectUris: [`${long}x`] });
    await assert.rejects(longer, { name: 'InvalidRedirectUriException' });
  });

  test('the browser and a code with PKCE, as the CLI does it', async () => {
    const registered = await register(client);
    const asked = await signIn(registered);
    const tokens = await client.send(new CreateTokenCommand(asked));
    assert.equal(tokens.tokenType, 'Bearer');
    assert.equal(tokens.expiresIn, 3600);
    const claims = decodeJwt(String(tokens.accessToken));
    assert.equal(claims.iss, server.issuer);
    assert.equal(claims.client_id, registered.clientId);
    assert.equal(claims.scope, 'sso:account:access openid offline_access');
    assert.equal(decodeJwt(String(tokens.idToken)).sub, claims.sub);
    assert.equal(decodeJwt(String(tokens.idToken)).aud, registered.clientId);
    const refresh = { ...registered, grantType: 'refresh_token', refreshToken: tokens.refreshToken };
    const again = await client.send(new CreateTokenCommand(refresh));
    assert.notEqual(again.refreshToken, tokens.refreshToken);
    assert.equal(decodeJwt(String(again.accessToken)).sub, claims.sub);
    await assert.rejects(client.send(new CreateTokenCommand(refresh)), { name: 'InvalidGrantException' });
    const ended = { ...refresh, refreshToken: again.refreshToken };
    await assert.rejects(client.send(new CreateTokenCommand(ended)), { name: 'InvalidGrantException' });
  });

  test('a code is good once', async () => {
    const asked = await signIn(await register(client));
    await client.send(new CreateTokenCommand(asked));
    await assert.rejects(client.send(new CreateTokenCommand(asked)), { name: 'InvalidGrantException' });
  });

  test('scopes: all of the registration where the URL names none; padding and a client without refresh', async () => {
    const registered = await register(client, {
      scopes: ['orders.read', 'openid'],
      grantTypes: ['authorization_code'],
    });
    const verifier = 'v'.repeat(64);
    const padded = `${sha256(verifier)}=`;
    const { url } = cliUrl(server.issuer, registered.clientId, { code_challenge: padded });
    const page = await allow(url.replace(/&scopes=[^&]*/, ''));
    const code = new URL(page.url).searchParams.get('code') ?? assert.fail(page.url);
    const tokens = await client.send(
      new CreateTokenCommand({
        ...registered,
        grantType: 'authorization_code',
        code,
        codeVerifier: verifier,
        redirectUri: LISTENER,
      }),
    );
    assert.equal(tokens.refreshToken, undefined);
    const claims = decodeJwt(String(tokens.accessToken));
    assert.equal(claims.scope, 'orders.read openid');
    assert.equal(claims.aud, API);
  });

  test('`scope` of CreateToken narrows the access token, and the refresh token keeps all', async () => {
    const registered = await register(client);
    const asked = await signIn(registered, 'sso:account:access openid orders.read');
    const tokens = await client.send(new CreateTokenCommand({ ...asked, scope: ['orders.read'] }));
    assert.equal(decodeJwt(String(tokens.accessToken)).scope, 'orders.read');
    assert.equal(tokens.idToken, undefined);
    const refresh = { ...registered, grantType: 'refresh_token', refreshToken: tokens.refreshToken };
    const again = await client.send(new CreateTokenCommand({ ...refresh, scope: ['sso:account:access'] }));
    assert.equal(decodeJwt(String(again.accessToken)).scope, 'sso:account:access');
    const all = await client.send(new CreateTokenCommand({ ...refresh, refreshToken: again.refreshToken }));
    assert.match(String(decodeJwt(String(all.accessToken)).scope), /orders\.read/);
  });

  test('a narrowing to what was not granted is refused, and the code stays good', async () => {
    const asked = await signIn(await register(client), 'openid');
    const narrowed = new CreateTokenCommand({ ...asked, scope: ['orders.read'] });
    await assert.rejects(client.send(narrowed), { name: 'InvalidScopeException' });
    const tokens = await client.send(new CreateTokenCommand(asked));
    assert.equal(decodeJwt(String(tokens.accessToken)).scope, 'openid offline_access');
  });

  test('a device: pending, one early poll forgiven, the next not, approved, then tokens once', async () => {
    const registered = await register(client);
    const device = await client.send(
      new StartDeviceAuthorizationCommand({ ...registered, startUrl: START_URL }),
    );
    assert.deepEqual(
      { interval: device.interval, expiresIn: device.expiresIn, uri: device.verificationUri },
      { interval: 1, expiresIn: 600, uri: `${server.issuer}/device` },
    );
    assert.match(String(device.userCode), /^[A-Z]{4}-[A-Z]{4}$/);
    const poll = new CreateTokenCommand({ ...registered, grantType: DEVICE, deviceCode: device.deviceCode });
    const outcomes: string[] = [];
    for (let index = 0; index < 3; index++)
      outcomes.push(await client.send(poll).then(String, (error) => error.name));
    assert.deepEqual(outcomes, [
      'AuthorizationPendingException',
      'AuthorizationPendingException',
      'SlowDownException',
    ]);
    await sleep(1100);
    await assert.rejects(client.send(poll), { name: 'AuthorizationPendingException' });
    await approve(String(device.verificationUriComplete));
    const tokens = await client.send(poll);
    const claims = decodeJwt(String(tokens.accessToken));
    assert.deepEqual(String(claims.scope).split(' ').sort(), [...SCOPES, 'offline_access'].sort());
    assert.ok(tokens.refreshToken);
    assert.ok(tokens.idToken);
    await assert.rejects(client.send(poll), { name: 'InvalidGrantException' });
  });

  test('two polls at once: one is given tokens, which stay good; a later one ends them', async () => {
    const registered = await register(client);
    const device = await client.send(
      new StartDeviceAuthorizationCommand({ ...registered, startUrl: START_URL }),
    );
    await approve(String(device.verificationUriComplete));
    const poll = { ...registered, grantType: DEVICE, deviceCode: device.deviceCode };
    const answers = await pollTwice(server, poll);
    const [won = '', ...others] = answers.filter((answer) => answer.startsWith('HTTP/1.1 200'));
    assert.deepEqual(others, []);
    assert.equal(answers.filter((answer) => answer.includes('InvalidGrantException')).length, 1);
    const refreshOf = (text: string) => /"refreshToken":"([^"]+)"/.exec(text)?.[1] ?? assert.fail(text);
    const refresh = (refreshToken: string) =>
      client.send(new CreateTokenCommand({ ...registered, grantType: 'refresh_token', refreshToken }));
    const { refreshToken = '' } = await refresh(refreshOf(won));
    await assert.rejects(client.send(new CreateTokenCommand(poll)), { name: 'InvalidGrantException' });
    await assert.rejects(refresh(refreshToken), { name: 'InvalidGrantException' });
  });

  for (const way of ['its setting', 'AWS_ENDPOINT_URL_SSO_OIDC'])
    test(`fromSso refreshes by itself, told of the endpoint by ${way}`, async () => {
      const registered = await register(client);
      const tokens = await client.send(new CreateTokenCommand(await signIn(registered)));
      const session = 'acme';
      const home = join(server.directory, `home-${way.length}`);
      const cache = join(home, '.aws', 'sso', 'cache');
      mkdirSync(cache, { recursive: true });
      const config = join(home, '.aws', 'config');
      const section = `sso_session = ${session}\nsso_account_id = 1\nsso_role_name = r\n`;
      writeFileSync(
        config,
        `[profile acme]\n${section}[sso-session ${session}]\nsso_region = eu-central-1\nsso_start_url = ${START_URL}\n`,
      );
      const file = join(cache, `${createHash('sha1').update(session).digest('hex')}.json`);
      writeFileSync(
        file,
        JSON.stringify({
          startUrl: START_URL,
          region: 'eu-central-1',
          accessToken: tokens.accessToken,
          expiresAt: new Date(Date.now() + 30_000).toISOString(),
          refreshToken: tokens.refreshToken,
          ...registered,
          registrationExpiresAt: new Date(Date.now() + 90 * DAY * 1000).toISOString(),
        }),
      );
      const env = { ...process.env, HOME: home, AWS_CONFIG_FILE: config };
      const isSet = way === 'its setting';
      const { stdout } = await run(process.execPath, [REFRESH, ...(isSet ? [server.issuer] : [])], {
        env: isSet ? env : { ...env, AWS_ENDPOINT_URL_SSO_OIDC: server.issuer },
      });
      const { token, expiration } = JSON.parse(stdout) as { token: string; expiration: string };
      assert.notEqual(token, tokens.accessToken);
      assert.equal(decodeJwt(token).sub, decodeJwt(String(tokens.accessToken)).sub);
      assert.ok(Date.parse(expiration) - Date.now() > 3_500_000);
      const kept = JSON.parse(readFileSync(file, 'utf8'));
      assert.equal(kept.accessToken, token);
      assert.notEqual(kept.refreshToken, tokens.refreshToken);
    });
});
