import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  closeExecutable,
  openExecutable,
  parseFdInfo,
  parseFileSystemType,
} from '../../src/attestors/executable.ts';

const MOUNTINFO = `22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw
28 27 0:50 / /mnt/a\\040-\\040ext4 rw - fuse.evil evil rw
29 27 0:51 / /mnt/- rw unbindable - overlay - rw
`;

test('the type of a mount is the word after the separator, whatever the paths are', () => {
  assert.equal(parseFileSystemType(MOUNTINFO, 27), 'ext4');
  assert.equal(parseFileSystemType(MOUNTINFO, 28), 'fuse.evil');
  assert.equal(parseFileSystemType(MOUNTINFO, 29), 'overlay');
  assert.equal(parseFileSystemType(MOUNTINFO, 2), undefined);
  assert.equal(parseFileSystemType('', 27), undefined);
  assert.equal(parseFileSystemType('27 1 254:0 / / rw,relatime', 27), undefined);
});

test('no text makes a type of a mount that has no line', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), (text, id) => {
      const type = parseFileSystemType(text, id);
      if (type !== undefined) assert.ok(text.split('\n').some((line) => line.startsWith(`${id} `)));
    }),
  );
});

test('fdinfo tells the mount and the inode', () => {
  assert.deepEqual(parseFdInfo('pos:\t0\nflags:\t02\nmnt_id:\t27\nino:\t99\n'), { mountId: 27, inode: '99' });
  assert.deepEqual(parseFdInfo('pos:\t0\nmnt_id:\t27\n'), { mountId: 27, inode: undefined });
  assert.throws(() => parseFdInfo('pos:\t0\n'));
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        assert.ok(parseFdInfo(text).mountId >= 0);
      } catch (error) {
        assert.match(String(error), /mnt_id/);
      }
    }),
  );
});

test('our own executable is where /proc says, on a mount that mountinfo knows', () => {
  const executable = openExecutable('/proc/self');
  assert.equal(executable?.link, process.execPath);
  assert.notEqual(
    parseFileSystemType(readFileSync('/proc/self/mountinfo', 'latin1'), executable.mountId),
    undefined,
  );
  const { identity, fd } = executable;
  closeExecutable(executable);
  const again = openExecutable('/proc/self');
  assert.equal(again?.identity, identity);
  closeExecutable(again);
  // Nothing stayed open: the number is free again.
  const next = openSync('/dev/null', 'r');
  assert.ok(next <= fd);
  closeSync(next);
});

test('a process without an executable to see has none', () => {
  assert.equal(openExecutable('/proc/2147483647'), undefined);
});
