/** Two servers of one issuer on one PostgreSQL: what an AWS client begins at one goes on at the other. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { CreateTokenCommand, StartDeviceAuthorizationCommand } from '@aws-sdk/client-sso-oidc';
import { decodeJwt } from 'jose';
import { addAda, approve, configure, DEVICE, register, START_URL, sdk } from '../aws-sso-oidc/server.ts';
import { createPlace, start } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { postgresMissing, startPostgres } from './postgres-server.ts';

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
    const polls = await Promise.allSettled(
      Array.from({ length: 20 }, (_, index) => [one, other][index % 2]?.send(poll)),
    );
    const won = polls.filter((outcome) => outcome.status === 'fulfilled').map(({ value }) => value);
    assert.equal(won.length, 1);
    assert.equal(decodeJwt(String(won[0]?.accessToken)).iss, here.issuer);
  });
});
