import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { queryObjects } from 'node:v8';
import { Document } from 'yaml';
import { readYaml } from '../../src/config/document.ts';
import { problemsOf } from './tables.ts';

const REFUSED: readonly (readonly [name: string, text: string, message: RegExp])[] = [
  ['a key twice', 'a: 1\na: 2', /second time/],
  ['a tag', 'a: !env SECRET', /tags are not taken/],
  ['a known tag', 'a: !!set { x }', /tags are not taken/],
  ['YAML 1.1', '%YAML 1.1\n---\na: 0400', /YAML 1\.2/],
  ['two documents', 'a: 1\n---\nb: 1', /a second document begins here/],
  ['a key that is a list', '? [a]\n: 1', /is no YAML/],
  ['an alias without anchor', 'a: *x', /alias/],
  ['a cycle', 'a: &x { b: *x }', /nested too deeply/],
  [
    'an alias bomb',
    `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [${'*a,'.repeat(10)}]\nc: [${'*b,'.repeat(10)}]`,
    /alias/,
  ],
  ['a deep list', `${'['.repeat(40)}${']'.repeat(40)}`, /nested too deeply/],
  ['an endless list', '['.repeat(20_000), /nested too deeply/],
  ['endless maps', '{a: '.repeat(5000), /nested too deeply|no YAML/],
  ['the prototype', '__proto__: { issuer: x }', /cannot be used/],
  ['a constructor', 'rules: [{ claims: { constructor: x } }]', /cannot be used/],
  ['infinity', 'a: [.inf]', /JSON cannot carry/],
  ['a number that loses digits', 'a: 12345678901234567890', /JSON cannot carry/],
  ['a large text', `a: ${'x'.repeat(1024 * 1024)}`, /1 MiB/],
  ['an open quote', 'a: "x', /is no YAML/],
];

for (const [name, text, message] of REFUSED) {
  test(`refused: ${name}`, async () => {
    const { problems } = readYaml(text);
    assert.ok(problems.length > 0 && problems.length <= 5, `${problems.length} problems`);
    assert.match(problems[0]?.message ?? '', message);
    assert.match((await problemsOf(text)).join('\n'), message);
  });
}

test('what nests without an end is refused before it is composed, which takes stack', () => {
  for (const level of ['[', '{a: ', '- ', '? ', '- [', '[\n'])
    for (const text of [level.repeat(1000), level.repeat(60_000)])
      assert.deepEqual(readYaml(text).problems, [{ path: '', message: 'is nested too deeply' }], level);
  assert.deepEqual(readYaml(`a: "${'['.repeat(1000)}" # ${'{'.repeat(1000)}`).problems, []);
});

test('YAML 1.2 core: no octal, no yes and off; anchors may repeat a list', () => {
  const { value, problems } = readYaml('a: 0400\nb: off\nc: yes\nd: &d [x]\ne: *d\n<<: y\n');
  assert.deepEqual(problems, []);
  assert.deepEqual(value, { a: 400, b: 'off', c: 'yes', d: ['x'], e: ['x'], '<<': 'y' });
});

test('a path has the line of its key, or of what is nearest above it', () => {
  const { lineOf } = readYaml('a: 1\nrules:\n  - name: x\n    match: [y]\n  -\n    name: z\n');
  assert.equal(lineOf(['a']), 1);
  assert.equal(lineOf(['rules']), 2);
  assert.equal(lineOf(['rules', 0, 'match', 0]), 4);
  assert.equal(lineOf(['rules', 1, 'name']), 6);
  assert.equal(lineOf(['rules', 0, 'subject']), 3);
  assert.equal(lineOf(['issuer']), undefined);
});

test('what was parsed is not kept for the lines, which are told all the same', async () => {
  const { lineOf } = readYaml('a: 1\nb: 2\n');
  await nextTurn(); // until then whoever may be asked for again is kept
  assert.equal(queryObjects(Document), 0);
  assert.equal(lineOf(['b']), 2);
});

test('a file that is no map, or empty, is told', async () => {
  assert.match((await problemsOf('just text')).join('\n'), /must be a map of settings/);
  assert.match((await problemsOf('- a')).join('\n'), /must be a map of settings/);
  assert.deepEqual(await problemsOf('# nothing yet'), [
    'mintmark.yaml: issuer: is required',
    'mintmark.yaml: keys: is required',
  ]);
});
