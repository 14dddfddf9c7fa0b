import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { attestors } from '../../src/attestors/index.ts';
import { loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';

test('the example of docs/vultr.md is a sound configuration', async () => {
  const page = await readFile(new URL('../../docs/vultr.md', import.meta.url), 'utf8');
  const [, text = ''] = /```yaml\n(.*?)```/s.exec(page) ?? [];
  const tables = { attestors, doors, stores, records: recordStores };
  const { config } = await loadConfig({ text, env: {}, tables });
  assert.deepEqual(Object.keys(config.doors), ['oauth', 'vultr']);
});
