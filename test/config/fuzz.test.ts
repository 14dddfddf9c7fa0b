import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import fc from 'fast-check';
import { parse, stringify } from 'yaml';
import { attestors } from '../../src/attestors/index.ts';
import { findMistakes } from '../../src/compose/check.ts';
import { ConfigError, describeConfig, type FindMore, loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { runs } from '../fakes/runs.ts';
import { isValid } from './json-schema.ts';

const ROOT = new URL('../../', import.meta.url);
const EXAMPLE = await readFile(new URL('mintmark.example.yaml', ROOT), 'utf8');
const SCHEMA = JSON.parse(await readFile(new URL('mintmark.schema.json', ROOT), 'utf8'));
const tables = { attestors, doors, stores, records: recordStores };
const findMore: FindMore = async (config, isHarmed) => (await findMistakes(config, isHarmed)).problems;

/** Loads, or says why not in lines that each name a place; a configuration that loads survives its description. */
async function assertTakenOrTold(text: string, env: Readonly<Record<string, string>> = {}): Promise<boolean> {
  let loaded: Awaited<ReturnType<typeof loadConfig>>;
  try {
    loaded = await loadConfig({ text, file: 'f.yaml', env, tables, findMore });
  } catch (error) {
    assert.ok(error instanceof ConfigError, String((error as Error).stack));
    assert.ok(error.problems.length > 0);
    const lines = error.format().split('\n');
    assert.equal(lines.length, error.problems.length);
    for (const line of lines) assert.match(line, /^(?:f\.yaml|MINTMARK_)[^\p{Cc}]*$/u);
    return false;
  }
  const again = await loadConfig({ text: describeConfig(loaded.config), env: {}, tables });
  assert.deepEqual(again.config, loaded.config);
  return true;
}

const NAMES = [
  ...[
    'issuer',
    'host',
    'socket',
    'public',
    'status',
    'admin',
    'keys',
    'attestors',
    'doors',
    'rules',
    'tokens',
  ],
  ...[
    'log',
    'path',
    'mode',
    'listen',
    'tls',
    'store',
    'file',
    'memory',
    'unix',
    'fly',
    'name',
    'match',
    'claims',
  ],
  ...[
    'ttl',
    'maxTtl',
    'rule',
    'owner',
    'audiences',
    'transitiveTags',
    'principalTags',
    '__proto__',
    'toString',
  ],
];
const SCALARS = [
  '10m',
  '0400',
  'https://a.example',
  '/run/x',
  'memory',
  'bootstrap',
  'off',
  'unix:uid:1',
  '127.0.0.1:1',
];
const key = fc.oneof(fc.constantFrom(...NAMES), fc.string());
const leaf = fc.oneof(fc.constantFrom(...SCALARS), fc.string(), fc.double(), fc.boolean(), fc.constant(null));
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5 },
    leaf,
    fc.array(tie('tree'), { maxLength: 4 }),
    fc.array(fc.tuple(key, tie('tree')), { maxLength: 6 }).map((pairs) => Object.fromEntries(pairs)),
  ),
}));

test('whatever a file holds, it is taken or told', async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (value) => {
      await assertTakenOrTold(stringify(value));
    }),
    { numRuns: runs(150) },
  );
});

test('whatever text a file is, it is taken or told', async () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...'[]{}:,-&*!|>"\'#%@ \n\tab?') }),
  );
  await fc.assert(
    fc.asyncProperty(text, async (value) => {
      await assertTakenOrTold(value);
    }),
    { numRuns: runs(250) },
  );
});

test('an example with a character changed is taken or told', async () => {
  const place = fc.nat({ max: EXAMPLE.length - 1 });
  const put = fc.oneof(
    fc.constant(''),
    fc.constantFrom(...'[]{}:,-&*!|>"\'#%@ \n\t0'),
    fc.string({ unit: 'binary', maxLength: 2 }),
  );
  await fc.assert(
    fc.asyncProperty(place, fc.nat({ max: 3 }), put, async (at, length, text) => {
      await assertTakenOrTold(EXAMPLE.slice(0, at) + text + EXAMPLE.slice(at + length));
    }),
    { numRuns: runs(150) },
  );
});

type Node = Record<string, unknown>;

/** Every place in a tree. */
function placesOf(node: unknown, at: readonly string[] = []): readonly (readonly string[])[] {
  if (typeof node !== 'object' || node === null) return [at];
  return [at, ...Object.entries(node).flatMap(([name, inner]) => placesOf(inner, [...at, name]))];
}

test('a setting of the example replaced: taken or told, and told where an editor would mark it', async () => {
  const places = placesOf(parse(EXAMPLE)).filter((at) => at.length > 0);
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...places), fc.oneof(tree, leaf), async (at, value) => {
      const changed = parse(EXAMPLE) as Node;
      let node = changed;
      for (const name of at.slice(0, -1)) node = node[name] as Node;
      node[at.at(-1) as string] = value;
      const isTaken = await assertTakenOrTold(stringify(changed));
      if (isTaken) assert.ok(isValid(SCHEMA, changed), 'the program takes what an editor marks');
      if (isTaken) taken++;
    }),
    { numRuns: 250 },
  );
  assert.ok(taken > 0, 'no change was ever taken: the test proves too little');
});

test('whatever the environment holds, it is taken or told', async () => {
  const name = fc.oneof(
    fc.constantFrom(
      'ISSUER',
      'SOCKET',
      'PUBLIC',
      'PUBLIC_TLS',
      'STATUS',
      'KEYS',
      'KEYS_STORE',
      'RULES',
      'TOKENS',
      'DOORS',
      'LOG_LEVEL',
    ),
    fc.string({ unit: 'binary' }),
  );
  const value = fc.oneof(
    tree.map((node) => stringify(node)),
    fc.string({ unit: 'binary' }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 4 }), async (pairs) => {
      const env = Object.fromEntries(pairs.map(([suffix, text]) => [`MINTMARK_${suffix}`, text]));
      await assertTakenOrTold(EXAMPLE, env);
    }),
    { numRuns: runs(150) },
  );
});
