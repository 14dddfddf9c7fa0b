/** Two replicas on one Secret: what one changes, the other publishes and signs with at once. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { type SecretsApi, startSecretsApi } from '../fakes/secrets-api.ts';
import { decode, mint } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  defer,
  launch,
  mintmark,
  type Place,
  type Server,
  type Settings,
  start,
  until,
  writeConfig,
} from './start.ts';

const ISSUER = 'https://id.example.com';
const KEK = randomBytes(32);

async function fakeApi(t: TestContext): Promise<SecretsApi> {
  const api = await startSecretsApi();
  defer(t, () => api.close());
  return api;
}

/** Where a replica lives, and the variable that leads it to the API. */
async function replica(t: TestContext, api: SecretsApi, keys: Settings = {}) {
  const place = await createPlace(t);
  const kek = join(place.directory, 'kek');
  writeFileSync(kek, KEK, { mode: 0o400 });
  const store = { 'kubernetes-secret': { name: 'mintmark-keys' } };
  writeConfig(place, { issuer: ISSUER, keys: { store, encryption: { file: kek }, ...keys } });
  const kubeconfig = join(place.directory, 'kubeconfig');
  api.writeKubeconfig(kubeconfig);
  return { place, env: { KUBECONFIG: kubeconfig } };
}

async function startReplica(t: TestContext, api: SecretsApi): Promise<Server> {
  const { place, env } = await replica(t, api);
  return start(t, place, { env });
}

const kidOf = async ({ socket }: Place) => decode(await mint(socket, { aud: AUDIENCE })).header.kid;

describe('keys in a Kubernetes Secret', { concurrency: true }, () => {
  it('replicas that start at once have one ring, and follow each other at once', async (t) => {
    const api = await fakeApi(t);
    const replicas = await Promise.all([startReplica(t, api), startReplica(t, api), startReplica(t, api)]);
    const kids = await Promise.all(replicas.map(kidOf));
    assert.equal(new Set(kids).size, 1);
    const [first, ...others] = replicas as [Server, ...Server[]];
    await until(() => api.watches() === 3, 'the watches');
    const command = ['keys', 'rotate', '--force', '--admin', first.admin];
    const { code, stderr } = await mintmark(command);
    assert.equal(code, 0, stderr);
    const rotatedAt = performance.now();
    const rotated = await kidOf(first);
    assert.notEqual(rotated, kids[0]);
    for (const other of others)
      await until(async () => (await kidOf(other)) === rotated, 'the other replica');
    const followed = performance.now() - rotatedAt;
    t.diagnostic(`followed ${Math.round(followed)} ms after the command`);
    assert.ok(followed < 2_000, 'reading every few seconds would be as fast');
    for (const verifier of replicas) {
      const jwks = createRemoteJWKSet(new URL(`http://127.0.0.1:${verifier.port}/.well-known/jwks`));
      for (const minter of replicas) await jwtVerify(await mint(minter.socket, { aud: AUDIENCE }), jwks);
    }
  });

  it('are sealed, survive every replica, and none is made where the API does not answer', async (t) => {
    const api = await fakeApi(t);
    const first = await startReplica(t, api);
    const kid = await kidOf(first);
    await first.stop();
    const stored = Buffer.from(api.secrets.get('mintmark-keys')!.data!['key-ring']!, 'base64');
    assert.ok(!stored.includes('PRIVATE') && !stored.includes('"d"'));
    api.faults.push({ method: 'GET', fault: (request) => request.socket.destroy() });
    const { place, env } = await replica(t, api);
    const failed = launch(t, place, { env });
    assert.notEqual(await failed.ended, 0);
    assert.match(failed.output(), /the Kubernetes API did not answer to get the Secret ns\/mintmark-keys/);
    assert.equal(await kidOf(await startReplica(t, api)), kid);
  });

  it('want a key-encryption key that is given, and a cluster', async (t) => {
    const api = await fakeApi(t);
    const { place, env } = await replica(t, api, { encryption: undefined });
    const failed = launch(t, place, { env });
    assert.notEqual(await failed.ended, 0);
    assert.match(failed.output(), /keys\.encryption must name the key-encryption key/);
    assert.deepEqual([...api.secrets], []);
    const nowhere = launch(t, (await replica(t, api)).place, { env: { KUBECONFIG: undefined } });
    assert.notEqual(await nowhere.ended, 0);
    assert.match(nowhere.output(), /no Kubernetes API is known: .* and no KUBECONFIG/);
  });
});
