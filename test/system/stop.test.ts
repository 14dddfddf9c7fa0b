/** Stopping, starting again on the same keys, and what a start refuses. */
import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { before, describe, it, type TestContext } from 'node:test';
import { ask, mint, TOKENS } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  launch,
  type Place,
  type Server,
  type Settings,
  SOURCE,
  start,
  until,
  writeConfig,
} from './start.ts';
import { scopeOf } from './suite.ts';

const keptIn = (place: Place, more: Settings = {}): Settings => ({
  keys: { store: { file: place.state }, ...more },
});

describe('SIGTERM', { concurrency: true }, () => {
  it('lets the call in flight end, takes no new one, and exits with 0', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const server = await start(t, place);
    const body = JSON.stringify({ aud: AUDIENCE });
    const socket = connect(place.socket);
    const answer = text(socket);
    socket.write(`POST ${TOKENS} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body[0]}`);
    // A whole exchange after the half one: the server has read both.
    await mint(place.socket, { aud: AUDIENCE });
    server.signal('SIGTERM');
    await refusesConnections(place);
    socket.write(body.slice(1));
    assert.match(
      await answer,
      /^HTTP\/1\.1 200 [\s\S]*\r\nConnection: close\r\n[\s\S]*\r\n\r\neyJ[\w-]+\.[\w-]+\.[\w-]+$/,
    );
    assert.equal(await server.ended, 0);
    assert.equal(server.lines().at(-1)?.msg, 'stopped');
    assert.deepEqual(
      readdirSync(join(place.directory, 'run')).filter((name) => name.endsWith('.sock')),
      [],
    );
  });

  for (const [when, file] of [
    ['before a line of ours but the first is loaded', './cli.ts'],
    ['before anything is opened', '../compose.ts'],
    ['while the key store is opened', '../stores/kek.ts'],
    ['while the listeners are opened', '../doors/status.ts'],
  ] as const)
    it(`ends a start too, with 0 and nothing left: ${when}`, { timeout: 60_000 }, async (t) => {
      const place = await createPlace(t);
      writeConfig(place, keptIn(place));
      const NODE_OPTIONS = signalAt(file, 'SIGTERM');
      const server = launch(t, place, { env: { NODE_OPTIONS }, main: SOURCE });
      assert.equal(await server.ended, 0, server.output());
      assert.deepEqual(
        readdirSync(join(place.directory, 'run')).filter((name) => name.endsWith('.sock')),
        [],
      );
    });

  it('and SIGHUP in a start: the configuration is read again once it is ready', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const NODE_OPTIONS = signalAt('../doors/status.ts', 'SIGHUP');
    const server = await start(t, place, { env: { NODE_OPTIONS }, main: SOURCE });
    await server.line(/^the configuration was read again/);
  });

  it('ends with 0 a start that fails after it, such as one that waits for PostgreSQL', async (t) => {
    const place = await createPlace(t);
    const asked = Promise.withResolvers<void>();
    const silent = createServer((socket) => {
      socket.on('error', () => undefined);
      t.after(() => socket.destroy());
      asked.resolve();
    });
    t.after(() => silent.close());
    await new Promise<void>((done) => silent.listen(0, '127.0.0.1', done));
    const { port } = silent.address() as AddressInfo;
    const [urlFile, kek] = [join(place.directory, 'url'), join(place.directory, 'kek')];
    writeFileSync(urlFile, `postgres://a:b@127.0.0.1:${port}/a?sslmode=disable`, { mode: 0o400 });
    writeFileSync(kek, 'k'.repeat(32), { mode: 0o400 });
    writeConfig(place, { keys: { store: { postgres: { urlFile } }, encryption: { file: kek } } });
    const server = launch(t, place);
    await Promise.race([asked.promise, server.ended]);
    server.signal('SIGTERM');
    assert.equal(await server.ended, 0, server.output());
    assert.doesNotMatch(server.output(), /mintmark:/);
  });

  it('cuts off a call that does not end within stopWithin', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { stopWithin: '1s' });
    const server = await start(t, place);
    const socket = connect(place.socket);
    const answer = text(socket).catch(() => 'reset');
    socket.write(`POST ${TOKENS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{`);
    await mint(place.socket, { aud: AUDIENCE });
    assert.equal(await server.stop(), 0);
    assert.doesNotMatch(await answer, /200 OK/);
  });
});

/** NODE_OPTIONS of a process that gets the signal as it loads the file. */
function signalAt(file: string, signal: NodeJS.Signals): string {
  const hook = `import { registerHooks } from 'node:module';
registerHooks({ resolve(name, context, next) {
  if (name === '${file}') process.kill(process.pid, '${signal}');
  return next(name, context);
} });`;
  return `--import=data:text/javascript,${encodeURIComponent(hook)}`;
}

/** The path goes away with the listener. */
async function refusesConnections({ socket }: Place): Promise<void> {
  const isRefused = () =>
    new Promise<boolean>((resolve) => {
      const probe = connect(socket, () => resolve(false));
      probe.on('error', () => resolve(true)).on('connect', () => probe.destroy());
    });
  await until(isRefused, 'the socket to go away');
}

describe('a start on keys that are there', () => {
  const scope = scopeOf();
  let place: Place;
  let server: Server;
  let jwks: string;

  before(async () => {
    place = await createPlace(scope);
    writeConfig(place, keptIn(place));
    server = await start(scope, place);
    jwks = (await ask(place.issuer, '/.well-known/jwks')).text;
  });

  it('a second process on the same state directory, or the same socket, ends and says so', async (t) => {
    const rival = await createPlace(t);
    writeConfig(rival, keptIn(place));
    const sameState = launch(t, rival);
    assert.equal(await sameState.ended, 1);
    assert.match(sameState.output(), new RegExp(`^mintmark: .*${place.state}`, 'm'));
    writeConfig(rival, { socket: place.socket });
    const sameSocket = launch(t, rival);
    assert.equal(await sameSocket.ended, 1);
    assert.match(sameSocket.output(), /another Mintmark serves \/\S+\.sock/);
    await mint(place.socket, { aud: AUDIENCE });
  });

  it('a restart makes no key', async () => {
    assert.equal(await server.stop(), 0);
    server = await start(scope, place);
    assert.equal((await ask(place.issuer, '/.well-known/jwks')).text, jwks);
  });

  it('a start after kill -9 makes no key, and takes over the socket file that was left', async () => {
    server.signal('SIGKILL');
    assert.equal(await server.ended, 'SIGKILL');
    server = await start(scope, place);
    assert.equal((await ask(place.issuer, '/.well-known/jwks')).text, jwks);
    await mint(place.socket, { aud: AUDIENCE });
    assert.equal(await server.stop(), 0);
  });

  /** Starts on a copy of the state that something happened to; what it says. */
  async function refusal(
    t: TestContext,
    spoil: (state: string) => void,
    settings: Settings = {},
  ): Promise<string> {
    const other = await createPlace(t);
    cpSync(place.state, other.state, { recursive: true });
    spoil(other.state);
    const before = contentOf(other.state);
    writeConfig(other, { issuer: place.issuer, ...keptIn(other), ...settings });
    const refused = launch(t, other);
    assert.equal(await refused.ended, 1);
    assert.deepEqual(contentOf(other.state), before, 'the state was touched');
    assert.doesNotMatch(refused.output(), /"ready"|\n {4}at /);
    return refused.output();
  }

  const sealed = 'key-ring.sealed';
  const spoilt: readonly (readonly [string, (state: string) => void, RegExp])[] = [
    [
      'with a bit flipped',
      (state) => edit(join(state, sealed), (bytes) => bytes.with(-40, (bytes.at(-40) ?? 0) ^ 1)),
      /key-ring/,
    ],
    [
      'that were cut short',
      (state) => edit(join(state, sealed), (bytes) => bytes.subarray(0, 100)),
      /key-ring/,
    ],
    ['in an empty file', (state) => edit(join(state, sealed), () => Buffer.alloc(0)), /key-ring/],
    ['whose file is missing', (state) => rmSync(join(state, sealed)), /no new keys are made in its place/],
    ['without the key that it was sealed with', (state) => rmSync(join(state, 'kek')), /kek is missing/],
    [
      'with another key-encryption key',
      (state) => writeFileSync(join(state, 'kek'), Buffer.alloc(32, 7)),
      /sealed with another key-encryption key/,
    ],
    [
      'that are older than their counter',
      (state) => writeFileSync(join(state, 'key-ring.counter'), '9\n'),
      /an older copy was put back/,
    ],
  ];
  describe('that somebody touched', { concurrency: true }, () => {
    for (const [what, spoil, reason] of spoilt)
      it(`keys ${what} are refused, and none is made`, async (t) => {
        assert.match(await refusal(t, spoil), reason);
      });

    it('the keys of another issuer are refused', async (t) => {
      const output = await refusal(t, () => undefined, { issuer: 'http://127.0.0.1:1' });
      assert.match(
        output,
        /belongs to the issuer "http:\/\/127\.0\.0\.1:\d+", and this one is "http:\/\/127\.0\.0\.1:1"/,
      );
    });
  });
});

describe('a start on a socket path', { concurrency: true }, () => {
  it('leaves a regular file and a symbolic link as they are', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const target = join(place.directory, 'precious');
    writeFileSync(target, 'precious');
    for (const put of [
      () => writeFileSync(place.socket, 'precious'),
      () => symlinkSync(target, place.socket),
    ]) {
      put();
      const server = launch(t, place);
      assert.equal(await server.ended, 1);
      assert.match(server.output(), /is no socket; it was left as it is/);
      assert.equal(readFileSync(place.socket, 'utf8'), 'precious');
      rmSync(place.socket);
    }
  });

  it('leaves the socket of another program to it', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const other = createServer().listen(place.socket);
    t.after(() => other.close());
    const server = launch(t, place);
    assert.equal(await server.ended, 1);
    assert.match(server.output(), /is a socket in use/);
  });
});

function edit(path: string, change: (bytes: Buffer) => Uint8Array): void {
  writeFileSync(path, change(readFileSync(path)));
}

function contentOf(directory: string): readonly (readonly [string, string])[] {
  return readdirSync(directory).map((name) => [name, readFileSync(join(directory, name), 'hex')] as const);
}
