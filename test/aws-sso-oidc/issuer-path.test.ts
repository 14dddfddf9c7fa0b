/** The AWS door where the issuer has a path: the API is at the root, the pages are below the issuer. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CreateTokenCommand, StartDeviceAuthorizationCommand } from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import { createPlace, start } from '../system/start.ts';
import {
  addAda,
  allow,
  approve,
  cliUrl,
  configure,
  DEVICE,
  LISTENER,
  register,
  START_URL,
  sdk,
} from './server.ts';

test('an issuer with a path signs people in by a device and by a code', async (t) => {
  const place = await createPlace(t);
  const issuer = `${place.issuer}/idp`;
  configure(place, { more: { issuer } });
  await start(t, place);
  await addAda(place);
  const client = sdk(place.issuer);
  const registered = await register(client);
  const issuerOf = async (grantType: string, asked: object) => {
    const tokens = await client.send(new CreateTokenCommand({ ...registered, grantType, ...asked }));
    return decodeJwt(String(tokens.accessToken)).iss;
  };
  const device = await client.send(
    new StartDeviceAuthorizationCommand({ ...registered, startUrl: START_URL }),
  );
  assert.equal(device.verificationUri, `${issuer}/device`);
  assert.ok(String(device.verificationUriComplete).startsWith(`${issuer}/device?`));
  await approve(String(device.verificationUriComplete));
  assert.equal(await issuerOf(DEVICE, { deviceCode: device.deviceCode }), issuer);
  const { url, codeVerifier } = cliUrl(place.issuer, registered.clientId);
  const code = new URL((await allow(url)).url).searchParams.get('code') ?? '';
  const asked = { code, codeVerifier, redirectUri: LISTENER };
  assert.equal(await issuerOf('authorization_code', asked), issuer);
});
