import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseProcessStatus } from '../../src/net/process-status.ts';
import { startActor } from '../attack/actor.ts';

test('our own status says what Node says', () => {
  const { running, uids, gids } = parseProcessStatus(readFileSync('/proc/self/status', 'latin1'));
  const uid = process.getuid?.();
  const gid = process.getgid?.();
  assert.deepEqual(
    { running, uids, gids },
    { running: true, uids: [uid, uid, uid, uid], gids: [gid, gid, gid, gid] },
  );
});

test('a process cannot lie by its name', async (t) => {
  for (const name of [') R 0 0', 'x\\nUid:\\t0\\t0\\t0\\t0', 'x\\nState:\\tR', '\\nGid:\\t0']) {
    const actor = startActor(
      t,
      `set_name(b"${name}")\nif os.getuid() == 0: drop(1234)\nsay("named")\nwait()`,
    );
    await actor.hear();
    const status = parseProcessStatus(readFileSync(`/proc/${actor.pid}/status`, 'latin1'));
    const uid = process.getuid?.() === 0 ? 1234 : process.getuid?.();
    assert.deepEqual(status.uids, [uid, uid, uid, uid], name);
    assert.equal(status.running, true);
  }
});

const GOOD = 'Name:\tx\nState:\tS (sleeping)\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \n';

test('four ids each, and any number of groups', () => {
  assert.deepEqual(parseProcessStatus(GOOD), {
    running: true,
    uids: [1, 2, 3, 4],
    gids: [5, 6, 7, 8],
    groups: [9, 10],
  });
  assert.deepEqual(parseProcessStatus(GOOD.replace('9 10 ', ' ')).groups, []);
  assert.equal(parseProcessStatus(GOOD.replace('S (sleeping)', 'Z (zombie)')).running, false);
});

test('anything else is an error', () => {
  for (const bad of [
    '',
    GOOD.replace('Uid:', 'Uid'),
    GOOD.replace('\t4\n', '\n'),
    GOOD.replace('\t4\n', '\t4\t4\n'),
    GOOD.replace('\t1\t', '\t-1\t'),
    GOOD.replace('\t1\t', '\t0x1\t'),
    GOOD.replace('9 10', '9 ten'),
    `${GOOD}Uid:\t0\t0\t0\t0\n`,
    GOOD.replace('State', 'Stat'),
  ])
    assert.throws(() => parseProcessStatus(bad), Error, bad);
});

test('no text makes ids that are none', () => {
  const line = fc.oneof(fc.string(), fc.constantFrom(...GOOD.split('\n')));
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      try {
        const { uids, gids, groups } = parseProcessStatus(lines.join('\n'));
        assert.equal(uids.length + gids.length, 8);
        for (const id of [...uids, ...gids, ...groups]) assert.ok(Number.isSafeInteger(id) && id >= 0);
      } catch (error) {
        assert.match(String(error), /\/proc status/);
      }
    }),
  );
});
