import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { open } from '../../src/stores/file.ts';
import { decodeKek, loadKek } from '../../src/stores/kek.ts';
import { sealStore } from '../../src/stores/sealed.ts';
import { refusal } from '../conformance/key-store.ts';
import { scratch, storeContext } from './context.ts';

const KEK = randomBytes(32);

async function keyFile(t: TestContext, bytes: string | Uint8Array, mode = 0o400): Promise<string> {
  const path = join(await scratch(t), 'kek');
  await fs.writeFile(path, bytes);
  await fs.chmod(path, mode);
  return path;
}

suite('key-encryption key: its forms', () => {
  test('raw, hexadecimal and base64, the texts with or without a newline', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
        const key = Buffer.from(bytes);
        assert.deepEqual(decodeKek(key), key);
        for (const text of [key.toString('hex'), key.toString('hex').toUpperCase(), key.toString('base64')]) {
          for (const end of ['', '\n', '\r\n']) {
            assert.deepEqual(decodeKek(Buffer.from(text + end, 'latin1')), key, JSON.stringify(text + end));
          }
        }
      }),
    );
  });

  test('anything else is refused', () => {
    const hex = KEK.toString('hex');
    const base64 = KEK.toString('base64');
    const wrong = [
      '',
      '\n',
      hex.slice(1),
      `${hex}\n\n`,
      ` ${hex}`,
      `${hex.slice(1)}g`,
      base64.slice(0, 43),
      `${base64}=`,
      `${base64.slice(0, 42)}==`,
      base64.replace(/.=$/, '1='), // the last digit's two spare bits are set
      `${base64.slice(0, 20)}-${base64.slice(21)}`,
      `${base64.slice(0, 20)}=${base64.slice(21)}`,
      'x'.repeat(31),
      'x'.repeat(33),
      `${'x'.repeat(32)}\n`,
    ];
    for (const text of wrong)
      assert.equal(decodeKek(Buffer.from(text, 'latin1')), undefined, JSON.stringify(text));
  });

  test('any bytes give 32 bytes or nothing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        const length = decodeKek(Buffer.from(bytes))?.length;
        assert.ok(length === undefined || length === 32);
      }),
    );
  });
});

suite('key-encryption key: from a file', () => {
  for (const mode of [0o400, 0o600]) {
    test(`mode ${mode.toString(8)} is taken without a word`, async (t) => {
      const context = storeContext();
      const file = await keyFile(t, KEK.toString('base64'), mode);
      assert.deepEqual(await loadKek({ file }, context), KEK);
      assert.deepEqual(context.warnings, []);
    });
  }

  test('mode 440 is taken with a warning', async (t) => {
    const context = storeContext();
    const file = await keyFile(t, KEK, 0o440);
    assert.deepEqual(await loadKek({ file }, context), KEK);
    assert.match(context.warnings.join(), /readable by its group/);
  });

  test('mode 440 of another user, by whose group we read it, is taken without a word', async (t) => {
    const file = await keyFile(t, KEK, 0o440);
    const { gid } = await fs.stat(file);
    const other = { ...storeContext(), uid: process.geteuid!() + 1 };
    const found: string[] = [];
    const warn = (message: string) => void found.push(message);
    assert.deepEqual(await loadKek({ file }, { ...other, warn, gids: [gid + 1, gid] }), KEK);
    assert.deepEqual(found, []);
    await loadKek({ file }, { ...other, warn, gids: [gid + 1] });
    assert.equal(found.length, 1);
  });

  for (const mode of [0o404, 0o444, 0o620, 0o644, 0o602, 0o666]) {
    test(`mode ${mode.toString(8)} is refused`, async (t) => {
      const file = await keyFile(t, KEK, mode);
      await assert.rejects(
        loadKek({ file }, storeContext()),
        refusal('server_error', /open to others .*chmod 0400/),
      );
    });
  }

  test('a link is followed, as Kubernetes shows secrets', async (t) => {
    const file = await keyFile(t, KEK);
    await fs.symlink(file, `${file}-link`);
    assert.deepEqual(await loadKek({ file: `${file}-link` }, storeContext()), KEK);
  });

  test('a missing, foreign or unreadable file is named, its content never', async (t) => {
    const directory = await scratch(t);
    const context = storeContext();
    await assert.rejects(
      loadKek({ file: join(directory, 'absent') }, context),
      refusal('server_error', /ENOENT.*absent/),
    );
    await assert.rejects(loadKek({ file: directory }, context), refusal('server_error', /is not a file/));
    const secret = 'hunter2-hunter2';
    const file = await keyFile(t, secret);
    await assert.rejects(
      loadKek({ file }, context),
      (error) =>
        refusal('server_error', /kek must hold 32 raw bytes/)(error) && !String(error).includes(secret),
    );
    const large = await keyFile(t, Buffer.alloc(100_000, 'a'));
    await assert.rejects(loadKek({ file: large }, context), refusal('server_error', /must hold/));
  });
});

suite('key-encryption key: from a systemd credential', () => {
  test('is read from the directory that systemd names, whatever its mode', async (t) => {
    const file = await keyFile(t, KEK, 0o444);
    const context = storeContext();
    const source = { credential: 'kek', directory: join(file, '..') };
    assert.deepEqual(await loadKek(source, context), KEK);
    assert.deepEqual(context.warnings, []);
  });

  test('without the directory it says what is missing', async () => {
    const source = { credential: 'kek', directory: undefined };
    await assert.rejects(
      loadKek(source, storeContext()),
      refusal('server_error', /CREDENTIALS_DIRECTORY is not set.*LoadCredential/),
    );
  });

  test('a name does not lead out of the directory', async (t) => {
    const directory = join(await keyFile(t, KEK), '..');
    for (const credential of ['../kek', '..', '.', '', 'a/b', '/etc/passwd']) {
      await assert.rejects(
        loadKek({ credential, directory }, storeContext()),
        refusal('server_error', /not the name/),
      );
    }
  });
});

suite('key-encryption key: generated', () => {
  test('is made once, mode 0600, with a warning each time', async (t) => {
    const path = join(await scratch(t), 'kek');
    const context = storeContext();
    const made = await loadKek({ generate: path }, context);
    assert.equal(made.length, 32);
    assert.equal((await fs.stat(path)).mode & 0o7777, 0o600);
    assert.deepEqual(await loadKek({ generate: path }, context), made);
    assert.equal(context.warnings.length, 2);
    assert.match(context.warnings[0]!, /lies beside the keys that it protects/);
    assert.deepEqual(await fs.readdir(join(path, '..')), ['kek']);
  });

  test('is never made anew beside sealed documents', async (t) => {
    const directory = await scratch(t);
    const generate = join(directory, 'kek');
    const context = storeContext();
    const inner = await open(directory, context);
    t.after(() => inner.close());
    const kek = await loadKek({ generate }, context);
    await sealStore(inner, kek, 'https://id.example.com').write('ring', Buffer.from('one'), undefined);

    await fs.rename(generate, `${generate}-away`);
    await assert.rejects(
      loadKek({ generate }, context),
      refusal('server_error', /kek is missing, but .*ring\.\w+ was sealed with it/),
    );
    await fs.rm(join(directory, 'ring.sealed'));
    await assert.rejects(loadKek({ generate }, context), refusal('server_error', /is missing/));
    await fs.rename(`${generate}-away`, generate);
    assert.deepEqual(await loadKek({ generate }, context), kek);
  });

  test('one that was cut off is not replaced', async (t) => {
    const path = await keyFile(t, '', 0o600);
    await assert.rejects(loadKek({ generate: path }, storeContext()), refusal('server_error', /must hold/));
    assert.equal((await fs.stat(path)).size, 0);
  });

  test('the directory must be there', async (t) => {
    const path = join(await scratch(t), 'absent', 'kek');
    await assert.rejects(loadKek({ generate: path }, storeContext()), refusal('server_error', /ENOENT/));
  });
});
