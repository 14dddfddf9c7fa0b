/** What the accept point answers to HTTP that is wrong, slow or impatient. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { dial, GET, HOST, open, openDescriptors, QUICK, until } from '../attack/dial.ts';

test('what is no proper request is answered 400 in JSON and the connection destroyed', async (t) => {
  let handled = 0;
  const { path } = await open(t, { handler: () => (handled += 1) });
  const post = `POST / HTTP/1.1\r\n${HOST}`;
  const malformed = {
    'no host': 'GET / HTTP/1.1\r\n\r\n',
    'two hosts': `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`,
    'two hosts, other case': `GET / HTTP/1.1\r\n${HOST}hOST: other\r\n\r\n`,
    'obs-fold': `GET / HTTP/1.1\r\n${HOST}X: a\r\n b\r\n\r\n`,
    'NUL in a header': `GET / HTTP/1.1\r\n${HOST}X: a\0b\r\n\r\n`,
    'length and chunked': `${post}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two lengths': `${post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc`,
    'chunked is not last': `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    'bare line feeds': 'GET / HTTP/1.1\nHost: mintmark\n\n',
    'blank before the colon': 'GET / HTTP/1.1\r\nHost : mintmark\r\n\r\n',
    'HTTP/2 preface': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'no HTTP': '\0\x01\x02',
  };
  for (const [name, text] of Object.entries(malformed)) {
    const answer = await dial(t, path, text).closed;
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, name);
    assert.equal(
      JSON.parse(answer.split('\r\n\r\n')[1]?.match(/\{.*\}/)?.[0] ?? '').error,
      'invalid_request',
      name,
    );
  }
  assert.equal(handled, 0);
});

test('HTTP/1.0 without a host is served, CONNECT is refused', async (t) => {
  const { path } = await open(t);
  assert.match(await dial(t, path, 'GET /old HTTP/1.0\r\n\r\n').closed, /200 OK[\s\S]*hello \/old$/);
  const { closed } = dial(t, path, `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`);
  assert.match(await closed, /^HTTP\/1\.1 405 [\s\S]*"method_not_allowed"/);
});

test('headers over the limit are answered 431', async (t) => {
  const { path } = await open(t);
  const { closed } = dial(t, path, `GET / HTTP/1.1\r\n${HOST}X: ${'a'.repeat(9_000)}\r\n\r\n`);
  assert.match(await closed, /^HTTP\/1\.1 431 .*\r\n[\s\S]*"invalid_request"/);
});

test('whoever is slow is answered 408 and cut off: idle, half headers, half body, one byte at a time', async (t) => {
  const { path } = await open(t, { limits: QUICK });
  const slow = [
    dial(t, path),
    dial(t, path, 'GET / HT'),
    dial(t, path, `GET / HTTP/1.1\r\n${HOST}X: `),
    dial(t, path, `POST / HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nabc`),
    dial(t, path, `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`),
  ];
  const dripping = dial(t, path, `GET / HTTP/1.1\r\n${HOST}X: `);
  const drip = setInterval(() => dripping.socket.write('a'), 20);
  t.after(() => clearInterval(drip));
  for (const { closed } of [...slow, dripping])
    assert.match(await closed, /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*"request_timeout"/);
});

test('clients that send nonsense and never read do not keep their connection', async (t) => {
  const before = openDescriptors();
  const { path, peers } = await open(t, { handler: (_, response) => response.end(Buffer.alloc(4_000_000)) });
  const clients = Array.from({ length: 10 }, () => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.on('error', () => {});
    t.after(() => socket.destroy());
    socket.pause().write(`${GET}\0\0`);
    return socket;
  });
  await until(() => peers.length === clients.length);
  // What is left: the listening socket, its lock, and the clients' own ends.
  await until(() => openDescriptors() === before + 2 + clients.length);
});

test('an answer that is half sent is not mixed with another', async (t) => {
  const { path } = await open(t, { handler: (_, response) => response.write('half') });
  const { socket, closed } = dial(t, path, GET);
  await once(socket, 'data');
  socket.write('\0\0');
  const received = await closed;
  assert.match(received, /^HTTP\/1\.1 200 OK[\s\S]*half/);
  assert.doesNotMatch(received, /400/);
});

test('requests on one connection are answered one after the other', async (t) => {
  const { path } = await open(t);
  const { socket, closed } = dial(t, path, GET);
  await once(socket, 'data');
  socket.write(`GET /second HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  assert.match(await closed, /hello \/[\s\S]*hello \/second$/);
});

test('a request that does not wait for the answer before it is not served, nor any after it', async (t) => {
  const handled: string[] = [];
  let answer = () => {};
  const { path } = await open(t, {
    handler: (request, response) => {
      handled.push(request.url ?? '');
      answer = () => response.end('first');
    },
  });
  const pipelined = ['/2', '/3'].map((target) => GET.replace('/', target)).join('');
  const { socket, closed } = dial(t, path, GET + pipelined);
  await until(() => handled.length > 0);
  socket.write(GET);
  await setTimeout(20);
  answer();
  const received = await closed;
  assert.deepEqual(handled, ['/']);
  assert.match(received, /^HTTP\/1\.1 200 OK[\s\S]*first[\s\S]*HTTP\/1\.1 503 /);
  assert.equal(received.match(/HTTP\/1\.1 200/g)?.length, 1);
});

test('whoever was answered before the body came and never sends it is cut off without a second answer', async (t) => {
  const { path } = await open(t, { limits: QUICK, handler: (_, response) => response.end('early') });
  const { closed } = dial(t, path, `POST /early HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\nabc`);
  assert.match(await closed, /^HTTP\/1\.1 200 OK(?![\s\S]*HTTP\/1\.1)[\s\S]*early$/);
});
