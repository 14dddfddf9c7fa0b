/** The settings of the stores in PostgreSQL, and a server that does not answer; test/e2e has a real one. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import * as v from 'valibot';
import { open } from '../../src/stores/postgres.ts';
import { config, loadConnection } from '../../src/stores/postgres-config.ts';
import { refusal } from '../conformance/key-store.ts';
import { scratch, storeContext } from './context.ts';

const blockOf = (url: string, more = {}) => v.parse(config, { url, ...more });

suite('postgres: its settings', () => {
  test('a URL says where, and TLS is left out only on this machine or on purpose', async () => {
    for (const [url, host, port, database, isEncrypted] of [
      ['postgres://me@db.internal/mint', 'db.internal', 5432, 'mint', true],
      ['postgresql://me:x@db.internal:6543/mint?sslmode=require', 'db.internal', 6543, 'mint', true],
      ['postgres://me:x@db.internal/mint?sslmode=disable', 'db.internal', 5432, 'mint', false],
      ['postgres://me:x@[2001:db8::7]/mint', '2001:db8::7', 5432, 'mint', true],
      ['postgres://me:x@[::1]/mint', '::1', 5432, 'mint', false],
      ['postgres://me:x@localhost/a%2Fb', 'localhost', 5432, 'a/b', false],
      ['postgres://me:x@127.0.0.1/mint?sslmode=verify-full', '127.0.0.1', 5432, 'mint', true],
      ['postgres://me@%2Frun%2Fpostgresql/mint', '/run/postgresql', 5432, 'mint', false],
      ['postgres://me@localhost/mint?host=/run/postgresql', '/run/postgresql', 5432, 'mint', false],
    ] as const) {
      const found = await loadConnection(blockOf(url));
      assert.deepEqual(
        [found.host, found.port, found.database, found.user],
        [host, port, database, 'me'],
        url,
      );
      assert.equal(found.ssl !== false, isEncrypted, url);
      if (found.ssl !== false) assert.equal(found.ssl.rejectUnauthorized, true);
    }
    assert.ok((await loadConnection(blockOf('postgres://me@localhost/mint', { tls: {} }))).ssl);
    assert.equal(await (await loadConnection(blockOf('postgres://me:p%25w@h/d'))).password(), 'p%w');
  });

  test('a password is neither printed nor in a message', () => {
    const block = blockOf('postgres://me:hush@db.internal/mint');
    assert.match(JSON.stringify(block), /"postgres:\/\/me:\.\.\.@db\.internal\/mint"/);
    for (const url of [
      '',
      'hush',
      'mysql://me:hush@h/d',
      'postgres://me:hush@h',
      'postgres://:hush@h/d',
      'postgres://me:hush@/d',
      'postgres://me:hush@a,b/d',
      'postgres://me:hush%zz@h/d',
      'postgres://me:hush@h:99999/d',
      'postgres://me:hush@h/d?sslmode=hush',
      'postgres://me@h/d?password=hush',
    ]) {
      const { success, issues } = v.safeParse(config, { url });
      assert.ok(!success, url);
      assert.doesNotMatch(issues.map(({ message }) => message).join(), /hush/, url);
    }
  });

  test('the others are checked', () => {
    const url = 'postgres://me@h/d';
    assert.deepEqual(v.parse(config, { urlFile: '/run/url' }), {
      urlFile: '/run/url',
      schema: 'mintmark',
      maxConnections: 10,
    });
    for (const block of [
      {},
      { url, urlFile: '/x' },
      { urlFile: 'x' },
      { url, schema: 'a;b' },
      { url, maxConnections: 0 },
      { url, tls: { certificate: '/c' } },
      { url, tls: { ca: 'c' } },
      { url, more: 1 },
    ])
      assert.ok(!v.safeParse(config, block).success, JSON.stringify(block));
  });
});

suite('postgres: no answer', () => {
  test('of a server that takes the connection and is silent is a fault in time', async (t) => {
    const sockets: Socket[] = [];
    const server = createServer((socket) => sockets.push(socket));
    t.after(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    const { port } = server.address() as { readonly port: number };
    const begunAt = performance.now();
    await assert.rejects(
      open(blockOf(`postgres://me:x@127.0.0.1:${port}/mint`), storeContext()),
      refusal('temporarily_unavailable', /PostgreSQL 127\.0\.0\.1:\d+\/mint: .*timeout/),
    );
    assert.ok(performance.now() - begunAt < 6_000);
  });

  test('of a file that is not there names it', async (t) => {
    const urlFile = join(await scratch(t), 'url');
    const block = v.parse(config, { urlFile });
    await assert.rejects(open(block, storeContext()), refusal('server_error', /ENOENT.*url/));
    writeFileSync(urlFile, 'hush\n');
    await assert.rejects(
      open(block, storeContext()),
      refusal('server_error', /^the URL of PostgreSQL in \/\S+\/url must be/),
    );
  });
});
