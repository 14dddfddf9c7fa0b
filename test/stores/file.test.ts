import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import * as v from 'valibot';
import type { KeyStore } from '../../src/core/key-ports.ts';
import { config, open } from '../../src/stores/file.ts';
import { stores } from '../../src/stores/index.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { keyStoreSuite, refusal } from '../conformance/key-store.ts';
import { scratch, storeContext } from './context.ts';

const ISSUER = 'https://id.example.com';

keyStoreSuite('file', async (t) => open(await scratch(t), storeContext()));
keyStoreSuite('sealed in a file', async (t) =>
  sealStore(await open({ path: await scratch(t) }, storeContext()), randomBytes(32), ISSUER),
);

/** A store with "ring" at version 3, closed, and the paths of its files. */
async function written(t: TestContext) {
  const directory = await scratch(t);
  const store = await open(directory, storeContext());
  let version: string | undefined;
  for (const text of ['one', 'two', 'three']) version = await store.write('ring', Buffer.from(text), version);
  await store.close();
  return { directory, document: join(directory, 'ring.sealed'), counter: join(directory, 'ring.counter') };
}

async function reopened(t: TestContext, directory: string): Promise<KeyStore> {
  const store = await open(directory, storeContext());
  t.after(() => store.close());
  return store;
}

/** Neither reading nor writing "ring" goes on; both say why. */
async function assertRefused(t: TestContext, directory: string, detail: RegExp): Promise<void> {
  const store = await reopened(t, directory);
  await assert.rejects(store.read('ring'), refusal('server_error', detail));
  for (const expected of [undefined, '2', '3', '4']) {
    await assert.rejects(store.write('ring', Buffer.from('new'), expected), refusal('server_error', detail));
  }
  await store.close();
}

suite('file store: its files', () => {
  test('a restart finds what was written and goes on counting', async (t) => {
    const { directory } = await written(t);
    const store = await reopened(t, directory);
    const found = await store.read('ring');
    assert.deepEqual(Buffer.from(found!.bytes), Buffer.from('three'));
    const next = await store.write('ring', Buffer.from('four'), found!.version);
    assert.notEqual(next, found!.version);
  });

  test('the directory is made for us alone, with the files mode 0600 and nothing left over', async (t) => {
    const directory = join(await scratch(t), 'a', 'b');
    const store = await reopened(t, directory);
    await store.write('ring', Buffer.from('one'), undefined);
    assert.equal((await fs.stat(directory)).mode & 0o7777, 0o700);
    const names = (await fs.readdir(directory)).sort();
    assert.deepEqual(names, ['lock', 'ring.counter', 'ring.sealed']);
    for (const name of names) {
      assert.equal((await fs.stat(join(directory, name))).mode & 0o7777, 0o600, name);
    }
  });

  test('what a killed writer left is swept at open, anything else is left alone', async (t) => {
    const { directory } = await written(t);
    await fs.writeFile(join(directory, 'ring.sealed.tmp'), 'half');
    await fs.writeFile(join(directory, 'ring.counter.tmp'), '');
    await fs.writeFile(join(directory, 'notes.tmp'), 'mine');
    const store = await reopened(t, directory);
    assert.deepEqual((await fs.readdir(directory)).sort(), [
      'lock',
      'notes.tmp',
      'ring.counter',
      'ring.sealed',
    ]);
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), Buffer.from('three'));
  });

  test('the configuration is a path or {path}', () => {
    assert.equal(v.parse(config, '/var/lib/mintmark'), '/var/lib/mintmark');
    assert.deepEqual(v.parse(config, { path: '/x' }), { path: '/x' });
    for (const wrong of [
      '',
      {},
      { path: '' },
      { path: '/x', mode: '0700' },
      7,
      null,
      'state',
      '/a/../b',
      '/a//b',
      '/a/',
    ]) {
      assert.ok(!v.safeParse(config, wrong).success, JSON.stringify(wrong));
    }
  });

  test('the table loads each store by its name', async () => {
    for (const load of Object.values(stores)) {
      const store = await load();
      assert.equal(typeof store.open, 'function');
      assert.equal(typeof store.config, 'object');
    }
  });
});

suite('file store: an unsafe directory is refused', () => {
  const context = storeContext();

  test('a symbolic link', async (t) => {
    const directory = await scratch(t);
    await fs.symlink(directory, join(directory, 'link'));
    await assert.rejects(open(join(directory, 'link'), context), refusal('server_error', /symbolic link/));
  });

  test('a file', async (t) => {
    const file = join(await scratch(t), 'file');
    await fs.writeFile(file, 'x');
    await assert.rejects(open(file, context), refusal('server_error', /not a directory/));
    await assert.rejects(open(join(file, 'below'), context), refusal('temporarily_unavailable', /ENOTDIR/));
    assert.equal(await fs.readFile(file, 'utf8'), 'x');
  });

  for (const mode of [0o770, 0o707, 0o1777]) {
    test(`mode ${mode.toString(8)}`, async (t) => {
      const directory = await scratch(t);
      await fs.chmod(directory, mode);
      await assert.rejects(open(directory, context), refusal('server_error', /chmod go-w \//));
      assert.deepEqual(await fs.readdir(directory), []);
    });
  }

  test("another user's", async (t) => {
    const directory = await scratch(t);
    const other = { ...context, uid: context.uid + 1 };
    await assert.rejects(open(directory, other), refusal('server_error', /belongs to uid .*: chown/));
  });

  test('a lock file that is a symbolic link', async (t) => {
    const directory = await scratch(t);
    await fs.symlink('/dev/null', join(directory, 'lock'));
    await assert.rejects(open(directory, context), refusal('server_error', /ELOOP.*lock/));
  });
});

suite('file store: documents that are not the newest', () => {
  test('a file that is cut off anywhere is refused by name', async (t) => {
    const { directory, document } = await written(t);
    const whole = await fs.readFile(document);
    const store = await reopened(t, directory);
    for (let length = 0; length < whole.length; length++) {
      await fs.writeFile(document, whole.subarray(0, length));
      await assert.rejects(store.read('ring'), refusal('server_error', /ring\.sealed is (cut off|damaged)/));
    }
  });

  test('a file with any flipped bit is refused by name', async (t) => {
    const { directory, document } = await written(t);
    const whole = await fs.readFile(document);
    const store = await reopened(t, directory);
    for (let bit = 0; bit < whole.length * 8; bit++) {
      const flipped = Buffer.from(whole);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      await fs.writeFile(document, flipped);
      await assert.rejects(store.read('ring'), refusal('server_error', /ring\.sealed/));
    }
  });

  test('foreign files are refused by name', async (t) => {
    const { directory, document } = await written(t);
    await fs.writeFile(document, '-----BEGIN PRIVATE KEY-----\n');
    await assertRefused(t, directory, /ring\.sealed is no document of Mintmark/);
    await fs.writeFile(document, Buffer.alloc(2 * 1024 * 1024));
    await assertRefused(t, directory, /ring\.sealed has 2097152 bytes/);
    await fs.rm(document);
    await fs.symlink('/etc/passwd', document);
    await assertRefused(t, directory, /ELOOP.*ring\.sealed/);
    await fs.rm(document);
    await fs.mkdir(document);
    await assertRefused(t, directory, /ring\.sealed is not a regular file/);
  });

  test('an older copy is refused', async (t) => {
    const { directory, document } = await written(t);
    const older = await fs.readFile(document);
    const store = await open(directory, storeContext());
    await store.write('ring', Buffer.from('four'), (await store.read('ring'))!.version);
    await store.close();
    await fs.writeFile(document, older);
    await assertRefused(t, directory, /ring\.sealed is version 3, but version 4 was written: an older copy/);
    await fs.writeFile(join(directory, 'ring.counter'), '3\n');
    const accepted = await reopened(t, directory);
    assert.deepEqual(Buffer.from((await accepted.read('ring'))!.bytes), Buffer.from('three'));
  });

  test('a missing document is no new one', async (t) => {
    const { directory, document } = await written(t);
    await fs.rm(document);
    await assertRefused(t, directory, /ring\.sealed is missing, although it was written 3 times/);
  });

  test('a counter that is missing, behind, ahead or damaged is refused', async (t) => {
    const { directory, counter } = await written(t);
    for (const [text, detail] of [
      ['1\n', /version 3, but .*ring\.counter says 1/],
      ['4\n', /an older copy was put back/],
      ['', /ring\.counter is damaged/],
      ['0\n', /ring\.counter is damaged/],
      ['3\n4\n', /ring\.counter is damaged/],
      ['-3', /ring\.counter is damaged/],
      ['3'.repeat(65), /ring\.counter has 65 bytes/],
    ] as const) {
      await fs.writeFile(counter, text);
      await assertRefused(t, directory, detail);
    }
    await fs.rm(counter);
    await assertRefused(t, directory, /version 3, but .*ring\.counter is missing/);
  });

  test('a write that was cut short between its two files is completed', async (t) => {
    const { directory, counter } = await written(t);
    await fs.writeFile(counter, '2\n');
    const store = await reopened(t, directory);
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), Buffer.from('three'));
    assert.equal(await fs.readFile(counter, 'utf8'), '3\n');
  });
});
