import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { suite, type TestContext, test } from 'node:test';
import { open } from '../../src/stores/file.ts';
import { refusal } from '../conformance/key-store.ts';
import { scratch, storeContext } from './context.ts';

const WRITER = new URL('./writer.ts', import.meta.url).pathname;
const context = storeContext();

function startWriter(t: TestContext, directory: string): ChildProcess {
  const child = spawn(process.execPath, [WRITER, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  return child;
}

suite('file store: one process', () => {
  test('a second opener is refused until the first closes', async (t) => {
    const directory = await scratch(t);
    const first = await open(directory, context);
    await assert.rejects(
      open(directory, context),
      refusal('conflict', /another Mintmark uses this directory/),
    );
    await first.write('ring', Buffer.from('one'), undefined);
    await first.close();
    const second = await open(directory, context);
    t.after(() => second.close());
    assert.deepEqual(Buffer.from((await second.read('ring'))!.bytes), Buffer.from('one'));
  });

  test('the lock of a killed process is free at once', async (t) => {
    const directory = await scratch(t);
    const child = startWriter(t, directory);
    await once(child.stdout!, 'data');
    await assert.rejects(open(directory, context), refusal('conflict', /another Mintmark/));
    child.kill('SIGKILL');
    await once(child, 'close');
    const store = await open(directory, context);
    await store.close();
  });

  for (const [title, meddle] of [
    ['deleted', (path: string) => fs.rm(path)],
    ['deleted and made again', (path: string) => fs.rm(path).then(() => fs.writeFile(path, ''))],
    [
      'replaced by a link',
      (path: string) => fs.rename(path, `${path}2`).then(() => fs.symlink('lock2', path)),
    ],
  ] as const) {
    test(`a lock file that was ${title} ends all writing`, async (t) => {
      const directory = await scratch(t);
      const store = await open(directory, context);
      t.after(() => store.close());
      const version = await store.write('ring', Buffer.from('one'), undefined);
      await meddle(join(directory, 'lock'));
      for (const expected of [version, undefined]) {
        await assert.rejects(
          store.write('ring', Buffer.from('two'), expected),
          refusal('server_error', /lock file .* was deleted or replaced/),
        );
      }
      assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), Buffer.from('one'));
      assert.ok(!(await fs.readdir(directory)).some((name) => name.endsWith('.tmp')));
    });
  }

  test('a lock file that is replaced between open and flock is noticed', async (t) => {
    const directory = await scratch(t);
    const lock = (fd: number) => {
      process.getBuiltinModule('node:fs').rmSync(join(directory, 'lock'));
      return context.lock(fd);
    };
    await assert.rejects(open(directory, { ...context, lock }), refusal('server_error', /lock file/));
  });

  test('40 kills at random moments: no torn file and no committed version lost', async (t) => {
    const directory = await scratch(t);
    let committed = 0;
    let cutShort = 0;
    for (let round = 0; round < 40; round++) {
      const child = startWriter(t, directory);
      const lines = createInterface({ input: child.stdout! });
      const writes = 1 + Math.floor(Math.random() * 4);
      let seen = 0;
      lines.on('line', (line) => {
        const [word, version] = line.split(' ');
        if (word !== 'wrote') return;
        committed = Number(version);
        if (++seen === writes) setTimeout(() => child.kill('SIGKILL'), Math.random() * 6);
      });
      await once(child, 'close');

      cutShort += (await fs.readdir(directory)).filter((name) => name.endsWith('.tmp')).length;
      const store = await open(directory, context);
      const found = await store.read('ring');
      const version = Number(found!.version);
      assert.ok(
        version === committed || version === committed + 1,
        `${version} found, ${committed} committed`,
      );
      assert.deepEqual(Buffer.from(found!.bytes), Buffer.alloc(20_000, `${version} `));
      await store.close();
    }
    t.diagnostic(`${committed} versions committed, ${cutShort} left-over files swept`);
  });
});
