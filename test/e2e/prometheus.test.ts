/** A real Prometheus scrapes the running issuer, knows its alerts and answers a query. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { askToken, createDirectory, hasCommand, ROOT, run, startProgram } from '../deploy/program.ts';
import { isMissing } from '../stores/requires.ts';
import { BUILT } from './installation.ts';

const MONITORING = join(ROOT, 'deploy/monitoring');
const NO_PROMETHEUS = 'prometheus or promtool is missing: apt-get install prometheus';
const hasPrometheus = (await hasCommand('prometheus')) && (await hasCommand('promtool'));
const TOKENS = 7;
const CONFIG = `issuer: http://127.0.0.1:1
keys: { store: memory }
status: { listen: "127.0.0.1:0" }
rules:
  - { name: own, match: ["unix:uid:${process.getuid?.()}"], subject: own, audiences: [sts.amazonaws.com] }
`;

test('Prometheus counts the tokens', { timeout: 120_000 }, async (t) => {
  if (isMissing(t, hasPrometheus, NO_PROMETHEUS)) return;
  const { ready, socket } = await startProgram(t, CONFIG, BUILT);
  for (let count = 0; count < TOKENS; count++) await askToken(socket, 'sts.amazonaws.com');
  await askToken(socket, 'https://other.example');
  const target = new URL(ready.status!).host;

  await t.test('promtool finds nothing wrong in the metrics', async (t) => {
    const file = join(createDirectory(t), 'metrics');
    writeFileSync(file, await (await fetch(`http://${target}/metrics`)).text());
    const found = await run('sh', ['-c', 'promtool check metrics < "$0"', file]);
    assert.deepEqual(found, { code: 0, stdout: '', stderr: '' });
  });

  const api = await startPrometheus(t, target);

  await t.test('a query answers how many were issued and refused', async () => {
    const counts = await until(async () => {
      const { result } = await api<{ result: readonly Sample[] }>('query?query=mintmark_requests_total');
      return result.length === 2 ? result : undefined;
    });
    const found = counts.map(({ metric, value }) => [metric.job, metric.door, metric.outcome, value[1]]);
    assert.deepEqual(found.sort(), [
      ['mintmark', 'fly', 'issued', String(TOKENS)],
      ['mintmark', 'fly', 'refused', '1'],
    ]);
  });

  await t.test('every alert is loaded and evaluates, and none fires', async () => {
    const { groups } = parse(readFileSync(join(MONITORING, 'alerts.yaml'), 'utf8'));
    // Before the first scrape there is nothing, which one of them waits for.
    await until(async () => {
      const answer = await api<{ groups: readonly { rules: readonly Rule[] }[] }>('rules');
      const rules = answer.groups.flatMap(({ rules }) => rules);
      assert.equal(rules.length, groups[0].rules.length);
      for (const { name, health, state } of rules) {
        assert.notEqual(health, 'err', name);
        assert.notEqual(state, 'firing', name);
      }
      return rules.every(({ health, state }) => health === 'ok' && state === 'inactive') || undefined;
    });
  });
});

type Sample = {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [number, string];
};
type Rule = { readonly name: string; readonly health: string; readonly state: string };

/** With the project's own configuration, but for the target, the pace and the place of the rules. */
async function startPrometheus(t: TestContext, target: string) {
  const directory = createDirectory(t);
  const settings = parse(readFileSync(join(MONITORING, 'prometheus.yaml'), 'utf8'));
  settings.global = { scrape_interval: '1s', evaluation_interval: '1s' };
  settings.rule_files = [join(MONITORING, 'alerts.yaml')];
  settings.scrape_configs[0].static_configs[0].targets = [target];
  const file = join(directory, 'prometheus.yaml');
  writeFileSync(file, stringify(settings));
  const address = `127.0.0.1:${await freePort()}`;
  const data = join(directory, 'data');
  const child = spawn(
    'prometheus',
    [`--config.file=${file}`, `--storage.tsdb.path=${data}`, `--web.listen-address=${address}`],
    { stdio: 'ignore' },
  );
  t.after(async () => {
    if (child.exitCode !== null || !child.kill('SIGTERM')) return;
    await once(child, 'exit');
  });
  return async <T>(path: string): Promise<T> => {
    const answer = await until(() => fetch(`http://${address}/api/v1/${path}`).catch(() => undefined));
    return ((await answer.json()) as { readonly data: T }).data;
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Asks again until there is an answer; the test's own limit of time ends it. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await sleep(200);
  }
}
