import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { attestors } from '../../src/attestors/index.ts';
import { config } from '../../src/attestors/jwt.ts';
import { checkMeaning } from '../../src/compose/check.ts';
import { loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';

const PAGE = await readFile(new URL('../../docs/trusted-issuers.md', import.meta.url), 'utf8');

test('the page’s examples make one configuration that is sound', async () => {
  const blocks = [...PAGE.matchAll(/```yaml\n(.*?)```/gs)].map(([, block = '']) => block);
  const [issuers = '', ...rules] = blocks
    .filter((block) => block.startsWith('attestors:') || block.startsWith('rules:'))
    .flatMap((block) => block.split('rules:\n'))
    .filter((block) => block !== '');
  const more = blocks.filter((block) => block.startsWith('      '));
  const text = [
    'issuer: https://id.example.com\npublic: { listen: 127.0.0.1:8443, tls: { bootstrap: {} } }\n',
    'keys: { store: memory }\n',
    ...[issuers, ...more, 'rules:\n', ...rules],
  ].join('');
  const loaded = await loadConfig({
    text,
    env: {},
    tables: { attestors, doors, stores, records: recordStores },
  });
  assert.deepEqual(await checkMeaning(loaded, {}), []);
  assert.equal(loaded.config.rules.length, 2);
  assert.deepEqual(Object.keys(Object(loaded.config.attestors.jwt).issuers), [
    'github',
    'prod',
    'mesh',
    'berlin',
    'self',
  ]);
});

test('the page has every setting of an issuer', () => {
  const { entries } = config.entries.issuers.pipe[0].value;
  for (const name of Object.keys(entries)) assert.ok(PAGE.includes(`| \`${name}\` |`), name);
});
