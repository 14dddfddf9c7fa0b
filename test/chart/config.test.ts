/** The mintmark.yaml that the chart makes is one that the program takes. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { isMissing } from '../stores/requires.ts';
import {
  CHART,
  find,
  hasHelm,
  helm,
  type Manifest,
  NO_HELM,
  type Output,
  ROOT,
  render,
  run,
  scenarios,
  valuesOf,
} from './helm.ts';

type Settings = Record<string, unknown>;

for (const scenario of scenarios)
  test(`${scenario}: mintmark check takes the configuration`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const settings = configOf(await render(...valuesOf(scenario)));
    const { code, stdout, stderr } = await check(t, settings);
    assert.equal(code, 0, stderr);
    assert.match(JSON.parse(stdout).issuer, /^https:\/\/id\.example\.com/);
  });

test('values become settings', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const authority = configOf(await render(...valuesOf('authority')));
  assert.deepEqual(authority.private, {
    listen: '0.0.0.0:8443',
    tls: { bootstrap: { names: ['mintmark.identity.svc', 'mintmark.identity.svc.cluster.local'] } },
    maxConnections: 4096,
    maxConnectionsPerAddress: 256,
  });
  assert.deepEqual((authority.keys as Settings).store, {
    'kubernetes-secret': { namespace: 'identity', name: 'mintmark-keys' },
  });
  assert.deepEqual(
    (authority.rules as Settings[]).map(({ name }) => name),
    ['web may use AWS', 'helm test'],
  );
  const webhook = (authority.doors as Record<string, Settings>).webhook;
  assert.deepEqual(
    [webhook?.url, webhook?.configuration, webhook?.image],
    ['https://mintmark.identity.svc:8443', 'mintmark', 'mintmark:0.1.0'],
  );
  const restricted = configOf(await render(...valuesOf('restricted')));
  assert.equal(restricted.stopWithin, '15s');
  const digest = `registry.example.com/mintmark@sha256:${'0'.repeat(64)}`;
  assert.equal((restricted.doors as Record<string, Settings>).webhook?.image, digest);
  const balanced = configOf(await render(...valuesOf('load-balancer')));
  assert.deepEqual(balanced.public, {
    listen: '[::]:8080',
    cacheFor: '1h',
    tls: { certificate: '/etc/mintmark-public-tls/tls.crt', key: '/etc/mintmark-public-tls/tls.key' },
  });
});

test('the sidecar is pulled as the same image is, and another image as its own value says', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const policyOf = async (...sets: readonly string[]) => {
    const args = sets.map((set) => `--set=${set}`);
    const { doors } = configOf(await render(...valuesOf('authority'), ...args));
    return (doors as Record<string, Settings>).webhook?.imagePullPolicy;
  };
  assert.equal(await policyOf(), 'IfNotPresent');
  assert.equal(await policyOf('image.pullPolicy=Always'), 'Always');
  assert.equal(await policyOf('image.pullPolicy=Always', 'sidecar.imagePullPolicy=Never'), 'Never');
  assert.equal(await policyOf('image.pullPolicy=Always', 'sidecar.image=x'), undefined);
});

test('a stand-alone token file is the program’s own, and the pod’s group may read it', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('standalone'));
  assert.deepEqual(configOf(manifests).tokens, [
    { path: '/run/mintmark/tokens/vault', audience: 'vault.example.com', owner: '65532', mode: '0440' },
  ]);
  const { fsGroup, runAsUser } = find(manifests, 'Deployment').spec.template.spec.securityContext;
  assert.deepEqual([fsGroup, runAsUser], [65_532, 65_532]);
});

test('without webhook there is no door for it, no test, and no rule for one', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('no-webhook'));
  const config = configOf(manifests);
  assert.deepEqual(config.doors, { authority: {} });
  assert.deepEqual(config.rules, []);
  assert.deepEqual((config.private as Settings).tls, {
    certificate: '/etc/mintmark-tls/tls.crt',
    key: '/etc/mintmark-tls/tls.key',
  });
  assert.ok(
    !manifests.some(({ kind }) => ['Pod', 'Namespace', 'MutatingWebhookConfiguration'].includes(kind)),
  );
});

test('helm test asks for what its rule grants, and verifies it where the documents are', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('ingress'));
  const { metadata, spec } = find(manifests, 'Pod', 'mintmark-test');
  const rule = (configOf(manifests).rules as Settings[]).at(-1);
  assert.deepEqual(rule?.match, [`k8s:ns:${metadata.namespace}`, `k8s:sa:${spec.serviceAccountName}`]);
  assert.deepEqual(spec.containers[0].args, [
    'token',
    `--aud=${(rule?.audiences as readonly string[] | undefined)?.[0]}`,
    '--decode',
    '--verify=http://mintmark-discovery.identity.svc:80/acme',
  ]);
});

test('helm test makes and removes one pod of the release’s namespace, and asks to have that injected', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('authority'));
  const hooks = manifests.filter(({ metadata }) => metadata.annotations?.['helm.sh/hook'] !== undefined);
  assert.deepEqual(
    hooks.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.name]),
    [['Pod', 'identity', 'mintmark-test']],
  );
  const [, { namespaceSelector, objectSelector }] = find(manifests, 'MutatingWebhookConfiguration').webhooks;
  assert.deepEqual(namespaceSelector, { matchLabels: { 'kubernetes.io/metadata.name': 'identity' } });
  assert.deepEqual(objectSelector, { matchLabels: hooks[0]?.metadata.labels });
  const own = find(manifests, 'Deployment').spec.template.metadata.labels;
  assert.notEqual(own['app.kubernetes.io/name'], hooks[0]?.metadata.labels?.['app.kubernetes.io/name']);
  const without = await render(...valuesOf('authority'), '--set=tests.enabled=false');
  assert.equal(find(without, 'MutatingWebhookConfiguration').webhooks.length, 1);
});

function configOf(manifests: readonly Manifest[]): Settings {
  return parse(find(manifests, 'ConfigMap').data['mintmark.yaml']);
}

async function check(t: TestContext, settings: Settings): Promise<Output> {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-chart-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const file = join(directory, 'mintmark.yaml');
  const made = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-subj',
    '/CN=x',
  ];
  const pair = ['-keyout', join(directory, 'tls.key'), '-out', join(directory, 'tls.crt'), '-days', '30'];
  const { code, stderr } = await run(
    'openssl',
    [...made, '-addext', 'subjectAltName=DNS:x', ...pair],
    process.env,
  );
  assert.equal(code, 0, stderr);
  // Certificates are looked at: those of a Secret lie here instead.
  writeFileSync(file, stringify(settings).replaceAll(/\/etc\/mintmark-(public-)?tls/g, directory));
  return run(process.execPath, [join(ROOT, 'src/main.ts'), 'check', '--json', '--config', file], process.env);
}

test('what to do next waits for the authority before helm test', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const { stdout } = await helm('install', 'id', CHART, '--dry-run=client', ...valuesOf('authority'));
  assert.match(stdout, /rollout status deployment id-mintmark\n +helm test -n default id\n/);
});
