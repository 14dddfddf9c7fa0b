import assert from 'node:assert/strict';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { openNames, parseGroup, parsePasswd } from '../../src/attestors/names.ts';
import { createDirectory } from '../attack/server.ts';

const user = (name: string, uid: number | string) => `${name}:x:${uid}:100::/home/${name}:/bin/sh`;

test('each user and group has its name', () => {
  const { nameOf, idOf } = parsePasswd([user('root', 0), user('web', 998), ''].join('\n'));
  assert.deepEqual(
    [...nameOf],
    [
      [0, 'root'],
      [998, 'web'],
    ],
  );
  assert.equal(idOf.get('web'), 998);
  assert.equal(parseGroup('staff:x:50:web,root\n').nameOf.get(50), 'staff');
});

test('an id with two names has none, and a name with two ids stands for neither', () => {
  const { nameOf, idOf } = parsePasswd(
    [user('root', 0), user('toor', 0), user('web', 5), user('web', 6), user('db', 7)].join('\n'),
  );
  assert.deepEqual([...nameOf], [[7, 'db']]);
  assert.deepEqual([...idOf], [['db', 7]]);
  // The same line twice says nothing new.
  assert.equal(parsePasswd([user('db', 7), user('db', 7)].join('\n')).nameOf.get(7), 'db');
});

test('lines of another form are passed over', () => {
  for (const line of [
    '+::::::',
    '-bad::5:5:::',
    'web:x:5:100',
    user('we b', 5),
    user('web', '-5'),
    user('web', '5x'),
    user('', 5),
    `${user('web', 5)}:`,
  ])
    assert.equal(parsePasswd(line).nameOf.size, 0, line);
  assert.equal(parseGroup('staff:x:50').nameOf.size, 0);
});

test('no text gives an id two names or a name two ids', () => {
  const line = fc
    .tuple(fc.constantFrom('a', 'b', 'c', 'a b', ''), fc.constantFrom('1', '2', '3', '', 'x'))
    .map(([name, id]) => user(name, id));
  fc.assert(
    fc.property(fc.array(fc.oneof(line, fc.string())), (lines) => {
      const { nameOf, idOf } = parsePasswd(lines.join('\n'));
      assert.equal(nameOf.size, idOf.size);
      for (const [id, name] of nameOf) assert.equal(idOf.get(name), id);
      for (const [id, name] of nameOf)
        for (const other of lines.flatMap((text) => text.split('\n'))) {
          const fields = other.split(':');
          if (fields.length === 7 && fields[2] === String(id) && /^[a-c]$/.test(fields[0] ?? ''))
            assert.equal(fields[0], name);
        }
    }),
  );
});

test('a change of the files is seen within a second, and looked for no more often', (t) => {
  let elapsed = 0;
  const directory = createDirectory(t);
  const [passwd, group] = [join(directory, 'passwd'), join(directory, 'group')];
  writeFileSync(passwd, user('web', 5));
  const names = openNames(() => elapsed, passwd, group);
  assert.equal(names.users().nameOf.get(5), 'web');
  assert.equal(names.groups().nameOf.size, 0);
  const users = names.users();
  writeFileSync(`${passwd}.new`, user('api', 5));
  renameSync(`${passwd}.new`, passwd);
  elapsed += 0.9;
  assert.equal(names.users(), users);
  elapsed += 0.2;
  assert.equal(names.users().nameOf.get(5), 'api');
  rmSync(passwd);
  elapsed += 1.1;
  assert.equal(names.users().nameOf.size, 0);
});
