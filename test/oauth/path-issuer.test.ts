/** An issuer below a path: every address that it gives out or sends somebody to is below it too. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import * as client from 'openid-client';
import { createPlace, start, writeConfig } from '../system/start.ts';
import { openBrowser } from './browser.ts';
import { adminPost } from './people.ts';
import { hashOf, post, RESOURCES } from './server.ts';

const APP = 'https://shop.example.com/';
const TOKEN = 'an-initial-access-token-long-enough';
const ADA = { username: 'ada', password: 'correct horse battery staple' };
const WEB = {
  id: 'web',
  secrets: [hashOf('web')],
  grants: ['authorization_code', 'device_code'],
  scopes: ['openid'],
  redirectUris: [`${APP}callback`],
  postLogoutRedirectUris: [APP],
};

test('an issuer below a path: sign in, device, registration, sign out', async (t) => {
  const place = await createPlace(t);
  const issuer = `${place.issuer}/tenant`;
  const accessTokenFile = join(place.directory, 'registration');
  writeFileSync(accessTokenFile, TOKEN);
  const oauth = {
    clients: [WEB],
    resources: RESOURCES,
    registration: { accessTokenFile },
    people: { passwords: { cost: 10 } },
  };
  writeConfig(place, { issuer, doors: { oauth } });
  const server = await start(t, place);
  assert.equal(await adminPost(server.admin, '/v1/users/add', ADA), 200);
  const config = await client.discovery(new URL(issuer), 'web', undefined, client.ClientSecretBasic('web'), {
    execute: [client.allowInsecureRequests],
  });

  const browser = openBrowser(APP);
  const verifier = client.randomPKCECodeVerifier();
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: `${APP}callback`,
    scope: 'openid',
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  });
  let page = await browser.open(url.href);
  await browser.open(url.href); // another tab, which takes nothing from the first
  page = await browser.submit(page, /\/tenant\/.*\/login$/, ADA);
  page = await browser.submit(page, /\/tenant\/.*\/consent$/, { decision: 'allow' });
  const tokens = await client.authorizationCodeGrant(config, new URL(page.url), {
    pkceCodeVerifier: verifier,
  });
  const info = await client.fetchUserInfo(config, tokens.access_token, client.skipSubjectCheck);
  assert.equal(info.sub, tokens.claims()?.sub);

  const device = await client.initiateDeviceAuthorization(config, { scope: 'openid' });
  assert.equal(device.verification_uri, `${issuer}/device`);
  page = await browser.open(device.verification_uri);
  page = await browser.submit(page, /\/tenant\/device$/, { user_code: device.user_code });
  page = await browser.submit(page, /\/tenant\/device$/, { confirm: 'yes' });
  assert.ok(page.url.startsWith(`${issuer}/`), page.url);

  const answer = await fetch(`${issuer}/connect/register`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ redirect_uris: [`${APP}callback`] }),
  });
  const registered = (await answer.json()) as Readonly<Record<string, string>>;
  const at = `${issuer}/connect/register/${registered.client_id}`;
  assert.equal(registered.registration_client_uri, at);
  const headers = { Authorization: `Bearer ${registered.registration_access_token}` };
  assert.equal((await fetch(at, { headers })).status, 200);

  const out = client.buildEndSessionUrl(config, {
    id_token_hint: tokens.id_token ?? '',
    post_logout_redirect_uri: APP,
  });
  page = await browser.open(out.href);
  page = await browser.submit(page, /\/tenant\/connect\/endsession\/confirm$/, { logout: 'yes' });
  assert.equal(page.url, APP);
  const outside = await post(`${place.issuer}/connect/token`, { grant_type: 'client_credentials' });
  assert.equal(outside.status, 404);
});
