/** Values: wrong ones are refused with their path, and what is made of values.yaml is up to date. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as v from 'valibot';
import { parse } from 'yaml';
import { settings } from '../../src/doors/webhook-settings.ts';
import { isValid } from '../config/json-schema.ts';
import { isMissing } from '../stores/requires.ts';
import { CHART, hasHelm, helm, NO_HELM, ROOT, run, scenarios, valuesOf } from './helm.ts';

for (const script of ['chart-schema', 'chart-readme', 'chart-files'])
  test(`what scripts/${script}.ts makes is up to date`, async () => {
    const { code, stderr } = await run(process.execPath, [`scripts/${script}.ts`, '--check'], process.env);
    assert.equal(code, 0, stderr);
  });

test('the schema knows every value that values.yaml has, and takes each scenario', async () => {
  const schema = JSON.parse(await readFile(join(CHART, 'values.schema.json'), 'utf8'));
  const defaults = parse(await readFile(join(CHART, 'values.yaml'), 'utf8'), { version: '1.1' });
  assert.equal(isValid(schema, defaults), false, 'issuer is required');
  assert.equal(isValid(schema, { ...defaults, issuer: 'https://id.example.com' }), true);
  assert.deepEqual(
    Object.keys(schema.properties)
      .filter((key) => key !== 'global')
      .sort(),
    Object.keys(defaults).sort(),
  );
  assert.ok(scenarios.length >= 9);
});

test('the chart gives a sidecar what the program gives it', async () => {
  const { sidecar } = parse(await readFile(join(CHART, 'values.yaml'), 'utf8'), { version: '1.1' });
  const { resources, reuseFloor, singleUse } = v.parse(settings, { image: 'x', url: 'https://x' });
  assert.deepEqual(sidecar, { image: '', resources, reuseFloor, singleUse });
});

/** What is set, and what helm must say of it. */
const wrong: readonly [string, RegExp][] = [
  ['issuer=http://id.example.com', /at '\/issuer': .* does not match pattern/],
  ['issuer=https://id.example.com/', /at '\/issuer': /],
  ['issuer=', /at '\/issuer': /],
  ['mode=sidecar', /at '\/mode': /],
  ['replicas=0', /at '\/replicas': minimum: got 0, want 1/],
  ['replica=3', /additional properties 'replica' not allowed/],
  ['image.digest=sha256:abc', /at '\/image\/digest': /],
  ['image.tag=10', /at '\/image\/tag': got number, want string/],
  ['image.pullPolicy=always', /at '\/image\/pullPolicy': /],
  ['keys.rotateEvery=7', /at '\/keys\/rotateEvery': got number, want string/],
  ['keys.rotateEvery=1s', /at '\/keys\/rotateEvery': '1s' does not match pattern/],
  ['keys.publishAtLeast=1s', /at '\/keys\/publishAtLeast': '1s' does not match pattern/],
  ['public.cacheFor=0s', /at '\/public\/cacheFor': '0s' does not match pattern/],
  ['rules[0].ttl=1s', /at '\/rules\/0\/ttl': '1s' does not match pattern/],
  ['rules[0].match[0]=k8s:namespace:prod', /at '\/rules\/0\/match\/0': .* does not match pattern/],
  ['sidecar.image=Mint Mark', /at '\/sidecar\/image': .* does not match pattern/],
  ['sidecar.statusListen=999.0.0.0:9464', /at '\/sidecar\/statusListen': .* does not match pattern/],
  ['sidecar.statusListen=0.0.0.0:99999', /at '\/sidecar\/statusListen': .* does not match pattern/],
  ['issuer=https://id.example.com:99999', /at '\/issuer': .* does not match pattern/],
  ['issuer=https://id.example.com:0', /at '\/issuer': .* does not match pattern/],
  ['keys.rotateEvery=a week', /at '\/keys\/rotateEvery': 'a week' does not match pattern/],
  ['rules[1].name=x', /at '\/rules\/1': missing properties 'match', 'subject'/],
  ['rules[0].audience=x', /at '\/rules\/0': .*additional properties 'audience' not allowed/],
  ['rules=x', /at '\/rules': got string, want array/],
  ['audience=', /at '\/audience': minLength: got 0, want 1/],
  ['webhook.enabled=yes', /at '\/webhook\/enabled': got string, want boolean/],
  ['webhook.timeoutSeconds=31', /at '\/webhook\/timeoutSeconds': maximum: got 31, want 30/],
  ['public.service.type=ExternalName', /at '\/public\/service\/type': /],
  ['public.cacheFor=300', /at '\/public\/cacheFor': got number, want string/],
  ['private.port=99999', /at '\/private\/port': maximum: /],
  ['existingKek.secret=x', /at '\/existingKek': additional properties 'secret' not allowed/],
  ['resources.limits.memory=lots', /at '\/resources\/limits\/memory\S*': 'lots' does not match pattern/],
  ['monitoring.serviceMonitor.interval=often', /at '\/monitoring\/serviceMonitor\/interval': /],
  ['log.level=loud', /at '\/log\/level': value must be one of 'trace', 'debug', 'info', 'warn', 'error'/],
  ['extra.settings.isuer=x', /at '\/extra\/settings': additional properties 'isuer' not allowed/],
  // What a schema cannot say, the templates do.
  ['drainSeconds=100', /terminationGracePeriodSeconds must be more than drainSeconds and stopWithin/],
  ['keys.publishAtLeast=8d', /keys\.publishAtLeast is longer than keys\.rotateEvery/],
  ['public.cacheFor=24h', /keys\.publishAtLeast is shorter than twice public\.cacheFor/],
  ['rules[0].maxTtl=2m', /rules\[0\]\.maxTtl is shorter than its ttl/],
  ['rules[0].match[0]=unix:uid:0', /rules\[0\]\.match: the authority knows pods only: unix:uid:0/],
  ['issuer=https://id.example.com:443', /issuer must be in normal form/],
  ['gateway.enabled=true', /gateway\.parentRefs must name a Gateway/],
  ['mode=standalone', /standalone\.containers must name the workload's containers/],
  [
    'private.certManager.enabled=true,private.tlsSecret=x',
    /private\.certManager\.enabled and private\.tlsSecret/,
  ],
];

for (const [set, said] of wrong)
  test(`helm install stops at ${set}`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const args = ['--dry-run=client', ...valuesOf('authority'), '--set', set];
    const { code, stderr } = await helm('install', 'mintmark', CHART, ...args);
    assert.notEqual(code, 0);
    assert.match(stderr, said);
  });

test('a release and a name of any length make names that Kubernetes takes', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  for (const release of ['id', 'my-mintmark', 'a'.repeat(53)]) {
    const { code, stdout, stderr } = await helm('template', release, CHART, ...valuesOf('monitoring'));
    assert.equal(code, 0, stderr);
    const names = [...stdout.matchAll(/^ {2}name: (\S+)$/gm)].map(([, name]) => name!);
    for (const name of names) assert.ok(name.length <= 63, name);
    assert.ok(
      names.includes(
        release.includes('mintmark') ? release : `${release}-mintmark`.slice(0, 52).replace(/-$/, ''),
      ),
    );
  }
});

test('it may be part of another chart', async () => {
  const schema = JSON.parse(await readFile(join(ROOT, 'charts/mintmark/values.schema.json'), 'utf8'));
  const defaults = parse(await readFile(join(CHART, 'values.yaml'), 'utf8'), { version: '1.1' });
  assert.ok(isValid(schema, { ...defaults, issuer: 'https://id.example.com', global: { any: 'thing' } }));
});
