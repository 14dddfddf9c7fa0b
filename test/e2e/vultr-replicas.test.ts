/** Providers at two servers on one PostgreSQL: what one makes, signs or removes, the other knows. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createPlace, type Place, start, until, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type Api, addUser, adminCall, apiOf, CALLBACK, CLIENTS, keyIds } from '../vultr/api.ts';
import { signIn } from '../vultr/people.ts';
import { postgresMissing, startPostgres } from './postgres-server.ts';

suite('vultr: two servers on one PostgreSQL', { skip: postgresMissing() }, () => {
  const scope = scopeOf();
  const kek = randomBytes(32);

  async function place(url: string, issuer?: string): Promise<Place> {
    const made = await createPlace(scope);
    const [kekFile, urlFile] = [join(made.directory, 'kek'), join(made.directory, 'url')];
    writeFileSync(urlFile, url, { mode: 0o400 });
    writeFileSync(kekFile, kek, { mode: 0o400 });
    const doors = { oauth: { people: { passwords: { cost: 10 } } }, vultr: { clients: CLIENTS } };
    const keys = { store: { postgres: { urlFile } }, encryption: { file: kekFile } };
    writeConfig(made, { issuer: issuer ?? made.issuer, keys, doors });
    return made;
  }

  test('made at one, used at both, rotated at one, removed at the other', async () => {
    const postgres = await startPostgres(scope);
    const url = await postgres.createDatabase();
    const first = await place(url);
    const second = await place(url, first.issuer);
    const one = await apiOf(await start(scope, first));
    const two = {
      ...(await apiOf(await start(scope, second))),
      base: `http://127.0.0.1:${second.port}/v2/oidc`,
    };
    const at = (api: Api, base: string) => (method: string, path: string, body?: object) =>
      fetch(`${base}${path}`, {
        method,
        headers: { Authorization: `Bearer ${api.key}`, 'Content-Type': 'application/json' },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    const [a, b] = [at(one, one.base), at(two, two.base)];
    const id = await one.create('shared');
    await addUser(one, id);
    const redeem = async () => ({
      grant_type: 'authorization_code',
      redirect_url: CALLBACK,
      code: await signIn(one, id, { client_id: 'shop' }),
    });
    const tokens = await b('POST', `/provider/${id}/token`, await redeem());
    assert.equal(tokens.status, 201);
    const { refresh_token: refresh } = (await tokens.json()) as { refresh_token: string };
    const racing = await Promise.all(
      [a, b, a, b].map((call) =>
        call('POST', `/provider/${id}/token`, { grant_type: 'refresh_token', refresh_token: refresh }),
      ),
    );
    assert.deepEqual(racing.map(({ status }) => status).sort(), [201, 400, 400, 400]);
    const rotated = await adminCall(one.admin, `/v1/issuers/${id}/keys/rotate`, { force: true });
    assert.equal(rotated.status, 200);
    const keys = await keyIds(one, id);
    const shown = async () =>
      ((await (await b('GET', `/provider/${id}/.well-known/jwks`)).json()) as { keys: { kid: string }[] })
        .keys;
    await until(
      async () => (await shown()).length === keys.length || undefined,
      () => 'the ring of the other',
    );
    const code = await redeem();
    const gone = await b('DELETE', `/provider/${id}`);
    assert.equal(gone.status, 204);
    for (const call of [a, b]) {
      assert.equal((await call('POST', `/provider/${id}/token`, code)).status, 404);
      assert.equal((await call('GET', `/provider/${id}/.well-known/jwks`)).status, 404);
    }
    await sleep(6_000); // the other looks after its rings
    const database = new URL(url).pathname.slice(1);
    const documents = await postgres.sql(
      "SELECT name FROM mintmark.documents WHERE name LIKE 'issuer-%'",
      database,
    );
    assert.deepEqual(documents.rows, []);
    const left = await postgres.sql(
      `SELECT model FROM mintmark.records WHERE realm LIKE '%/provider/${id}'`,
      database,
    );
    assert.deepEqual(left.rows, []);
  });
});
