import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { attestors } from '../../src/attestors/index.ts';
import { effectiveSettings, loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { isValid } from './json-schema.ts';

const ROOT = new URL('../../', import.meta.url);
const schema = JSON.parse(await readFile(new URL('mintmark.schema.json', ROOT), 'utf8'));
const example = await readFile(new URL('mintmark.example.yaml', ROOT), 'utf8');

test('mintmark.schema.json is what the program says', async () => {
  await promisify(execFile)('node', ['scripts/schema.ts', '--check'], { cwd: ROOT });
});

test('the example and its effective configuration are valid by the JSON Schema', async () => {
  assert.match(example, /^# yaml-language-server: \$schema=\.\/mintmark\.schema\.json\n/);
  assert.ok(isValid(schema, parse(example)));
  const { config } = await loadConfig({
    text: example,
    env: {},
    tables: { attestors, doors, stores, records: recordStores },
  });
  assert.ok(isValid(schema, JSON.parse(JSON.stringify(effectiveSettings(config)))));
});

test('the OAuth block of the example, and the configuration of docs/oauth.md, are valid', async () => {
  const document = await readFile(new URL('docs/oauth.md', ROOT), 'utf8');
  const [, written = ''] = /```yaml\n(issuer:.*?)```/s.exec(document) ?? [];
  const uncommented = example.replace(/^ {2}# (oauth:)$|^ {2}# ( {2}.*)$/gm, '  $1$2');
  for (const text of [written, uncommented]) {
    assert.ok(isValid(schema, parse(text)));
    const tables = { attestors, doors, stores, records: recordStores };
    const { config } = await loadConfig({ text, env: {}, tables });
    assert.ok('oauth' in config.doors);
  }
});

test('the JSON Schema refuses what the program refuses', () => {
  const sound = parse(example);
  for (const wrong of [
    { ...sound, sokcet: '/x' },
    { ...sound, issuer: 'ftp://x' },
    { ...sound, keys: { store: 'memroy' } },
    { ...sound, stopWithin: 10 },
    { ...sound, socket: { mode: 440 } },
    { ...sound, rules: [{ name: 'a', match: [], subject: 'a' }] },
    { ...sound, rules: [{ ...sound.rules[0], claims: { sub: 'x' } }] },
    { ...sound, doors: { fly: { orgg: 'x' } } },
  ])
    assert.equal(isValid(schema, wrong), false);
});

test('every setting has a description', () => {
  const bare: string[] = [];
  const visit = (at: string, node: Record<string, unknown>) => {
    const options = (node.anyOf as Record<string, unknown>[] | undefined) ?? [];
    const isDescribed = [
      node,
      ...options,
      ...options.flatMap((one) => (one.anyOf as typeof options) ?? []),
    ].some((one) => typeof one.description === 'string' || one.type === 'object');
    if (!isDescribed) bare.push(at);
    for (const option of options) for (const [key, inner] of entriesOf(option)) visit(`${at}.${key}`, inner);
    for (const [key, inner] of entriesOf(node)) visit(`${at}.${key}`, inner);
    if (node.items !== undefined) visit(`${at}[]`, node.items as Record<string, unknown>);
  };
  visit('', { ...schema, description: 'all' });
  assert.deepEqual(bare, []);
});

function entriesOf(node: Record<string, unknown>) {
  return Object.entries((node.properties ?? {}) as Record<string, Record<string, unknown>>);
}
