/** Values: wrong ones are refused with their path, and what is made of values.yaml is up to date. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as v from 'valibot';
import { parse } from 'yaml';
import { isMap } from '../../src/core/json.ts';
import { settings } from '../../src/doors/webhook-settings.ts';
import { isValid } from '../config/json-schema.ts';
import { runs } from '../fakes/runs.ts';
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
  assert.equal(isValid(schema, defaults), true, 'what is wrong with them a template says');
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
  ['issuer=', /issuer is required: --set issuer=https:/],
  ['mode=sidecar', /at '\/mode': /],
  ['replicas=0', /at '\/replicas': minimum: got 0, want 1/],
  ['replica=3', /additional properties 'replica' not allowed/],
  ['image.digest=sha256:abc', /at '\/image\/digest': /],
  ['image.tag=10', /at '\/image\/tag': got number, want string/],
  ['image.pullPolicy=always', /at '\/image\/pullPolicy': /],
  ['keys.rotateEvery=7', /at '\/keys\/rotateEvery': got number, want string/],
  ['keys.rotateEvery=1s', /keys\.rotateEvery must be 24h to 365d, not 1s/],
  ['keys.publishAtLeast=1s', /keys\.publishAtLeast must be 24h to 365d, not 1s/],
  ['public.cacheFor=0s', /public\.cacheFor must be 1s to 24h, not 0s/],
  ['rules[0].ttl=1s', /rules\[0\]\.ttl must be 60s to 24h, not 1s/],
  [
    'rules[0].match[0]=k8s:namespace:prod',
    /rules\[0\]\.match\[0\]: nobody proves k8s:namespace; known: k8s:ns /,
  ],
  ['sidecar.image=Mint Mark', /at '\/sidecar\/image': .* does not match pattern/],
  [
    'sidecar.statusListen=999.0.0.0:9464',
    /sidecar\.statusListen must be an IP address and a port from 1024 on, not 999/,
  ],
  ['sidecar.statusListen=0.0.0.0:99999', /sidecar\.statusListen must be an IP address/],
  ['issuer=https://id.example.com:99999', /issuer: 99999 is no port/],
  ['issuer=https://id.example.com:0', /issuer must be in normal form/],
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
  ['keys.rotateEvery=1h', /keys\.rotateEvery must be 24h to 365d, not 1h/],
  ['stopWithin=11m', /stopWithin must be 0s to 10m, not 11m/],
  ['rules[0].maxTtl=25h', /rules\[0\]\.maxTtl must be 60s to 24h, not 25h/],
  ['issuer=https://300.1.1.1', /issuer: 300\.1\.1\.1 is no address/],
  ['issuer=https://id.example.com/a/../b', /issuer must be in normal form/],
  ['issuer=https://id..example.com', /issuer: id\.\.example\.com is no host/],
  ['rules[0].claims.iss=foo', /at '\/rules\/0\/claims\/iss': /],
  ['rules[0].subject=äü', /at '\/rules\/0\/subject': 'äü' does not match pattern/],
  [`rules[0].subject=${'x'.repeat(200)}`, /rules\[0\]\.subject could be 200 bytes long and 127 is the most/],
  [
    'rules[0].subject=x:{k8s.namespace}:{k8s.sa}',
    /rules\[0\]\.subject: nothing is known as \{k8s\.namespace\}; known: \{host\} \{k8s\.ns\}/,
  ],
  [
    'rules[0].subject=x:{k8s.pod-name}:{k8s.node}:{k8s.pod-uid}',
    /rules\[0\]\.subject could be 193 bytes long/,
  ],
  ['rules[0].subject=x:{k8s.pod-name}-{k8s.node}', /rules\[0\]\.subject: a variable follows another/],
  ['rules[0].subject=a{', /rules\[0\]\.subject has a lone brace/],
  ['rules[0].subject=x:{k8s.sa:x}', /rules\[0\]\.subject: \{k8s\.sa:x\} is no variable/],
  [
    'rules[0].claims.a.b=x-{k8s.namespace}',
    /rules\[0\]\.claims\.a\.b: nothing is known as \{k8s\.namespace\}/,
  ],
  ['rules[0].audiences[0]=a\nb', /at '\/rules\/0\/audiences\/0': .* does not match pattern/],
  [
    'rules[0].match={sidecar:unix-uid:7}',
    /rules\[0\]\.match rests on nothing but what a sidecar says of its caller: name the pod too/,
  ],
  [
    'rules[0].match[0]=k8s:pod-label:app:x',
    /rules\[0\]\.match\[0\]: app is not in attestor\.labels, so that no rule may name it/,
  ],
  ['rules[0].name=helm test', /rules\[0\]\.name is "helm test" as the chart's own/],
  [
    'rules[1].name=web may use AWS,rules[1].match={k8s:ns:a},rules[1].subject=x',
    /rules\[1\]\.name is "web may use AWS" as rules\[0\]: names are unique/,
  ],
  [
    'sidecar.resources.requests.memory=128Mi',
    /sidecar\.resources\.requests\.memory is 128Mi and above the limit of 96Mi: no pod could start/,
  ],
  ['sidecar.resources.limits.memory=1Ki,sidecar.resources.requests.memory=1Ki', /32Mi is the least/],
  ['resources.requests.memory=1Gi', /resources\.requests\.memory is 1Gi and above the limit of 512Mi/],
  ['private.maxConnections=100', /private\.maxConnectionsPerAddress is above private\.maxConnections/],
  [`fullnameOverride=${'a'.repeat(53)}`, /fullnameOverride may have 52 characters/],
  ['mode=standalone', /rules\[0\]\.match\[0\]: nobody proves k8s:ns; known: unix:uid /],
  [
    'standalone.tokens[0].path=/run/mintmark/x,standalone.tokens[0].audience=x,standalone.tokens[0].owner=10001',
    /standalone\.tokens\[0\]\.owner is 10001: leave it out, for only 65532/,
  ],
  [
    'standalone.tokens[0].path=/run/mintmark/x,standalone.tokens[0].audience=x,standalone.tokens[0].group=web',
    /standalone\.tokens\[0\]\.group is web: leave it out/,
  ],
  ...[
    ['/etc/x', 'token files are in /run/mintmark or in one directory below it'],
    ['/run/mintmark/a/b/x', 'token files are in'],
    ['/run/mintmark/../etc', 'token files are in'],
    ['/run/mintmark/x/', 'token files are in'],
    ['/run/mintmark/api.sock', "which is Mintmark's own"],
    ['/run/mintmark/aws.env', "which is Mintmark's own"],
  ].map(([path, said]): [string, RegExp] => [
    `standalone.tokens[0].path=${path},standalone.tokens[0].audience=x`,
    new RegExp(`standalone\\.tokens\\[0\\]\\.path is ${path}.* ${said}`),
  ]),
  [
    'standalone.tokens[0].path=/run/mintmark/x,standalone.tokens[0].audience=x,standalone.tokens[1].path=/run/mintmark/x,standalone.tokens[1].audience=y',
    /standalone\.tokens\[1\]\.path is the path of standalone\.tokens\[0\] too/,
  ],
  [
    'standalone.tokens[0].path=/run/mintmark/x,standalone.tokens[0].audience=x,standalone.tokens[0].mode=0444',
    /standalone\.tokens\[0\]\.mode is 0444: 0640 is the most, and its owner reads it/,
  ],
  ['private.port=9464', /private\.port is 9464, which the Service has for the status pages/],
  ['extra.settings.issuer=https://else.example.com', /extra\.settings\.issuer: set issuer/],
  ['drainSeconds=100', /terminationGracePeriodSeconds must be more than drainSeconds and stopWithin/],
  ['keys.publishAtLeast=8d', /keys\.publishAtLeast is longer than keys\.rotateEvery/],
  ['public.cacheFor=24h', /keys\.publishAtLeast is shorter than twice public\.cacheFor/],
  ['rules[0].maxTtl=2m', /rules\[0\]\.maxTtl is shorter than its ttl/],
  ['rules[0].match[0]=unix:uid:0', /rules\[0\]\.match: the authority knows pods only: unix:uid:0/],
  ['issuer=https://id.example.com:443', /issuer must be in normal form/],
  ['gateway.enabled=true', /gateway\.parentRefs must name a Gateway/],
  [
    'mode=standalone,rules[0].match={unix:uid:1},rules[0].subject=x',
    /standalone\.containers must name the workload's containers/,
  ],
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

test('no pattern that helm prints is longer than a line', async () => {
  const schema = await readFile(join(CHART, 'values.schema.json'), 'utf8');
  const patterns = [...schema.matchAll(/"pattern": (".*")/g)].map(([, text]) => JSON.parse(text!) as string);
  assert.ok(patterns.length > 20);
  for (const pattern of patterns) assert.ok(pattern.length <= 100, pattern);
  assert.doesNotMatch(schema, /propertyNames/); // helm names another path than the wrong one
});

test('the bounds of the templates are those of the program', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const { properties } = JSON.parse(await readFile(join(ROOT, 'mintmark.schema.json'), 'utf8'));
  const { ttl } = properties.rules.items.properties;
  const { cacheFor } = properties.public.properties;
  for (const [set, schema, bounds] of [
    ['rules[0].ttl', ttl, ['59s', '60s', '24h', '25h']],
    ['public.cacheFor', cacheFor, ['0s', '1s', '12h', '86401s']],
    ['stopWithin', properties.stopWithin, ['0s', '1s', '10m', '601s']],
  ] as const)
    for (const bound of bounds) {
      const more = ['--set', 'terminationGracePeriodSeconds=3600', '--set', `${set}=${bound}`];
      const { code, stderr } = await helm('template', 'x', CHART, ...valuesOf('authority'), ...more);
      assert.equal(code === 0, new RegExp(schema.pattern).test(bound), `${set}=${bound}: ${stderr}`);
    }
});

test('without an issuer helm says what to do, and helm lint goes through', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  assert.match((await helm('install', 'mintmark', CHART, '--dry-run=client')).stderr, /issuer is required/);
  const { code, stdout, stderr } = await helm('lint', CHART);
  assert.equal(code, 0, stdout);
  assert.match(`${stdout}${stderr}`, /issuer is required/);
});

test('rules that the program takes go through', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  for (const set of [
    'rules[0].subject=x:{k8s.ns}-{k8s.sa}', // both are known by the match
    'rules[0].subject=x:{host}/{k8s.pod-name:40}:{{x}}',
    'rules[0].claims.a.b=x-{{y}}-{k8s.pod-uid}',
    'rules[0].match[0]=k8s:pod-label:example.com/app:x,attestor.labels={example.com/app}',
    'issuer=https://[::1]:8443/a/b',
    'issuer=https://10.0.0.1',
    'sidecar.statusListen=[::]:9464',
    'rules[0].match[2]=sidecar:unix-uid:7',
  ]) {
    const { code, stderr } = await helm('template', 'x', CHART, ...valuesOf('authority'), '--set', set);
    assert.equal(code, 0, `${set}: ${stderr}`);
  }
});

test('no value that is taken away by null makes helm stumble', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const defaults = parse(await readFile(join(CHART, 'values.yaml'), 'utf8'), { version: '1.1' });
  const paths = Object.entries(defaults).flatMap(([key, value]) =>
    isMap(value) ? [key, ...Object.keys(value).map((inner) => `${key}.${inner}`)] : [key],
  );
  const step = paths.length / runs(paths.length);
  for (const path of paths.filter((_, index) => index % step < 1)) {
    const { stderr } = await helm('template', 'x', CHART, ...valuesOf('authority'), '--set', `${path}=null`);
    assert.match(stderr, /^$|missing propert|issuer is required/, path);
  }
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
