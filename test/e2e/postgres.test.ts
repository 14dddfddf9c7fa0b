/** The stores in PostgreSQL, on a real one. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import * as v from 'valibot';
import { IssuerError } from '../../src/core/errors.ts';
import { config, open as openKeys } from '../../src/stores/postgres.ts';
import { open as openRecords } from '../../src/stores/postgres-records.ts';
import { keyStoreSuite, refusal } from '../conformance/key-store.ts';
import { recordStoreSuite } from '../conformance/record-store.ts';
import { scratch, storeContext } from '../stores/context.ts';
import { scopeOf } from '../system/suite.ts';
import { type PostgresServer, postgresMissing, startPostgres } from './postgres-server.ts';

const NOW = 1_800_000_000;
const keyOf = (id: string) => ({ realm: 'acme', model: 'Code', id });
const blockOf = (url: string, more = {}) => v.parse(config, { url, ...more });

/** A CA and a certificate for 127.0.0.1, as files of PEM. */
function makeCertificates(directory: string) {
  const [ca, certificate, key] = ['ca.pem', 'server.pem', 'server.key'].map((name) => join(directory, name));
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe', cwd: directory });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...newKey, '-subj', '/CN=ca', '-keyout', 'ca.key', '-out', 'ca.pem');
  openssl(
    ...['req', '-x509', ...newKey, '-subj', '/CN=db', '-addext', 'subjectAltName=IP:127.0.0.1'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-CA', 'ca.pem', '-CAkey', 'ca.key'],
    ...['-keyout', 'server.key', '-out', 'server.pem'],
  );
  return { ca: ca ?? '', certificate: certificate ?? '', key: key ?? '' };
}

const skip = postgresMissing();
suite('PostgreSQL', { skip }, () => {
  let server: PostgresServer;
  const scope = scopeOf();
  before(async () => {
    server = await startPostgres(scope);
  });

  keyStoreSuite('postgres', async () => openKeys(blockOf(await server.createDatabase()), storeContext()));
  recordStoreSuite('postgres', async () => openRecords(blockOf(await server.createDatabase())));

  async function opened(t: TestContext, url: string, more = {}) {
    const store = await openRecords(blockOf(url, more));
    t.after(() => store.close());
    return store;
  }

  suite('its schema', () => {
    test('is made once by any number of processes that start at once', async () => {
      const url = await server.createDatabase();
      const program = fileURLToPath(new URL('postgres-worker.ts', import.meta.url));
      const ends = await Promise.all(
        Array.from({ length: 5 }, async () => {
          const child = spawn(process.execPath, [program, url], { stdio: ['ignore', 'ignore', 'pipe'] });
          const [[code], stderr] = await Promise.all([once(child, 'exit'), text(child.stderr)]);
          return `${code} ${stderr}`;
        }),
      );
      assert.deepEqual(new Set(ends), new Set(['0 ']));
      const { rows } = await server.sql(
        'SELECT version FROM mintmark.schema_version',
        new URL(url).pathname.slice(1),
      );
      assert.deepEqual(rows, [{ version: 1 }]);
    });

    test('of a newer program is refused, and used by one that may not make tables', async (t) => {
      const url = await server.createDatabase();
      const name = new URL(url).pathname.slice(1);
      await (await opened(t, url)).close();
      await server.sql(
        `CREATE ROLE ${name}_app LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA mintmark TO ${name}_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA mintmark TO ${name}_app`,
        name,
      );
      const app = new URL(url);
      app.username = `${name}_app`;
      app.password = 'x';
      const store = await opened(t, app.href);
      await store.upsert(keyOf('a'), { payload: {} });
      await server.sql('UPDATE mintmark.schema_version SET version = 99', name);
      for (const open of [openRecords, openKeys])
        await assert.rejects(
          open(blockOf(url), storeContext()),
          refusal('server_error', /has version 99, and this Mintmark knows 1/),
        );
      await assert.rejects(
        openRecords(blockOf(app.href, { schema: 'other' })),
        refusal('temporarily_unavailable', /permission denied/),
      );
    });

    test('of two names in one database are two stores', async (t) => {
      const url = await server.createDatabase();
      const [one, two] = [await opened(t, url, { schema: 'one' }), await opened(t, url, { schema: 'two' })];
      assert.equal(await one.insert(keyOf('a'), { payload: {} }, NOW), true);
      assert.equal(await two.insert(keyOf('a'), { payload: {} }, NOW), true);
    });

    test('has an index for each statement, however many records there are', async (t) => {
      const url = await server.createDatabase();
      await (await opened(t, url)).close();
      const name = new URL(url).pathname.slice(1);
      await server.sql(
        `INSERT INTO mintmark.records SELECT 'acme', 'Code', 'i' || n, '{}', n, NULL, 'f' || n, 'u' || n, 'c' || n
        FROM generate_series(1, 20000) n; ANALYZE mintmark.records`,
        name,
      );
      for (const [index, where] of [
        ['records_family', "family = 'f7' AND realm = 'acme'"],
        ['records_uid', "realm = 'acme' AND model = 'Code' AND uid = 'u7'"],
        ['records_user_code', "realm = 'acme' AND model = 'Code' AND user_code = 'c7'"],
        ['records_expiry', 'expires_at <= 7'],
        ['records_pkey', "realm = 'acme' AND model = 'Code' AND id = 'i7'"],
      ]) {
        const { rows } = await server.sql(`EXPLAIN DELETE FROM mintmark.records WHERE ${where}`, name);
        assert.match(JSON.stringify(rows), new RegExp(`Scan .*${index}`));
      }
    });
  });

  suite('its connection', () => {
    test('never tells the password', async (t) => {
      const url = new URL(await server.createDatabase());
      url.password = 'wrong-secret';
      const fails = async (text: string, more = {}) => {
        const error = await openRecords(blockOf(text, more)).then(
          () => assert.fail('opened'),
          (fault: unknown) => fault,
        );
        assert.ok(error instanceof IssuerError);
        assert.equal(error.code, 'temporarily_unavailable');
        assert.doesNotMatch(`${error.detail} ${error.stack} ${JSON.stringify(error)}`, /secret/);
        return error.detail;
      };
      assert.match(
        await fails(url.href),
        /password authentication failed for user "db\d+" \(SQLSTATE 28P01\)/,
      );
      assert.match(await fails('postgres://me:secret@127.0.0.1:1/db'), /ECONNREFUSED/);
      assert.match(await fails('postgres://me:secret@127.0.0.1:1/db', { tls: {} }), /ECONNREFUSED/);
      const printed = JSON.stringify(blockOf(`${url.href}`));
      assert.match(printed, /"url":"postgres:\/\/db\d+:\.\.\.@/);
      assert.doesNotMatch(printed, /secret/);
      const file = join(await scratch(t), 'url');
      writeFileSync(file, 'mysql://me:secret@x/y');
      const wrong = openRecords(v.parse(config, { urlFile: file }));
      await assert.rejects(
        wrong,
        refusal('server_error', /^the URL of PostgreSQL in \/\S+ must be postgres:[^s]*/),
      );
    });

    test('takes the password that the file has by then', async (t) => {
      const url = new URL(await server.createDatabase());
      const file = join(await scratch(t), 'url');
      writeFileSync(file, `${url.href}\n`);
      const store = await openRecords(v.parse(config, { urlFile: file }));
      t.after(() => store.close());
      const name = url.username;
      await server.sql(`ALTER ROLE ${name} PASSWORD 'rotated'`);
      url.password = 'rotated';
      writeFileSync(file, url.href);
      await server.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${name}'`);
      // A call may still meet a connection that has just ended.
      const again = () => store.upsert(keyOf('a'), { payload: {} });
      await again().catch(again);
    });
  });

  test('TLS is asked for wherever the server is elsewhere, and only its own certificate is taken', async (t) => {
    const directory = await scratch(t);
    const { ca, certificate, key } = makeCertificates(directory);
    const other = makeCertificates(await scratch(t));
    const cleaner: { step?: () => Promise<void> } = {};
    const secure = await startPostgres(
      { after: (step) => void Object.assign(cleaner, { step }) },
      { tls: { certificate: await readFile(certificate, 'utf8'), key: await readFile(key, 'utf8') } },
    );
    t.after(() => cleaner.step?.());
    const url = new URL(await secure.createDatabase());
    const tcp = `postgres://${url.username}:${url.password}@127.0.0.1:${secure.port}${url.pathname}`;
    const encrypted = async () =>
      (
        await secure.sql(
          `SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = '${url.username}'`,
        )
      ).rows;
    const store = await openRecords(blockOf(tcp, { tls: { ca } }));
    assert.deepEqual(await encrypted(), [{ ssl: true }]);
    await store.close();
    await (await openRecords(blockOf(`${tcp}?sslmode=verify-full&sslrootcert=${ca}`))).close();
    await (await openRecords(blockOf(tcp))).close();
    for (const block of [{ tls: {} }, { tls: { ca: other.ca } }])
      await assert.rejects(
        openRecords(blockOf(tcp, block)),
        refusal(
          'temporarily_unavailable',
          /self-signed certificate|verify the first certificate|certificate signature/,
        ),
      );
    const named = tcp.replace('127.0.0.1', 'localhost');
    await assert.rejects(
      openRecords(blockOf(named, { tls: { ca } })),
      refusal('temporarily_unavailable', /does not match certificate/),
    );
    await assert.rejects(
      openRecords(blockOf(tcp, { tls: { ca: '/nowhere/ca.pem' } })),
      refusal('server_error', /ENOENT.*\/nowhere\/ca\.pem/),
    );
  });

  test('records go on after the server was restarted or has crashed, and none is consumed twice', async (t) => {
    const url = await server.createDatabase();
    const store = await opened(t, url, { maxConnections: 5 });
    const ids = Array.from({ length: 3000 }, (_, n) => `r${n}`);
    await Promise.all(ids.map((id) => store.insert(keyOf(id), { payload: {} }, NOW)));
    const consumed = new Map<string, number>();
    const faults = new Set<string>();
    let isOver = false;
    const worker = async () => {
      for (let n = 0; !isOver; n++) {
        const id = ids[Math.floor(Math.random() * Math.min(ids.length, n * 10 + 10))] ?? '';
        try {
          if (await store.consume(keyOf(id), NOW)) consumed.set(id, (consumed.get(id) ?? 0) + 1);
          else assert.ok(await store.find(keyOf(id), NOW), id);
        } catch (error) {
          assert.ok(error instanceof IssuerError, String(error));
          assert.equal(error.code, 'temporarily_unavailable', error.detail);
          assert.equal(error.retryAfterSeconds, 1);
          faults.add(error.detail);
          await sleep(20);
        }
      }
    };
    const workers = Array.from({ length: 20 }, worker);
    for (const mode of ['fast', 'immediate'] as const) {
      await sleep(300);
      await server.stop(mode);
      await sleep(300);
      await server.start();
    }
    await sleep(500);
    const before = consumed.size;
    isOver = true;
    await Promise.all(workers);
    await store.upsert(keyOf('after'), { payload: {} });
    assert.ok(before > 0 && faults.size > 0);
    assert.deepEqual(
      [...consumed.values()].filter((times) => times !== 1),
      [],
    );
    t.diagnostic(`${consumed.size} consumed; ${[...faults].slice(0, 8).join(' | ')}`);
  });

  test('a server that hangs is a fault in time, and other calls go on when it wakes', async (t) => {
    const url = await server.createDatabase();
    const store = await opened(t, url, { maxConnections: 2 });
    const name = new URL(url).pathname.slice(1);
    await store.insert(keyOf('a'), { payload: {} }, NOW);
    const holder = new pg.Client({ connectionString: url });
    await holder.connect();
    t.after(() => holder.end());
    await holder.query('BEGIN');
    await holder.query('SELECT * FROM mintmark.records FOR UPDATE');
    const begunAt = performance.now();
    await assert.rejects(
      store.consume(keyOf('a'), NOW),
      refusal('temporarily_unavailable', /statement timeout/),
    );
    assert.ok(performance.now() - begunAt < 9_000);
    await holder.query('ROLLBACK');
    assert.equal(await store.consume(keyOf('a'), NOW), true);
    assert.ok(name);
  });

  suite('keys', () => {
    test('a change is heard by the others, also after the server was restarted', async (t) => {
      const url = await server.createDatabase();
      const context = storeContext();
      const [one, two] = [await openKeys(blockOf(url), context), await openKeys(blockOf(url), context)];
      t.after(() => Promise.all([one.close(), two.close()]));
      let heard = 0;
      const stop = two.watch!('ring', () => heard++);
      t.after(stop);
      const hears = async (act: () => Promise<unknown>) => {
        const had = heard;
        await act();
        for (let waited = 0; heard === had; waited += 5) {
          assert.ok(waited < 10_000, 'nothing was heard');
          await sleep(5);
        }
      };
      await hears(async () => undefined);
      let version: string | undefined;
      const begunAt = performance.now();
      await hears(async () => {
        version = await one.write('ring', Buffer.from('1'), undefined);
      });
      t.diagnostic(`heard after ${Math.round(performance.now() - begunAt)} ms`);
      await one.write('other', Buffer.from('1'), undefined);
      await hears(async () => {
        await server.stop('immediate');
        await server.start();
      });
      assert.match(context.warnings.join('\n'), /until it is listened to again/);
      await hears(async () => {
        version = await one.write('ring', Buffer.from('2'), version);
      });
      assert.deepEqual(Buffer.from((await two.read('ring'))!.bytes), Buffer.from('2'));
    });

    test('an older copy that was put back is refused until a restart', async (t) => {
      const url = await server.createDatabase();
      const name = new URL(url).pathname.slice(1);
      const store = await openKeys(blockOf(url), storeContext());
      t.after(() => store.close());
      const first = await store.write('ring', Buffer.from('1'), undefined);
      await server.sql('CREATE TABLE copy AS SELECT * FROM mintmark.documents', name);
      const second = await store.write('ring', Buffer.from('2'), first);
      await server.sql('DELETE FROM mintmark.documents', name);
      await assert.rejects(
        store.read('ring'),
        refusal('server_error', /has lost its document ring, which was at version 2/),
      );
      await server.sql('INSERT INTO mintmark.documents SELECT * FROM copy', name);
      await assert.rejects(
        store.read('ring'),
        refusal('server_error', /has version 1 of ring, but version 2 was seen/),
      );
      await assert.rejects(store.write('ring', Buffer.from('3'), second), refusal('conflict'));
      await server.sql(`UPDATE mintmark.documents SET version = 2, bytes = 'x'`, name);
      await assert.rejects(store.write('ring', Buffer.from('3'), second), refusal('conflict'));
      const again = await openKeys(blockOf(url), storeContext());
      t.after(() => again.close());
      assert.deepEqual(Buffer.from((await again.read('ring'))!.bytes), Buffer.from('x'));
    });
  });
});
