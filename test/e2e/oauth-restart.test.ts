/** One process with its records in SQLite: killed and started again between any two steps; its keys rotated there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { FLOWS, playAll } from '../oauth/flows.ts';
import { type Site, startSite } from '../oauth/site.ts';
import { scopeOf } from '../system/suite.ts';
import { killAtRandom } from './oauth-victims.ts';

const KILLS = 10;
const ALL = Object.values(FLOWS);

suite('one process with SQLite', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let site: Site;
  before(async () => {
    site = await startSite(scope, 1, ({ state }) => ({ keys: { store: { file: state } } }));
  });

  test('every flow goes on when the process is killed between two steps', async (t) => {
    t.diagnostic(`${await playAll(site, ALL, () => site.restart(0))} steps`);
    await site.verifyTokens();
  });

  test('killed at any moment: the flow goes on, or can be begun again', async (t) => {
    t.diagnostic(await killAtRandom(site, KILLS));
  });

  for (const [name, rest] of [
    ['odd', 1],
    ['even', 0],
  ] as const)
    test(`every flow goes on when the signing key is rotated after each ${name} step`, async (t) => {
      await site.revokeRetired();
      site.tokens.clear();
      const rotate = async (step: number) => (step % 2 === rest ? await site.rotate() : undefined);
      t.diagnostic(`${await playAll(site, ALL, rotate)} steps`);
      await site.verifyTokens();
    });

  test('nothing that was handed out is in the files', () => {
    const files = ['records.db', 'records.db-wal'].map((name) =>
      readFileSync(join(site.replicas[0]?.state ?? '', name), 'latin1'),
    );
    assert.ok(site.handed.size > 50);
    const found = [...site.handed].filter(([value]) => files.some((text) => text.includes(value)));
    assert.deepEqual(new Set(found.map(([, what]) => what)), new Set());
    for (const text of files)
      assert.doesNotMatch(text, /~[\w-]{43}\.[\w-]{43}/, 'what stands for a stored id');
    const output = site.replicas[0]?.output() ?? '';
    assert.deepEqual(
      [...site.handed].filter(([value]) => output.includes(value)),
      [],
    );
  });

  test('every flow goes on when the signing key is revoked between two steps', async (t) => {
    await site.revokeRetired();
    site.oldTokensAreGone = true;
    t.diagnostic(`${await playAll(site, ALL, () => site.revokeActive())} steps`);
  });
});
