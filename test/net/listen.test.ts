import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { test } from 'node:test';
import { peerOf } from '../../src/net/connections.ts';
import { startActor } from '../attack/actor.ts';
import { dial, GET, open, openDescriptors, until } from '../attack/dial.ts';
import { isRoot } from '../attack/program.ts';
import { isMissing } from '../stores/requires.ts';

test('a connection reset at any moment is survived', async (t) => {
  const { path } = await open(t);
  const script = `
for data in [b"", b"GET", request(), request() * 50, b"\\0"]:
    for _ in range(20):
        sock = connect(sys.argv[1])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.sendall(data)
        sock.close()
say(ask(connect(sys.argv[1])))`;
  assert.match(await startActor(t, script, path).hear(), /^200 hello/);
});

test('one user has so many connections and no more, and another user his own', async (t) => {
  if (isMissing(t, isRoot, 'takes root: it connects as other users')) return;
  const { path } = await open(t, { limits: { maxConnectionsPerUid: 20 } });
  const script = `
drop(int(sys.argv[2]))
socks = [connect(sys.argv[1]) for _ in range(60)]
answers = [ask(sock) for sock in socks]
say(len([a for a in answers if a.startswith("200")]))
wait()
for sock in socks: sock.close()
while not ask(connect(sys.argv[1])).startswith("200"): time.sleep(0.01)
say("served again")
wait()`;
  const first = startActor(t, script, path, '1234');
  assert.equal(await first.hear(), '20');
  const second = startActor(t, script, path, '2345');
  assert.equal(await second.hear(), '20');
  first.go();
  assert.equal(await first.hear(), 'served again');
});

test('callers that cannot be proven share one allowance', async (t) => {
  if (isMissing(t, isRoot, 'takes root: it connects with mixed ids')) return;
  const codes: string[] = [];
  const { path } = await open(t, {
    limits: { maxConnectionsPerUid: 5 },
    handler: (request, response) => {
      assert.throws(
        () => peerOf(request.socket),
        (error: { code: string }) => codes.push(error.code) > 0,
      );
      response.end('refused');
    },
  });
  const script = `
os.setresuid(int(sys.argv[2]), int(sys.argv[2]), 0)
socks = [connect(sys.argv[1]) for _ in range(10)]
say(len([s for s in socks if ask(s).startswith("200")]))
wait()`;
  assert.equal(await startActor(t, script, path, '1234').hear(), '5');
  assert.equal(await startActor(t, script, path, '2345').hear(), '0');
  assert.deepEqual(new Set(codes), new Set(['peer_unproven']));
});

test('no descriptor is left behind by a thousand connections', async (t) => {
  const { path, peers } = await open(t);
  const script = `
for i in range(1000):
    sock = connect(sys.argv[1])
    if i % 3: ask(sock)
    sock.close()
say("done")
wait()`;
  const actor = startActor(t, script, path);
  await until(() => peers.length > 0);
  await actor.hear();
  await until(() => peers.length === 1000);
  const before = openDescriptors();
  const again = startActor(t, script, path);
  await again.hear();
  await until(() => peers.length === 2000);
  // The second actor's three pipes come on top.
  await until(() => openDescriptors() <= before + 3);
});

test('descriptors that a caller passes along never become ours', async (t) => {
  const { path } = await open(t);
  const script = `
sock = connect(sys.argv[1])
say(ask(sock))
fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
wait()
sock.sendmsg([request()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
say(reply(sock))
wait()`;
  const actor = startActor(t, script, path);
  assert.match(await actor.hear(), /^200 /);
  const before = readdirSync('/proc/self/fd');
  actor.go();
  assert.match(await actor.hear(), /^200 hello/);
  assert.deepEqual(readdirSync('/proc/self/fd'), before);
});

test('closing lets calls in flight end and refuses new ones', async (t) => {
  const responses: (() => void)[] = [];
  const { path, listener } = await open(t, {
    handler: (_, response) => responses.push(() => response.end('done')),
  });
  const idle = dial(t, path);
  const busy = dial(t, path, GET);
  const streaming = dial(t, path, GET);
  await until(() => responses.length === 2);
  const closing = listener.close(10_000);
  assert.equal(await idle.closed, '');
  await assert.rejects(once(connect(path), 'connect'), { code: 'ENOENT' });
  for (const respond of responses) respond();
  for (const { closed } of [busy, streaming])
    assert.match(await closed, /^HTTP\/1\.1 200 OK\r\n[\s\S]*Connection: close\r\n[\s\S]*done$/);
  await closing;
});

test('closing cuts off what takes longer than the grace', async (t) => {
  let handled = false;
  const { path, listener } = await open(t, {
    handler: () => {
      handled = true;
    },
  });
  const { closed } = dial(t, path, GET);
  await until(() => handled);
  await listener.close(50);
  assert.equal(await closed, '');
});

test('a TCP listener has no peers and says where it is', async (t) => {
  const { listener } = await open(t, {
    target: { host: '127.0.0.1', port: 0 },
    handler: (request, response) => {
      assert.throws(() => peerOf(request.socket), { code: 'peer_unproven' });
      response.end('hello');
    },
  });
  assert.equal(listener.address, `http://127.0.0.1:${listener.port}`);
  assert.equal(await (await fetch(listener.address)).text(), 'hello');
});

test('connections over the limit for all are closed at once', async (t) => {
  const { path } = await open(t, { limits: { maxConnections: 2 } });
  const first = [dial(t, path), dial(t, path)];
  await Promise.all(first.map(({ socket }) => once(socket, 'connect')));
  assert.equal(await dial(t, path, GET).closed, '');
});

test('a full listener makes room: connections that only wait are closed', async (t) => {
  const { path } = await open(t, { limits: { maxConnections: 2 } });
  const idle = [dial(t, path, GET), dial(t, path, GET)];
  await Promise.all(idle.map(({ socket }) => once(socket, 'data')));
  assert.equal(await dial(t, path, GET).closed, '');
  await Promise.all(idle.map(({ closed }) => closed));
  const { socket } = dial(t, path, GET);
  assert.match(String((await once(socket, 'data'))[0]), /^HTTP\/1\.1 200/);
});
