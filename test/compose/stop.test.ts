/** What a stop waits for. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { attestors } from '../../src/attestors/index.ts';
import { openServer } from '../../src/compose.ts';
import { loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { ruleFor } from '../system/start.ts';

suite('a stop', () => {
  test('waits for a reload that hangs no longer than stopWithin', { timeout: 20_000 }, async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'mintmark-stop-'));
    t.after(() => rm(directory, { recursive: true }));
    const config = {
      issuer: 'http://127.0.0.1:1',
      host: 'web-1',
      socket: join(directory, 'api.sock'),
      admin: { path: join(directory, 'admin.sock') },
      status: { listen: '127.0.0.1:0' },
      keys: { store: 'memory' },
      rules: [ruleFor()],
      stopWithin: '1s',
    };
    const tables = { attestors, doors, stores, records: recordStores };
    const loaded = await loadConfig({ text: JSON.stringify(config), env: {}, tables });
    const id = { gid: process.getgid?.() ?? 0, gids: process.getgroups?.() ?? [] };
    const versions = { version: '0', nodeVersion: process.version };
    const server = await openServer({ loaded, env: {}, ...id, ...versions, writeLog: () => undefined });
    const load = Promise.withResolvers<typeof loaded>();
    const reload = assert.rejects(
      server.reload(() => load.promise),
      /it is stopping/,
    );
    const startedAt = performance.now();
    await server.close();
    assert.ok(performance.now() - startedAt >= 900);
    load.resolve(loaded);
    await reload;
  });
});
