import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { O_PATH } from '../../src/attestors/executable.ts';
import { type HasherOptions, openHasher } from '../../src/attestors/hash.ts';
import { canUnshare, mountFuse } from '../attack/program.ts';
import { createDirectory } from '../attack/server.ts';
import { isMissing } from '../stores/requires.ts';

const MIB = 1024 * 1024;

function open(t: TestContext, options: Partial<HasherOptions> = {}) {
  const hasher = openHasher({ maxBytes: 512 * MIB, timeoutSeconds: 20, elapsed: () => 0, ...options });
  t.after(() => hasher.close());
  const hash = async (path: string, owner = 1) => {
    const fd = openSync(path, O_PATH);
    try {
      return await hasher.hash(fd, owner);
    } finally {
      closeSync(fd);
    }
  };
  return { hash, hasher };
}

function makeFile(t: TestContext, bytes: Buffer | string): string {
  const path = join(createDirectory(t), 'file');
  writeFileSync(path, bytes);
  return path;
}

/** Long enough for a file's change to count as settled. */
const settle = () => setTimeout(150);

const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');
const bytesRead = () => Number(/rchar: (\d+)/.exec(readFileSync('/proc/self/io', 'latin1'))?.[1]);

test('the digest is that of the whole file', async (t) => {
  const { hash } = open(t);
  for (const size of [0, 1, MIB - 1, MIB, 3 * MIB + 7]) {
    const path = makeFile(t, Buffer.alloc(size, 'x'));
    assert.deepEqual(await hash(path), { sha256: sha256(path) });
  }
});

test('a hundred callers at once make one job, and those after it none', async (t) => {
  const { hash } = open(t);
  const path = makeFile(t, Buffer.alloc(20 * MIB, 'x'));
  const expected = sha256(path);
  await settle();
  const before = bytesRead();
  const results = await Promise.all(Array.from({ length: 100 }, () => hash(path)));
  results.push(await hash(path));
  const read = bytesRead() - before;
  for (const result of results) assert.deepEqual(result, { sha256: expected });
  assert.ok(read >= 20 * MIB && read < 30 * MIB, `${read} bytes were read`);
});

test('a digest is remembered for ten minutes', async (t) => {
  let now = 0;
  const { hash } = open(t, { elapsed: () => now });
  const path = makeFile(t, Buffer.alloc(5 * MIB, 'x'));
  await settle();
  await hash(path);
  const readAt = async (elapsed: number) => {
    now = elapsed;
    const before = bytesRead();
    await hash(path);
    return bytesRead() - before;
  };
  assert.ok((await readAt(599)) < MIB);
  assert.ok((await readAt(601)) >= 5 * MIB);
  assert.ok((await readAt(602)) < MIB);
});

test('a file that was just changed is not remembered', async (t) => {
  const { hash } = open(t);
  const path = makeFile(t, Buffer.alloc(5 * MIB, 'x'));
  await settle();
  chmodSync(path, 0o600);
  await hash(path);
  const before = bytesRead();
  await hash(path);
  assert.ok(bytesRead() - before >= 5 * MIB);
});

test('a file that changes before or while it is read has no digest', async (t) => {
  const { hash } = open(t);
  const path = makeFile(t, 'good');
  const pending = hash(path);
  writeFileSync(path, 'evil');
  assert.deepEqual(await pending, { unproven: 'exe_changed' });
});

test('a file that grows before it is read is not read', async (t) => {
  const { hash } = open(t, { maxBytes: MIB });
  const path = makeFile(t, 'small');
  const before = bytesRead();
  const pending = hash(path);
  writeFileSync(path, Buffer.alloc(50 * MIB));
  assert.deepEqual(await pending, { unproven: 'exe_changed' });
  assert.ok(bytesRead() - before < 10 * MIB);
});

test('a file over the limit is not read at all', async (t) => {
  const { hash } = open(t, { maxBytes: 4 * MIB });
  const path = makeFile(t, Buffer.alloc(4 * MIB + 1));
  const before = bytesRead();
  assert.deepEqual(await hash(path), { unproven: 'exe_too_large' });
  assert.ok(bytesRead() - before < MIB);
  const atLimit = makeFile(t, Buffer.alloc(4 * MIB));
  assert.ok('sha256' in (await hash(atLimit)));
});

test('one user cannot fill the queue, and the others go on', async (t) => {
  const { hash } = open(t);
  const files = Array.from({ length: 6 }, (_, index) => makeFile(t, Buffer.alloc(2 * MIB, index)));
  const own = await Promise.allSettled(files.map((path) => hash(path, 1)));
  assert.deepEqual(
    own.map((result) => (result.status === 'rejected' ? result.reason.code : 'done')),
    ['done', 'done', 'done', 'done', 'temporarily_unavailable', 'temporarily_unavailable'],
  );
  const pending = files.slice(0, 4).map((path) => hash(path, 1));
  assert.ok('sha256' in (await hash(files[5] ?? '', 2)));
  await Promise.all(pending);
});

test('a file that hangs keeps only those waiting who ask for it', async (t) => {
  if (isMissing(t, canUnshare && existsSync('/dev/fuse'), 'takes root, the right to mount and /dev/fuse'))
    return;
  const { prog, daemon } = await mountFuse(t, '/bin/sleep');
  statSync(prog);
  const { hash } = open(t, { timeoutSeconds: 1.5 });
  daemon.process.kill('SIGSTOP');
  const hanging = hash(prog, 1);
  const other = makeFile(t, Buffer.alloc(MIB));
  const early = hash(other, 2);
  await assert.rejects(hanging, { code: 'temporarily_unavailable' });
  assert.ok('sha256' in (await early));
  assert.ok('sha256' in (await hash(makeFile(t, 'another'), 2)));
  await assert.rejects(hash(prog, 3), { code: 'temporarily_unavailable' });
  daemon.process.kill('SIGCONT');
  // The work went on: it is there for the next caller.
  let result: unknown;
  while (!result) result = await hash(prog, 3).catch(() => undefined);
  assert.deepEqual(result, { sha256: sha256('/bin/sleep') });
});

test('closing ends those who wait and gives every descriptor back', async (t) => {
  const { hash, hasher } = open(t);
  await hash(makeFile(t, 'x'));
  const before = readdirSync('/proc/self/fd').length;
  const pending = hash(makeFile(t, Buffer.alloc(50 * MIB)));
  await hasher.close();
  await assert.rejects(pending, { code: 'temporarily_unavailable' });
  // The thread that was busy ends in its own time.
  while (readdirSync('/proc/self/fd').length > before) await setTimeout(5);
});
