/** Two servers of one issuer on one PostgreSQL: what an AWS client begins at one goes on at the other. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import {
  CreateTokenCommand,
  type SSOOIDCClient,
  StartDeviceAuthorizationCommand,
} from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import pg from 'pg';
import { addAda, approve, configure, DEVICE, register, START_URL, sdk } from '../aws-sso-oidc/server.ts';
import { createPlace, start, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type PostgresServer, postgresMissing, startPostgres } from './postgres-server.ts';

suite('AWS clients at two servers on one PostgreSQL', { skip: postgresMissing() }, () => {
  const scope = scopeOf();
  test('registered at one, a device begun at the other, allowed here and redeemed once there', async (t) => {
    const postgres = await startPostgres(scope);
    const url = await postgres.createDatabase();
    const [here, there] = [await createPlace(t), await createPlace(t)];
    const kek = randomBytes(32);
    for (const place of [here, there]) {
      const [kekFile, urlFile] = [join(place.directory, 'kek'), join(place.directory, 'url')];
      writeFileSync(urlFile, url, { mode: 0o400 });
      writeFileSync(kekFile, kek, { mode: 0o400 });
      const keys = { store: { postgres: { urlFile } }, encryption: { file: kekFile } };
      configure(place, { more: { issuer: here.issuer, keys } });
      await start(t, place);
    }
    await addAda(here);
    const [one, other] = [sdk(here.issuer), sdk(there.issuer)];
    const ours = await register(one);
    const device = await other.send(new StartDeviceAuthorizationCommand({ ...ours, startUrl: START_URL }));
    const poll = new CreateTokenCommand({ ...ours, grantType: DEVICE, deviceCode: device.deviceCode });
    const told: unknown[] = [];
    // Of four in a row, three are within one interval, wherever it ends.
    for (const at of [one, other, one, other])
      await at.send(poll).catch(({ name }: Error) => {
        told.push(name);
      });
    assert.equal(told[0], 'AuthorizationPendingException');
    assert.ok(told.includes('SlowDownException'), told.join(' '));
    await approve(String(device.verificationUriComplete));
    const won = await pollAtOnce(postgres, url, [one, other], poll);
    assert.equal(decodeJwt(String(won.accessToken)).iss, here.issuer);
    const refresh = { ...ours, grantType: 'refresh_token', refreshToken: won.refreshToken };
    assert.ok((await other.send(new CreateTokenCommand(refresh))).refreshToken);
  });
});

/** What the one poll of two is given that wins: both have found the code before either can redeem it. */
async function pollAtOnce(
  postgres: PostgresServer,
  url: string,
  clients: readonly SSOOIDCClient[],
  poll: CreateTokenCommand,
) {
  const holder = new pg.Client({ connectionString: url });
  await holder.connect();
  await holder.query(`BEGIN; SELECT 1 FROM mintmark.records WHERE model = 'DeviceCode' FOR UPDATE`);
  const polls = Promise.allSettled(clients.map((client) => client.send(poll)));
  const waiting = `SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'`;
  await until(
    async () => (await postgres.sql(waiting)).rowCount === clients.length,
    () => 'both polls',
  );
  await holder.query('COMMIT');
  await holder.end();
  const outcomes = await polls;
  const [lost] = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason] : []));
  assert.equal(lost?.name, 'InvalidGrantException');
  const [won, ...others] = outcomes.flatMap((outcome) =>
    outcome.status === 'fulfilled' ? [outcome.value] : [],
  );
  assert.deepEqual(others, []);
  return won ?? assert.fail('none won');
}
