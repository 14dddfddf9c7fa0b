/** A store that cannot be written when a rotation is due: the old key goes on, and an alert can be raised. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { isMissing } from '../stores/requires.ts';
import { ask, decode, metric, mint } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  defer,
  OTHER_UID,
  OWN_UID,
  type Place,
  type Server,
  start,
  until,
  writeConfig,
} from './start.ts';

const ERRORS = 'mintmark_store_errors_total{operation="write"}';

/** Keys that rotate every two seconds, which is as soon as they may. */
function writeRotating(place: Place): void {
  writeConfig(place, { keys: { store: { file: place.state }, rotateEvery: '2s' } });
}

async function goesOnWithTheOldKey(server: Server): Promise<void> {
  const before = await mint(server.socket, { aud: AUDIENCE });
  await until(async () => (await metric(server.status, ERRORS)) >= 3, 'writes to fail');
  const after = await mint(server.socket, { aud: AUDIENCE });
  assert.equal(decode(after).header.kid, decode(before).header.kid);
  assert.equal((await ask(server.status, '/readyz')).status, 200);
  assert.match((await server.line('the key store failed; the ring in effect stays')).level, /error/);
  const jwks = createRemoteJWKSet(new URL(`${server.issuer}/.well-known/jwks`));
  for (const token of [before, after]) await jwtVerify(token, jwks, { audience: AUDIENCE });
}

async function rotatesAgain(server: Server): Promise<void> {
  const before = await mint(server.socket, { aud: AUDIENCE });
  const kidOf = async () => decode(await mint(server.socket, { aud: AUDIENCE })).header.kid;
  await until(async () => (await kidOf()) !== decode(before).header.kid, 'the rotation to be made up for');
  const jwks = createRemoteJWKSet(new URL(`${server.issuer}/.well-known/jwks`));
  await jwtVerify(before, jwks, { audience: AUDIENCE });
}

describe('a rotation that cannot be stored', { concurrency: true }, () => {
  it('in a directory that cannot be written to', async (t) => {
    // Root writes everywhere.
    const uid = OWN_UID === 0 ? OTHER_UID : OWN_UID;
    const place = await createPlace(t);
    if (OWN_UID === 0) chownSync(join(place.directory, 'run'), uid, uid);
    mkdirSync(place.state, { mode: 0o700 });
    chownSync(place.state, uid, uid);
    writeRotating(place);
    const server = await start(t, place, OWN_UID === 0 ? { uid } : {});
    chmodSync(place.state, 0o500);
    await goesOnWithTheOldKey(server);
    chmodSync(place.state, 0o700);
    await rotatesAgain(server);
  });

  it('on a disk that is full', async (t) => {
    const place = await createPlace(t);
    mkdirSync(place.state);
    if (isMissing(t, mountSmall(t, place.state), 'mounting a small disk takes root')) return;
    writeRotating(place);
    const server = await start(t, place);
    const filler = join(place.state, 'filler');
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4096'], { stdio: 'ignore' });
    await goesOnWithTheOldKey(server);
    rmSync(filler);
    await rotatesAgain(server);
  });
});

function mountSmall(t: TestContext, directory: string): boolean {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k,mode=0700', 'tmpfs', directory], {
    stdio: 'ignore',
  });
  if (mounted.status !== 0) return false;
  defer(t, () => execFileSync('umount', [directory]));
  return true;
}
