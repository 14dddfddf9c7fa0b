/** Peers as older and stranger kernels tell them. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IssuerError } from '../../src/core/errors.ts';
import type { PeerKernel } from '../../src/net/peer.ts';
import { startActor } from '../attack/actor.ts';
import { fails, isCode, openDescriptors, openServer } from '../attack/capture.ts';

test('without SO_PEERPIDFD the held directory does, and strict refuses', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const { capture } = await accepted();
  assert.throws(
    () => capture(true, { peerPidfd: fails('ENOPROTOOPT') }),
    ({ code, caller }: IssuerError) => code === 'peer_unproven' && caller?.uid === process.getuid?.(),
  );
  const lax = capture(false, { peerPidfd: fails('ENOPROTOOPT') });
  lax.assertSame();
  assert.notEqual(lax.proc, undefined);
});

test('without PIDFD_GET_INFO the status file does, and any other failure of it refuses', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const { capture } = await accepted();
  for (const code of ['ENOTTY', 'EINVAL', 'EPERM']) capture(true, { pidfdIds: fails(code) }).assertSame();
  for (const code of ['ESRCH', 'EREMOTE', 'EBADF'])
    assert.throws(() => capture(true, { pidfdIds: fails(code) }), isCode('peer_unproven'));
});

test('a kernel that says nothing certain makes a refusal', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const { capture } = await accepted();
  const cases: Partial<PeerKernel>[] = [
    { peerCredentials: fails('EBADF') },
    { peerCredentials: () => ({ pid: 0, uid: 0xffff_ffff, gid: 0xffff_ffff }) },
    { peerPidfd: fails('EINVAL') }, // reaped, before Linux 6.16
    { peerPidfd: fails('ENODATA') },
    { peerGroups: fails('ENODATA') },
    { isRunning: () => false },
    { isRunning: fails('EBADF') },
    { overflowIds: () => ({ uid: process.getuid?.(), gid: undefined }) },
    { overflowIds: () => ({ uid: undefined, gid: process.getgid?.() }) },
    // The /proc at hand is not ours, and nothing else tells the ids.
    { processId: () => 1, pidfdIds: fails('ENOTTY') },
    // Outside of our pid namespace, on a kernel without SO_PEERPIDFD.
    { peerCredentials: () => ({ pid: 0, uid: 7, gid: 7 }), peerPidfd: fails('ENOPROTOOPT') },
  ];
  const before = openDescriptors();
  for (const calls of cases) assert.throws(() => capture(false, calls), isCode('peer_unproven'));
  assert.throws(() => capture(true, { peerPidfd: fails('EMFILE') }), isCode('temporarily_unavailable'));
  assert.equal(openDescriptors(), before);
});

test('the /proc of another pid namespace is not looked at', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const peer = (await accepted()).capture(true, { processId: () => 1 });
  assert.equal(peer.proc, undefined);
  peer.assertSame();
});

test('a caller outside of our pid namespace is known by its ids only, and strict refuses it', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const { capture } = await accepted();
  const peerCredentials = () => ({ pid: 0, uid: 7, gid: 8 });
  const peer = capture(false, { peerCredentials, pidfdIds: fails('EREMOTE') });
  peer.assertSame();
  assert.equal(peer.proc, undefined);
  assert.throws(() => capture(true, { peerCredentials }), isCode('peer_unproven'));
});

test('supplementary groups that our user namespace does not know are left out', async (t) => {
  const { path, accepted } = await openServer(t);
  startActor(t, 's = connect(sys.argv[1])\nwait()', path);
  const overflowIds = () => ({ uid: 65534, gid: 65534 });
  const peer = (await accepted()).capture(true, { overflowIds, peerGroups: () => [5, 65534, 6] });
  assert.deepEqual(peer.supplementaryGids, [5, 6]);
});
