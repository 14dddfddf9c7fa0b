import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import fs from 'node:fs/promises';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { connect } from 'node:tls';
import { IssuerError } from '../../src/core/errors.ts';
import { type LoadedTls, loadTls, type TlsFiles, watchTls } from '../../src/net/tls.ts';

const now = () => Math.floor(Date.now() / 1000);

async function scratch(t: TestContext): Promise<string> {
  const path = await fs.mkdtemp(join(tmpdir(), 'mintmark-tls-'));
  t.after(() => fs.rm(path, { recursive: true, force: true }));
  return path;
}

/** A self-signed pair for localhost, by openssl. */
async function makePair(directory: string, name: string, days = 30): Promise<TlsFiles> {
  await fs.mkdir(directory, { recursive: true });
  const files = { certificate: join(directory, 'tls.crt'), key: join(directory, 'tls.key') };
  const args = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days ${days} -subj`.split(' ');
  const out = ['-addext', 'subjectAltName=DNS:localhost', '-out', files.certificate, '-keyout', files.key];
  execFileSync('openssl', [...args, `/CN=${name}`, ...out], { stdio: 'pipe' });
  return files;
}

const refused = (detail: RegExp) => (error: unknown) => {
  assert.ok(error instanceof IssuerError);
  assert.equal(error.code, 'server_error');
  assert.match(error.detail, detail);
  assert.ok(!error.message.includes('PRIVATE KEY'));
  return true;
};

/** Changes and errors of a watch, to be waited for one by one. */
async function watched(t: TestContext, files: TlsFiles, intervalSeconds = 0.02) {
  const events: (LoadedTls | Error)[] = [];
  const arrived = new EventTarget();
  const tell = (event: LoadedTls | Error) => {
    events.push(event);
    arrived.dispatchEvent(new Event('one'));
  };
  const watch = await watchTls(files, {
    now,
    onChange: tell,
    onError: (error) => tell(error as Error),
    intervalSeconds,
  });
  t.after(() => watch.close());
  const next = async () => {
    while (events.length === 0) await once(arrived, 'one');
    return events.shift()!;
  };
  /** The next pair; what is told between the two files of a new pair does not count. */
  const nextPair = async () => {
    for (;;) {
      const event = await next();
      if (!(event instanceof Error)) return event;
    }
  };
  return { watch, next, nextPair, events };
}

suite('TLS files', () => {
  test('a pair is loaded and serves; it says when it ends', async (t) => {
    const files = await makePair(await scratch(t), 'one');
    const loaded = await loadTls(files, now());
    assert.deepEqual(loaded.warnings, []);
    assert.ok(Math.abs(loaded.expiresAt - now() - 30 * 86400) < 3600);
    const server = createServer({ cert: loaded.cert, key: loaded.key }).listen(0, '127.0.0.1');
    t.after(() => server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: loaded.cert });
    await once(socket, 'secureConnect');
    assert.equal(socket.authorized, true);
    socket.destroy();
  });

  test('one that expired or is not valid yet is loaded with a warning', async (t) => {
    const files = await makePair(await scratch(t), 'one', 1);
    const expired = await loadTls(files, now() + 2 * 86400);
    assert.match(expired.warnings.join(), /tls\.crt expired on /);
    const early = await loadTls(files, now() - 2 * 86400);
    assert.match(early.warnings.join(), /tls\.crt is not valid before /);
  });

  test('files that do not belong together are refused', async (t) => {
    const directory = await scratch(t);
    const one = await makePair(join(directory, '1'), 'one');
    const two = await makePair(join(directory, '2'), 'two');
    const mixed = { certificate: one.certificate, key: two.key };
    await assert.rejects(loadTls(mixed, now()), refused(/2\/tls\.key is not the key of the first .*CN=one/));
  });

  test('a chain in the wrong order is refused', async (t) => {
    const directory = await scratch(t);
    const one = await makePair(join(directory, '1'), 'one');
    const two = await makePair(join(directory, '2'), 'two');
    const own = await fs.readFile(one.certificate);
    await fs.writeFile(one.certificate, Buffer.concat([await fs.readFile(two.certificate), own]));
    await assert.rejects(loadTls(one, now()), refused(/must stand first/));
    await fs.writeFile(one.certificate, Buffer.concat([own, await fs.readFile(two.certificate)]));
    assert.equal((await loadTls(one, now())).warnings.length, 0);
  });

  test('missing, empty, foreign and encrypted files are refused by name', async (t) => {
    const directory = await scratch(t);
    const files = await makePair(directory, 'one');
    const absent = join(directory, 'absent');
    await assert.rejects(
      loadTls({ ...files, certificate: absent }, now()),
      refused(/certificate: ENOENT.*absent/),
    );
    await assert.rejects(loadTls({ ...files, key: absent }, now()), refused(/key: ENOENT.*absent/));
    await assert.rejects(loadTls({ ...files, key: directory }, now()), refused(/is not a file/));
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await assert.rejects(loadTls({ ...files, certificate: pipe }, now()), refused(/pipe is not a file/));
    const empty = join(directory, 'empty');
    await fs.writeFile(empty, '');
    await assert.rejects(
      loadTls({ ...files, certificate: empty }, now()),
      refused(/empty holds no certificate/),
    );
    await assert.rejects(loadTls({ ...files, key: empty }, now()), refused(/empty holds no private key/));
    await assert.rejects(
      loadTls({ ...files, certificate: files.key }, now()),
      refused(/tls\.key holds no certificate/),
    );
    await assert.rejects(
      loadTls({ ...files, key: files.certificate }, now()),
      refused(/tls\.crt holds no private/),
    );
    const locked = join(directory, 'locked.key');
    execFileSync('openssl', ['pkcs8', '-topk8', '-passout', 'pass:x', '-in', files.key, '-out', locked]);
    await assert.rejects(
      loadTls({ ...files, key: locked }, now()),
      refused(/locked\.key holds no private key/),
    );
  });

  test('a key that TLS refuses is refused at once', async (t) => {
    const directory = await scratch(t);
    const files = { certificate: join(directory, 'tls.crt'), key: join(directory, 'tls.key') };
    const args = 'req -x509 -newkey rsa:1024 -nodes -days 30 -subj /CN=small'.split(' ');
    execFileSync('openssl', [...args, '-out', files.certificate, '-keyout', files.key], { stdio: 'pipe' });
    await assert.rejects(loadTls(files, now()), refused(/cannot be used for TLS.*too small/));
  });
});

suite('TLS files that change', () => {
  test('a new pair is taken', async (t) => {
    const directory = await scratch(t);
    const files = await makePair(directory, 'one');
    const { nextPair, watch, events } = await watched(t, files);
    const first = watch.current();
    await makePair(directory, 'two');
    const loaded = await nextPair();
    assert.ok(!loaded.cert.equals(first.cert));
    assert.deepEqual(loaded.cert, await fs.readFile(files.certificate));
    assert.equal(watch.current(), loaded);
    assert.deepEqual(events, []);
  });

  test('a swapped link, as Kubernetes does it, is taken', async (t) => {
    const directory = await scratch(t);
    await makePair(join(directory, '..1'), 'one');
    const two = await makePair(join(directory, '..2'), 'two');
    await fs.symlink('..1', join(directory, '..data'));
    await fs.symlink('..data/tls.crt', join(directory, 'tls.crt'));
    await fs.symlink('..data/tls.key', join(directory, 'tls.key'));
    const files = { certificate: join(directory, 'tls.crt'), key: join(directory, 'tls.key') };
    const { next } = await watched(t, files);
    await fs.symlink('..2', join(directory, '..data_tmp'));
    await fs.rename(join(directory, '..data_tmp'), join(directory, '..data'));
    const loaded = await next();
    assert.ok('cert' in loaded);
    assert.deepEqual(loaded.cert, await fs.readFile(two.certificate));
  });

  test('a bad new pair is told once, the old one stays, and a good one after it is taken', async (t) => {
    const directory = await scratch(t);
    const files = await makePair(directory, 'one');
    const { next, nextPair, watch, events } = await watched(t, files);
    const first = watch.current();
    await fs.writeFile(files.key, 'nonsense');
    refused(/tls\.key holds no private key/)(await next());
    assert.equal(watch.current(), first);
    await fs.rm(files.certificate);
    refused(/ENOENT/)(await next());
    assert.equal(watch.current(), first);
    await makePair(directory, 'two');
    assert.deepEqual((await nextPair()).cert, await fs.readFile(files.certificate));
    assert.deepEqual(events, []);
  });

  test('files that are still being written are waited for', async (t) => {
    const directory = await scratch(t);
    const files = await makePair(directory, 'one');
    const two = await makePair(join(directory, 'two'), 'two');
    const { next } = await watched(t, files, 0.5); // longer than a busy machine keeps the writer waiting
    for (let part = 0; part < 150; part++) {
      writeFileSync(files.key, `half a key, ${part}`);
      await setTimeout(5);
    }
    renameSync(two.key, files.key);
    renameSync(two.certificate, files.certificate);
    const loaded = await next();
    assert.ok(!(loaded instanceof Error), String(loaded));
    assert.deepEqual(loaded.cert, await fs.readFile(files.certificate));
  });

  test('reload takes the files at once, changed or not, and reports what is wrong', async (t) => {
    const directory = await scratch(t);
    const files = await makePair(directory, 'one');
    const events: unknown[] = [];
    const tell = (event: unknown) => events.push(event);
    const watch = await watchTls(files, { now, onChange: tell, onError: tell, intervalSeconds: 3600 });
    t.after(() => watch.close());
    await watch.reload();
    assert.equal(events.length, 1);
    assert.equal(watch.current(), events[0]);
    await fs.writeFile(files.certificate, '');
    await assert.rejects(watch.reload(), refused(/tls\.crt holds no certificate/));
    assert.equal(watch.current(), events[0]);
    watch.close();
    await makePair(directory, 'two');
    await watch.reload();
    assert.equal(events.length, 1);
  });

  test('a taker that fails keeps the old pair', async (t) => {
    const files = await makePair(await scratch(t), 'one');
    const onChange = () => {
      throw new Error('no listener');
    };
    const onError = () => assert.fail();
    const watch = await watchTls(files, { now, onChange, onError, intervalSeconds: 3600 });
    t.after(() => watch.close());
    const first = watch.current();
    await assert.rejects(watch.reload(), /no listener/);
    assert.equal(watch.current(), first);
  });

  test('a start with bad files is refused', async (t) => {
    const files = { certificate: join(await scratch(t), 'absent'), key: '/dev/null' };
    const options = { now, onChange: () => assert.fail(), onError: () => assert.fail() };
    await assert.rejects(watchTls(files, options), refused(/ENOENT/));
  });
});
