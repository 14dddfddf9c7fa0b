import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { type Limits, listen } from '../../src/net/listen.ts';
import type { TlsPair } from '../../src/net/tls.ts';
import { createDirectory } from '../attack/server.ts';

function makePair(t: TestContext, name: string): TlsPair {
  const cwd = createDirectory(t);
  const args =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -out crt -keyout key -subj';
  execFileSync('openssl', [...args.split(' '), `/CN=${name}`], { cwd, stdio: 'pipe' });
  return { cert: readFileSync(join(cwd, 'crt')), key: readFileSync(join(cwd, 'key')) };
}

async function open(t: TestContext, pair: TlsPair, handler: RequestListener, limits?: Partial<Limits>) {
  const target = { host: '127.0.0.1', port: 0, tls: pair };
  const listener = await listen({ target, handler, limits });
  t.after(() => listener.close(0));
  return listener;
}

async function dial(t: TestContext, port: number | undefined, from = '127.0.0.1'): Promise<TLSSocket> {
  const options = { host: '127.0.0.1', port: port ?? 0, localAddress: from, rejectUnauthorized: false };
  const socket = connect(options);
  t.after(() => socket.destroy());
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  return socket;
}

const nameOf = (socket: TLSSocket) => socket.getPeerCertificate().subject.CN;

async function get(socket: TLSSocket, path: string): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: mintmark\r\n\r\n`);
  const [data] = await once(socket, 'data');
  return String(data);
}

test('a new certificate serves new connections, and open ones go on', async (t) => {
  const listener = await open(t, makePair(t, 'old'), (request, response) => response.end(request.url));
  assert.equal(listener.address, `https://127.0.0.1:${listener.port}`);
  const first = await dial(t, listener.port);
  listener.setTls(makePair(t, 'new'));
  const second = await dial(t, listener.port);
  assert.deepEqual([nameOf(first), nameOf(second)], ['old', 'new']);
  assert.match(await get(first, '/first'), /200 OK[\s\S]*\/first/);
  assert.match(await get(second, '/second'), /200 OK[\s\S]*\/second/);
});

test('a bad pair is an error and changes nothing', async (t) => {
  const listener = await open(t, makePair(t, 'good'), (_, response) => response.end());
  const { key } = makePair(t, 'other');
  for (const cert of [Buffer.from('nonsense'), makePair(t, 'third').cert])
    assert.throws(() => listener.setTls({ cert, key }));
  assert.equal(nameOf(await dial(t, listener.port)), 'good');
});

test('closing lets a call in flight end', async (t) => {
  const { promise, resolve } = Promise.withResolvers<() => void>();
  const listener = await open(t, makePair(t, 'x'), (_, response) => resolve(() => response.end('done')));
  const idle = await dial(t, listener.port);
  const busy = await dial(t, listener.port);
  const answer = get(busy, '/');
  const respond = await promise;
  const closing = listener.close(10_000);
  await once(idle, 'close');
  respond();
  assert.match(await answer, /Connection: close[\s\S]*done/);
  await closing;
});

test('who never finishes the handshake is cut off, and does not hold up closing', async (t) => {
  const listener = await open(t, makePair(t, 'x'), () => {}, { headersTimeoutMs: 200 });
  const slow = connectTcp(listener.port ?? 0, '127.0.0.1');
  slow.on('error', () => {});
  await once(slow, 'close');
  const late = connectTcp(listener.port ?? 0, '127.0.0.1');
  late.on('error', () => {});
  await once(late, 'connect');
  await listener.close(50);
});

test('one address has so many connections and no more, and another address its own', async (t) => {
  const refused: string[] = [];
  const target = { host: '127.0.0.1', port: 0, tls: makePair(t, 'x') };
  const listener = await listen({
    target,
    handler: (_, response) => response.end('served'),
    limits: { maxConnections: 5, maxConnectionsPerAddress: 3 },
    onRefused: (limit) => refused.push(limit),
  });
  t.after(() => listener.close(0));
  const from = async (localAddress: string) => {
    const options = { host: '127.0.0.1', port: listener.port ?? 0, localAddress, rejectUnauthorized: false };
    const socket = connect(options);
    t.after(() => socket.destroy());
    const isServed = await Promise.race([
      once(socket, 'secureConnect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    return { socket, isServed };
  };
  const first = [];
  for (let index = 0; index < 6; index++) first.push(await from('127.0.0.1'));
  assert.deepEqual(
    first.map(({ isServed }) => isServed),
    [true, true, true, false, false, false],
  );
  assert.equal((await from('127.0.0.2')).isServed, true);
  assert.deepEqual(refused, ['address', 'address', 'address']);
  first[0]?.socket.destroy();
  await until(async () => (await from('127.0.0.1')).isServed);
  refused.length = 0;
  assert.deepEqual([(await from('127.0.0.3')).isServed, (await from('127.0.0.3')).isServed], [true, false]);
  assert.deepEqual(refused, ['all']);
});

test('an address that has its number makes room of its own: what only waits is closed, and no other', async (t) => {
  const { promise, resolve } = Promise.withResolvers<() => void>();
  const handler: RequestListener = ({ url }, response) => {
    if (url === '/slow') resolve(() => response.end('done'));
    else response.end('served');
  };
  const listener = await open(t, makePair(t, 'x'), handler, { maxConnectionsPerAddress: 3 });
  const [idle, busy, silent] = [
    await dial(t, listener.port),
    await dial(t, listener.port),
    await dial(t, listener.port),
  ];
  const other = await dial(t, listener.port, '127.0.0.2');
  for (const socket of [idle, other]) await answered(socket);
  const slow = get(busy, '/slow');
  const respond = await promise;
  const refused = connectTcp(listener.port ?? 0, '127.0.0.1');
  refused.on('error', () => {});
  await Promise.all([once(refused, 'close'), once(idle, 'close')]);
  await answered(await dial(t, listener.port));
  for (const socket of [silent, other]) await answered(socket);
  respond();
  assert.match(await slow, /done$/);
});

async function answered(socket: TLSSocket): Promise<void> {
  assert.match(await get(socket, '/'), /^HTTP\/1\.1 200/);
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  while (!(await condition())) await setTimeout(5);
}
