import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import type { RecordStore } from '../../src/core/records.ts';
import { recordStores } from '../../src/stores/records.ts';
import { config, open } from '../../src/stores/sqlite.ts';
import { refusal } from '../conformance/key-store.ts';
import { recordStoreSuite } from '../conformance/record-store.ts';
import { scratch, storeContext } from './context.ts';

const NOW = 1_800_000_000;
const keyOf = (id: string) => ({ realm: 'acme', model: 'Code', id });

recordStoreSuite('sqlite', async (t) => open(join(await scratch(t), 'records.sqlite'), storeContext()));
recordStoreSuite('sqlite in memory', () => open(':memory:', storeContext()));

async function filed(t: TestContext): Promise<{ readonly path: string; readonly store: RecordStore }> {
  const path = join(await scratch(t), 'deep', 'records.sqlite');
  const store = await open({ path }, storeContext());
  t.after(() => store.close());
  return { path, store };
}

suite('sqlite: its file', () => {
  test('is ours alone, in a directory that is made, and is found again', async (t) => {
    const { path, store } = await filed(t);
    await store.upsert(keyOf('a'), { payload: { n: 1 } });
    assert.equal((await fs.stat(join(path, '..'))).mode & 0o7777, 0o700);
    for (const each of [path, `${path}-wal`, `${path}-shm`])
      assert.equal((await fs.stat(each)).mode & 0o7777, 0o600);
    await store.close();
    assert.deepEqual(await fs.readdir(join(path, '..')), ['records.sqlite']);
    const again = await open(path, storeContext());
    t.after(() => again.close());
    assert.deepEqual(await again.find(keyOf('a'), NOW), { id: 'a', payload: { n: 1 } });
  });

  test('is refused where others could read or change it', async (t) => {
    const { path, store } = await filed(t);
    await store.close();
    await fs.chmod(path, 0o640);
    await assert.rejects(open(path, storeContext()), refusal('server_error', /chmod 0600/));
    await fs.chmod(path, 0o600);
    await assert.rejects(open(path, { ...storeContext(), uid: 4711 }), refusal('server_error', /chown 4711/));
    await fs.chmod(join(path, '..'), 0o777);
    await assert.rejects(open(path, storeContext()), refusal('server_error', /chmod go-w/));
    await fs.chmod(join(path, '..'), 0o700);
    await fs.symlink(path, `${path}2`);
    await assert.rejects(open(`${path}2`, storeContext()), refusal('server_error', /not a regular file/));
    await assert.rejects(
      open(join(path, 'below'), storeContext()),
      refusal('server_error', /not a directory/),
    );
  });

  test("is refused where it is damaged, another program's or of a newer Mintmark", async (t) => {
    const { path, store } = await filed(t);
    await store.close();
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 99');
    await assert.rejects(
      open(path, storeContext()),
      refusal('server_error', /has schema 99, and this Mintmark knows 1/),
    );
    database.exec('PRAGMA application_id = 7');
    database.close();
    await assert.rejects(open(path, storeContext()), refusal('server_error', /another program/));
    await fs.writeFile(path, 'no database '.repeat(1000));
    await assert.rejects(open(path, storeContext()), refusal('server_error', /not a database.*good copy/));
  });

  test('its settings are a path or {path}', () => {
    for (const block of ['/x/y.sqlite', ':memory:', { path: '/x/y' }])
      assert.deepEqual(v.parse(config, block), block);
    for (const block of ['', 'x', '/x/', ':memory', {}, { path: 'x' }, { path: '/x', more: 1 }])
      assert.ok(!v.safeParse(config, block).success, JSON.stringify(block));
  });

  test('the table loads each store by its name', async () => {
    for (const load of Object.values(recordStores)) {
      const store = await load();
      assert.equal(typeof store.open, 'function');
      assert.equal(typeof store.config, 'object');
    }
  });
});

/** A process that does `job` on the file and tells of each step in a line. */
function work(t: TestContext, job: string, path: string): ChildProcess & { readonly lines: string[] } {
  const program = fileURLToPath(new URL('record-worker.ts', import.meta.url));
  const child = spawn(process.execPath, [program, job, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  return Object.assign(child, { lines });
}

test('sqlite: what was removed is on no page of the file any more', async (t) => {
  const { path, store } = await filed(t);
  const key = { realm: 'r', model: 'User', id: 'ada' };
  await store.upsert(key, { payload: { hash: 'scrypt-of-ada'.repeat(100) } });
  await store.remove(key);
  await store.close();
  assert.doesNotMatch(readFileSync(path, 'latin1'), /scrypt-of-ada/);
});

suite('sqlite: the disk', () => {
  /** Every file's datasync. */
  async function mockSync(t: TestContext, sync: () => Promise<void>) {
    const handle = await fs.open('/dev/null');
    t.after(() => handle.close());
    return t.mock.method(Object.getPrototypeOf(handle), 'datasync', sync);
  }

  test('is waited for before a change is answered, once for all that wait', async (t) => {
    const { store } = await filed(t);
    let synced = 0;
    const mock = await mockSync(t, async () => {
      await sleep(20);
      synced++;
    });
    await store.upsert(keyOf('a'), { payload: {} });
    assert.equal(synced, 1);
    await Promise.all(
      Array.from({ length: 50 }, async (_, n) => {
        await sleep(n % 3);
        const had = synced;
        await store.insert(keyOf(`${n}`), { payload: {} }, NOW);
        assert.ok(synced > had);
      }),
    );
    assert.ok(mock.mock.callCount() < 10, `${mock.mock.callCount()} syncs`);
    const count = mock.mock.callCount();
    await store.find(keyOf('a'), NOW);
    await store.insert(keyOf('a'), { payload: {} }, NOW);
    assert.equal(mock.mock.callCount(), count, 'what changes nothing waits for nothing');
  });

  test('that fails once is not trusted again', async (t) => {
    const { store } = await filed(t);
    const mock = await mockSync(t, async () => {
      throw Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' });
    });
    const fault = refusal('temporarily_unavailable', /EIO.*until a restart/);
    await assert.rejects(store.upsert(keyOf('a'), { payload: {} }), fault);
    mock.mock.restore();
    await assert.rejects(store.upsert(keyOf('b'), { payload: {} }), fault);
    await assert.rejects(store.find(keyOf('a'), NOW), fault);
  });
});

suite('sqlite: several processes', () => {
  test('that start at once and consume the same records share them out', async (t) => {
    const path = join(await scratch(t), 'records.sqlite');
    const workers = [1, 2, 3].map(() => work(t, 'consume', path));
    const ends = await Promise.all(workers.map((worker) => once(worker, 'close')));
    assert.deepEqual(
      ends.map(([code]) => code),
      [0, 0, 0],
    );
    const consumed = workers.flatMap(({ lines }) => lines);
    assert.equal(consumed.length, 200);
    assert.equal(new Set(consumed).size, 200);
  });

  test('one that is killed as it writes leaves all or nothing, and loses nothing that it told of', async (t) => {
    const path = join(await scratch(t), 'records.sqlite');
    for (let round = 1; round <= 5; round++) {
      const worker = work(t, 'write', path);
      while (worker.lines.length < 20 * round) await sleep(1);
      await sleep(Math.random() * 20);
      worker.kill('SIGKILL');
      await once(worker, 'close');
      const store = await open(path, storeContext());
      for (const line of worker.lines) {
        const found = await store.find(keyOf(line), NOW);
        assert.equal(found?.consumedAt, NOW, line);
      }
      for (const { payload } of await store.list({ realm: 'acme', model: 'Code' }, { limit: 100_000 }, NOW))
        assert.equal(payload.end, payload.begin);
      await store.close();
      const database = new DatabaseSync(path);
      assert.deepEqual({ ...database.prepare('PRAGMA integrity_check').get() }, { integrity_check: 'ok' });
      database.close();
    }
  });
});

test('sqlite: each statement takes the index that was made for it', async (t) => {
  const { path, store } = await filed(t);
  await store.close();
  const database = new DatabaseSync(path);
  t.after(() => database.close());
  const planOf = (sql: string) =>
    database
      .prepare(`EXPLAIN QUERY PLAN ${sql}`)
      .all()
      .map(({ detail }) => detail)
      .join('\n');
  const plan = planOf('DELETE FROM records INDEXED BY records_family WHERE family = ? AND realm = ?');
  assert.match(plan, /SEARCH records USING (COVERING )?INDEX records_family \(family=\?/);
  assert.match(planOf('DELETE FROM records WHERE realm = ?'), /PRIMARY KEY \(realm=\?\)/);
});
