/** Alerts and dashboard: valid, tested, and about metrics that the server has. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { isMissing } from '../stores/requires.ts';
import { createDirectory, hasCommand, ROOT, run, startProgram } from './program.ts';

const DIRECTORY = join(ROOT, 'deploy/monitoring');
const NO_PROMTOOL = 'promtool is missing: apt-get install prometheus';
const hasPromtool = await hasCommand('promtool');

type Rules = { readonly groups: readonly { readonly rules: readonly { alert: string; expr: string }[] }[] };
type Panel = { readonly title: string; readonly targets: readonly { readonly expr: string }[] };

const alerts = (parse(readFileSync(join(DIRECTORY, 'alerts.yaml'), 'utf8')) as Rules).groups.flatMap(
  ({ rules }) => rules,
);
const dashboard = JSON.parse(readFileSync(join(DIRECTORY, 'grafana-dashboard.json'), 'utf8')) as {
  readonly panels: readonly Panel[];
};
const panelExpressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

test('promtool takes the scrape configuration and the alerts', async (t) => {
  if (isMissing(t, hasPromtool, NO_PROMTOOL)) return;
  const { code, stdout, stderr } = await run('promtool', ['check', 'config', 'prometheus.yaml'], DIRECTORY);
  assert.equal(code, 0, stdout + stderr);
  assert.match(stdout, new RegExp(`SUCCESS: ${alerts.length} rules found`));
});

test('each alert fires when it should, and not before', async (t) => {
  if (isMissing(t, hasPromtool, NO_PROMTOOL)) return;
  const { code, stdout, stderr } = await run('promtool', ['test', 'rules', 'alerts.test.yaml'], DIRECTORY);
  assert.equal(code, 0, stdout + stderr);
  const tests = readFileSync(join(DIRECTORY, 'alerts.test.yaml'), 'utf8');
  for (const { alert } of alerts) assert(tests.includes(alert), `alerts.test.yaml never sees ${alert}`);
});

test('promtool parses every expression of the dashboard', async (t) => {
  if (isMissing(t, hasPromtool, NO_PROMTOOL)) return;
  const rules = panelExpressions.map((expr, index) => ({
    record: `panel:${index}`,
    expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*'),
  }));
  const file = join(createDirectory(t), 'rules.yaml');
  writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
  const { code, stdout, stderr } = await run('promtool', ['check', 'rules', file]);
  assert.equal(code, 0, stdout + stderr);
});

test('alerts and dashboard use only what a running server exposes', async (t) => {
  const { ready } = await startProgram(
    t,
    'issuer: http://127.0.0.1:1\nkeys: { store: memory }\nstatus: { listen: "127.0.0.1:0" }\n',
  );
  const exposition = await (await fetch(`${ready.status}/metrics`)).text();
  const known = new Set(['up', 'ALERTS']);
  for (const [, name, type] of exposition.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    if (type === 'histogram') for (const part of ['bucket', 'sum', 'count']) known.add(`${name}_${part}`);
    else known.add(name!);
  }
  for (const expression of [...panelExpressions, ...alerts.map(({ expr }) => expr)]) {
    const names = expression.match(/\b(?:up|mintmark_\w+|process_\w+|nodejs_\w+)\b(?!")/g) ?? [];
    assert(names.length > 0, expression);
    for (const name of names) assert(known.has(name), `${name} is not exposed: ${expression}`);
  }
});
