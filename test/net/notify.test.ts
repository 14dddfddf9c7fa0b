import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { notify } from '../../src/net/notify.ts';
import { startActor } from '../attack/actor.ts';
import { createDirectory } from '../attack/server.ts';

const RECEIVE = `
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1].replace("@", "\\0", 1) if sys.argv[1][0] == "@" else sys.argv[1])
say("bound")
say(repr(s.recv(4096)))`;

test('a service manager hears us at a path and at an abstract address', async (t) => {
  for (const address of [join(createDirectory(t), 'notify'), `@mintmark-test-${process.pid}`]) {
    const manager = startActor(t, RECEIVE, address);
    await manager.hear();
    assert.equal(notify(address, 'READY=1\nSTATUS=serving'), true);
    assert.equal(await manager.hear(), String.raw`b'READY=1\nSTATUS=serving'`);
  }
});

test('nothing is sent without an address that can be used', () => {
  for (const address of [undefined, '', '@', '/', 'relative', 'vsock:2:1'])
    assert.equal(notify(address, 'READY=1'), false);
});

test('a manager that is not there is an error with its name', (t) => {
  assert.throws(() => notify(join(createDirectory(t), 'gone'), 'READY=1'), { code: 'ENOENT' });
  assert.throws(() => notify(`/${'a'.repeat(200)}`, 'READY=1'), { code: 'EINVAL' });
});
