/** What a sidecar keeps to where it cannot start, or its authority is silent; with an authority: test/cluster. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { stringify } from 'yaml';
import { openBootstrapCa } from '../../src/net/bootstrap-ca.ts';
import { open as openMemory } from '../../src/stores/memory.ts';
import { createPlace, launch, type Place, type Settings, until } from './start.ts';

/** Takes connections and says nothing; resolves to its port, and tells of each connection. */
async function silence(t: TestContext, onConnection: () => void): Promise<number> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    t.after(() => socket.destroy());
    onConnection();
  });
  t.after(() => server.close());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return (server.address() as AddressInfo).port;
}

function writeSidecar(place: Place, port: number, settings: Settings): void {
  const tokenFile = join(place.directory, 'token');
  writeFileSync(tokenFile, 'a.b.c');
  const own = {
    authority: { url: `https://127.0.0.1:${port}`, tokenFile },
    socket: { path: place.socket },
    status: { listen: '127.0.0.1:0' },
  };
  writeFileSync(place.config, stringify({ ...own, ...settings }));
}

/** An authority that refuses every token; resolves to where it is, and its CA. */
async function refusal(t: TestContext): Promise<Settings> {
  const now = () => Math.floor(Date.now() / 1000);
  const ca = await openBootstrapCa(await openMemory(), { document: 'private-ca', names: ['localhost'], now });
  const server = createHttpsServer(ca.current(), (_, response) => {
    const fails = [{ selector: 'k8s:image-digest:sha256:1', instead: 'not_started' }];
    const nearest = [{ rule: 'web', holds: [], fails, allowsAudience: true }];
    response.statusCode = 403;
    response.end(JSON.stringify({ error: 'access_denied', reason: 'no rule allows it', nearest }));
  });
  t.after(() => server.close().closeAllConnections());
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return { url: `https://localhost:${(server.address() as AddressInfo).port}`, ca: ca.caPem };
}

describe('a sidecar', { concurrency: true }, () => {
  it('that is refused a token file says why, and who tells more', async (t) => {
    const place = await createPlace(t);
    const path = join(place.directory, 'files', 'aws');
    writeSidecar(place, 1, {
      authority: { ...(await refusal(t)), tokenFile: join(place.directory, 'token') },
      tokens: [{ path, audience: 'sts.amazonaws.com' }],
      status: { listen: `127.0.0.1:${place.port}` },
    });
    const sidecar = launch(t, place);
    await until(() => sidecar.output().includes('a token file was not refreshed'), sidecar.output);
    const refused = 'the authority refuses it: no rule allows it';
    const more = "`mintmark explain --aud sts.amazonaws.com` in this container tells the pod's facts";
    const line = sidecar
      .output()
      .split('\n')
      .find((each) => each.includes('not refreshed'));
    const { err } = JSON.parse(line ?? '');
    assert.deepEqual(
      [err.code, err.detail],
      ['access_denied', `${refused}; "web" lacks k8s:image-digest:sha256:1 (not_started); ${more}`],
    );
    const answer = await fetch(`${place.issuer}/readyz`);
    assert.equal(answer.status, 503);
    const { reasons } = (await answer.json()) as { reasons: string[] };
    assert.deepEqual(reasons, [`no token in ${path} yet: ${refused}; ${more}`]);
  });

  it('that finds its socket taken leaves the files as they are', async (t) => {
    const place = await createPlace(t);
    const path = join(place.directory, 'files', 'google.json');
    mkdirSync(join(place.directory, 'files'));
    writeFileSync(path, 'first');
    const other = createServer().listen(place.socket);
    t.after(() => other.close());
    writeSidecar(place, 1, { files: [{ path, content: 'second' }] });
    const sidecar = launch(t, place);
    assert.equal(await sidecar.ended, 1);
    assert.match(sidecar.output(), /is a socket in use/);
    assert.equal(readFileSync(path, 'utf8'), 'first');
  });

  it('is stopped while its authority keeps it waiting: it asks no more, and exits with 0', async (t) => {
    const place = await createPlace(t);
    let asked = 0;
    const first = Promise.withResolvers<void>();
    const port = await silence(t, () => {
      asked++;
      first.resolve();
    });
    writeSidecar(place, port, {
      tokens: [{ path: join(place.directory, 'files', 'aws'), audience: 'sts.amazonaws.com' }],
    });
    const sidecar = launch(t, place);
    await first.promise;
    sidecar.signal('SIGTERM');
    assert.equal(await sidecar.ended, 0, sidecar.output());
    assert.equal(asked, 1);
    assert.deepEqual(
      readdirSync(join(place.directory, 'run')).filter((name) => name.endsWith('.sock')),
      [],
    );
  });
});
