import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import type { IssuerError } from '../../src/core/errors.ts';
import type { Files } from '../../src/stores/durable.ts';
import { open } from '../../src/stores/file.ts';
import { refusal } from '../conformance/key-store.ts';
import { scratch, storeContext } from './context.ts';
import { errno, filesWith } from './faulty-files.ts';
import { isMissing } from './requires.ts';

const context = storeContext();
const OLD = Buffer.alloc(5000, 'old');
const NEW = Buffer.alloc(5000, 'new');

async function oldDocument(t: TestContext): Promise<string> {
  const directory = await scratch(t);
  const store = await open(directory, context);
  await store.write('ring', OLD, undefined);
  await store.close();
  return directory;
}

/** The calls that one write makes, as "call file". */
async function callsOfWrite(t: TestContext): Promise<string[]> {
  const directory = await oldDocument(t);
  const calls: string[] = [];
  const files = filesWith((call, file) => calls.push(`${call} ${file.replace(/^mintmark-.*/, 'DIRECTORY')}`));
  const store = await open(directory, context, files);
  calls.length = 0;
  await store.write('ring', NEW, '1');
  await store.close();
  return calls;
}

/** Files whose calls pass until `arm`; from then on the one numbered `at` fails, and with `forGood` all after it. */
function failingFiles(
  at: number,
  fault: () => Error,
  forGood: boolean,
): { files: Files; arm(): void; mend(): void } {
  let armed = false;
  let count = 0;
  const files = filesWith(() => {
    if (!armed) return;
    const now = count++;
    if (now === at || (forGood && now > at)) throw fault();
  });
  return {
    files,
    arm() {
      armed = true;
    },
    mend() {
      armed = false;
    },
  };
}

suite('file store: faults', () => {
  test('bytes are on the disk before their name is, and the document before its counter', async (t) => {
    const calls = (await callsOfWrite(t)).filter((call) => /^(writeFile|sync|rename) /.test(call));
    assert.deepEqual(calls, [
      'writeFile ring.sealed.tmp',
      'sync ring.sealed.tmp',
      'writeFile ring.counter.tmp',
      'sync ring.counter.tmp',
      'rename ring.sealed.tmp',
      'sync DIRECTORY',
      'rename ring.counter.tmp',
      'sync DIRECTORY',
    ]);
  });

  test('a crash before any call leaves the old document or the new one, and the next write works', async (t) => {
    const calls = await callsOfWrite(t);
    const found = { old: 0, new: 0, completed: 0 };
    for (let at = 0; at < calls.length; at++) {
      const directory = await oldDocument(t);
      const crash = failingFiles(at, () => new Error('crashed'), true);
      const doomed = await open(directory, context, crash.files);
      crash.arm();
      await assert.rejects(doomed.write('ring', NEW, '1'), /crashed/, calls[at]!);
      await doomed.close();

      const before = await fs.readFile(join(directory, 'ring.counter'), 'utf8');
      const store = await open(directory, context);
      const document = await store.read('ring');
      assert.ok(document, calls[at]!);
      const isNew = document.version === '2';
      found[isNew ? 'new' : 'old']++;
      if (isNew && before === '1\n') found.completed++;
      assert.deepEqual(Buffer.from(document.bytes), isNew ? NEW : OLD, calls[at]!);
      await store.write('ring', Buffer.from('after'), document.version);
      assert.deepEqual((await fs.readdir(directory)).sort(), ['lock', 'ring.counter', 'ring.sealed']);
      await store.close();
    }
    for (const [what, times] of Object.entries(found)) assert.ok(times > 0, `never: ${what}`);
  });

  for (const code of ['EIO', 'ENOSPC', 'EROFS', 'EDQUOT', 'EMFILE']) {
    test(`${code} at any call is a fault, not a loss; the same store goes on when it is over`, async (t) => {
      const calls = await callsOfWrite(t);
      const firstRename = calls.findIndex((call) => call.startsWith('rename'));
      for (let at = 0; at < calls.length; at++) {
        const directory = await oldDocument(t);
        const faulty = failingFiles(at, () => errno(code), false);
        const store = await open(directory, context, faulty.files);
        faulty.arm();
        await assert.rejects(
          store.write('ring', NEW, '1'),
          (error) =>
            refusal('temporarily_unavailable', new RegExp(code))(error) &&
            (error as IssuerError).cause !== undefined,
          calls[at]!,
        );
        faulty.mend();
        const found = await store.read('ring');
        if (at <= firstRename) assert.equal(found!.version, '1', calls[at]!);
        assert.deepEqual(Buffer.from(found!.bytes), found!.version === '2' ? NEW : OLD, calls[at]!);
        await store.write('ring', Buffer.from('after'), found!.version);
        assert.deepEqual((await fs.readdir(directory)).sort(), ['lock', 'ring.counter', 'ring.sealed']);
        await store.close();
      }
    });
  }

  test('a first write that fails at any call leaves nothing or a whole document', async (t) => {
    for (let at = 0; at < 40; at++) {
      const directory = await scratch(t);
      const crash = failingFiles(at, () => errno('EIO'), true);
      const doomed = await open(directory, context, crash.files);
      crash.arm();
      const failed = await doomed.write('ring', NEW, undefined).then(
        () => false,
        () => true,
      );
      await doomed.close();
      if (!failed) return;
      const store = await open(directory, context);
      const found = await store.read('ring');
      if (found) assert.deepEqual(Buffer.from(found.bytes), NEW);
      await store.write('ring', NEW, found?.version);
      await store.close();
    }
    assert.fail('the write never succeeded');
  });

  test('a read that must complete a write, and cannot, gives nothing', async (t) => {
    const directory = await oldDocument(t);
    await fs.rm(join(directory, 'ring.counter'));
    let full = true;
    const files = filesWith((call) => {
      if (full && call === 'writeFile') throw errno('ENOSPC');
    });
    const store = await open(directory, context, files);
    t.after(() => store.close());
    await assert.rejects(store.read('ring'), refusal('temporarily_unavailable', /ENOSPC/));
    full = false;
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), OLD);
  });

  test('a fault that is a mistake of ours is not dressed up as one of the disk', async (t) => {
    const directory = await oldDocument(t);
    const broken = failingFiles(0, () => new TypeError('mistake'), false);
    const store = await open(directory, context, broken.files);
    t.after(() => store.close());
    broken.arm();
    await assert.rejects(store.read('ring'), TypeError);
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), OLD);
  });

  test('a disk that is really full or read-only keeps the old document', async (t) => {
    const disk = await mountTiny(t);
    if (disk === undefined) return;
    const directory = join(disk, 'keys');
    const store = await open(directory, context);
    t.after(() => store.close());
    const version = await store.write('ring', OLD, undefined);
    await fillUp(join(disk, 'filler'));

    await assert.rejects(store.write('ring', NEW, version), refusal('temporarily_unavailable', /ENOSPC/));
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), OLD);
    assert.deepEqual((await fs.readdir(directory)).sort(), ['lock', 'ring.counter', 'ring.sealed']);
    await fs.rm(join(disk, 'filler'));
    const second = await store.write('ring', NEW, version);

    execFileSync('mount', ['-o', 'remount,ro', disk]);
    await assert.rejects(store.write('ring', OLD, second), refusal('temporarily_unavailable', /EROFS/));
    assert.deepEqual(Buffer.from((await store.read('ring'))!.bytes), NEW);
    await store.close();
    const restarted = await open(directory, context);
    t.after(() => restarted.close());
    assert.deepEqual(Buffer.from((await restarted.read('ring'))!.bytes), NEW);
  });
});

/** A file system of 64 KiB of our own; undefined, with the test skipped, where that cannot be had. */
async function mountTiny(t: TestContext): Promise<string | undefined> {
  if (isMissing(t, context.uid === 0, 'mounting a full disk needs root')) return undefined;
  const path = await fs.mkdtemp(join(tmpdir(), 'mintmark-disk-'));
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'mintmark-test', path], { stdio: 'pipe' });
  } catch (error) {
    await fs.rmdir(path);
    isMissing(t, false, `this machine lets root mount nothing: ${(error as Error).message}`);
    return undefined;
  }
  t.after(async () => {
    execFileSync('umount', ['-l', path]);
    await fs.rmdir(path);
  });
  return path;
}

async function fillUp(path: string): Promise<void> {
  const handle = await fs.open(path, 'w');
  try {
    for (;;) await handle.write(Buffer.alloc(4096));
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && error.code === 'ENOSPC');
  } finally {
    await handle.close();
  }
}
