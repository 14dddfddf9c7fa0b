/** A server that is stopped in the middle of a device flow: nothing of it is lost, and no secret is on the disk. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { CreateTokenCommand, StartDeviceAuthorizationCommand } from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import { createPlace, start } from '../system/start.ts';
import { addAda, approve, cliUrl, configure, DEVICE, register, START_URL, sdk } from './server.ts';

test('a restart before the person allows it, and one after', async (t) => {
  const place = await createPlace(t);
  configure(place, { more: { keys: { store: { file: place.state } } } });
  const again = async (last?: { stop(): Promise<unknown> }) => {
    await last?.stop();
    return start(t, place);
  };
  let server = await again();
  await addAda(place);
  const client = sdk(place.issuer);
  const ours = await register(client);
  const device = await client.send(new StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
  const poll = new CreateTokenCommand({ ...ours, grantType: DEVICE, deviceCode: device.deviceCode });
  await assert.rejects(client.send(poll), { name: 'AuthorizationPendingException' });

  server = await again(server);
  await assert.rejects(client.send(poll), { name: 'AuthorizationPendingException' });
  await approve(String(device.verificationUriComplete));

  server = await again(server);
  const first = await client.send(poll);
  assert.equal(decodeJwt(String(first.accessToken)).client_id, ours.clientId);

  server = await again(server);
  const refresh = { ...ours, grantType: 'refresh_token', refreshToken: first.refreshToken };
  const second = await client.send(new CreateTokenCommand(refresh));
  assert.equal(decodeJwt(String(second.accessToken)).sub, decodeJwt(String(first.accessToken)).sub);
  await assert.rejects(client.send(poll), { name: 'InvalidGrantException' });

  await server.stop();
  const bytes = readdirSync(place.state).map((name) => readFileSync(join(place.state, name)));
  const secrets = [ours.clientSecret, device.deviceCode, first.refreshToken, second.refreshToken];
  for (const secret of secrets) assert.ok(bytes.every((file) => !file.includes(String(secret))));
  assert.ok(bytes.some((file) => file.includes(ours.clientId)));
});

test('the browser is shown a page while the records are away', async (t) => {
  const place = await createPlace(t);
  configure(place, { more: { keys: { store: { file: place.state } } } });
  await start(t, place);
  const { url } = cliUrl(place.issuer, (await register(sdk(place.issuer))).clientId);
  const database = new DatabaseSync(join(place.state, 'records.db'));
  database.exec('ALTER TABLE records RENAME TO away');
  const shown = await fetch(url, { headers: { Accept: 'text/html,*/*;q=0.8' } });
  assert.deepEqual([shown.status, shown.headers.get('content-type')], [503, 'text/html; charset=utf-8']);
  database.exec('ALTER TABLE away RENAME TO records');
  database.close();
  assert.equal((await fetch(url, { redirect: 'manual' })).status, 303);
});

test('a scope that is taken from the door is taken from its clients', async (t) => {
  const place = await createPlace(t);
  const more = { keys: { store: { file: place.state } } };
  configure(place, { more });
  const first = await start(t, place);
  const client = sdk(place.issuer);
  const ours = await register(client, { scopes: ['openid', 'orders.read'] });
  await first.stop();
  configure(place, { more, door: { scopes: ['openid'] } });
  await start(t, place);
  await addAda(place);
  const device = await client.send(new StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
  await approve(String(device.verificationUriComplete));
  const tokens = await client.send(
    new CreateTokenCommand({ ...ours, grantType: DEVICE, deviceCode: device.deviceCode }),
  );
  assert.equal(decodeJwt(String(tokens.accessToken)).scope, 'openid offline_access');
});
