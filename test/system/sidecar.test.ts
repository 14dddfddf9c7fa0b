/** What a sidecar keeps to where it cannot start, or its authority is silent; with an authority: test/cluster. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { stringify } from 'yaml';
import { createPlace, launch, type Place, type Settings } from './start.ts';

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

describe('a sidecar', { concurrency: true }, () => {
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
