/** Every scenario of the chart: taken by helm, and hardened. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMissing } from '../stores/requires.ts';
import {
  CHART,
  type Container,
  find,
  hasHelm,
  helm,
  NAMESPACE,
  NO_HELM,
  type Pod,
  podsOf,
  render,
  scenarios,
  valuesOf,
} from './helm.ts';

const CLUSTER_WIDE = ['ClusterRole', 'ClusterRoleBinding', 'MutatingWebhookConfiguration'];

for (const scenario of scenarios) {
  test(`${scenario}: helm lints it without a warning`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const { code, stdout, stderr } = await helm('lint', CHART, '--strict', ...valuesOf(scenario));
    assert.equal(code, 0, stdout + stderr);
    assert.doesNotMatch(stdout, /WARNING|ERROR/);
  });

  test(`${scenario}: objects have their place, one name each, and the usual labels`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const manifests = await render(...valuesOf(scenario));
    const places = manifests.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`);
    assert.deepEqual(places, [...new Set(places)]);
    for (const { kind, metadata } of manifests) {
      if (metadata.name === 'mintmark-about') continue; // an object of extra.objects
      const place = CLUSTER_WIDE.includes(kind) ? undefined : NAMESPACE;
      assert.equal(metadata.namespace, place, `${kind} ${metadata.name}`);
      assert.equal(metadata.labels?.['app.kubernetes.io/instance'], 'mintmark');
    }
  });

  test(`${scenario}: the Pod Security level restricted takes its pods`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const pods = podsOf(await render(...valuesOf(scenario)));
    assert.ok(pods.length > 0);
    for (const pod of pods) assertRestricted(pod);
  });

  test(`${scenario}: helm says what to do next`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const args = ['--dry-run=client', '--namespace', NAMESPACE, ...valuesOf(scenario)];
    const { code, stdout, stderr } = await helm('install', 'mintmark', CHART, ...args);
    assert.equal(code, 0, stderr);
    const [, notes = ''] = stdout.split('\nNOTES:\n');
    assert.match(notes, /^Mintmark \S+ issues tokens as https:\/\/id\.example\.com/);
    assert.match(notes, /`helm uninstall` leaves/);
    assert.doesNotMatch(notes, /<no value>|%!|\n\n\n/);
  });
}

/** The Pod Security Standards' restricted, and what we ask for beyond it. */
function assertRestricted(pod: Pod): void {
  const forbidden = ['hostNetwork', 'hostPID', 'hostIPC', 'shareProcessNamespace'];
  for (const field of forbidden) assert.equal(pod[field], undefined);
  assert.deepEqual(pod.securityContext?.seccompProfile, { type: 'RuntimeDefault' });
  assert.equal(pod.securityContext?.runAsNonRoot, true);
  const kinds = (pod.volumes ?? []).flatMap((volume) => Object.keys(volume)).filter((key) => key !== 'name');
  for (const kind of kinds)
    assert.ok(['configMap', 'secret', 'emptyDir', 'persistentVolumeClaim'].includes(kind), kind);
  for (const container of [...(pod.initContainers ?? []), ...pod.containers]) assertHardened(container);
}

function assertHardened({ name, securityContext, volumeMounts = [] }: Container): void {
  assert.ok(securityContext, name);
  const { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities, privileged } = securityContext;
  assert.deepEqual(
    { allowPrivilegeEscalation, readOnlyRootFilesystem, capabilities, privileged },
    {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
      privileged: undefined,
    },
  );
  const writable = volumeMounts.filter(({ readOnly }) => readOnly !== true).map(({ mountPath }) => mountPath);
  if (name === 'mintmark')
    for (const path of writable) assert.match(String(path), /^\/(?:run|var\/lib)\/mintmark$/);
}

test('the chart is of the version that the program is', () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const chart = readFileSync(join(CHART, 'Chart.yaml'), 'utf8');
  assert.match(chart, new RegExp(`^version: ${version}$`, 'm'));
  assert.match(chart, new RegExp(`^appVersion: "${version}"$`, 'm'));
});

test('the authority: two replicas on different nodes, of which one always serves', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('authority'));
  const { spec } = find(manifests, 'Deployment');
  const pod = spec.template.spec;
  const [container] = pod.containers;
  assert.equal(spec.replicas, 2);
  assert.deepEqual(spec.strategy.rollingUpdate, { maxUnavailable: 0, maxSurge: 1 });
  const [{ podAffinityTerm }] = pod.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution;
  assert.equal(podAffinityTerm.topologyKey, 'kubernetes.io/hostname');
  assert.deepEqual(podAffinityTerm.labelSelector, spec.selector);
  assert.equal(pod.topologySpreadConstraints[0].topologyKey, 'topology.kubernetes.io/zone');
  assert.equal(container.livenessProbe.httpGet.path, '/livez');
  assert.equal(container.readinessProbe.httpGet.path, '/readyz');
  assert.deepEqual(
    container.ports.find(({ name }: { name: string }) => name === 'status').containerPort,
    9464,
  );
  assert.deepEqual(container.lifecycle.preStop, { sleep: { seconds: 5 } });
  assert.ok(pod.terminationGracePeriodSeconds >= 5 + 10);
  const { spec: budget } = find(manifests, 'PodDisruptionBudget');
  assert.deepEqual([budget.maxUnavailable, budget.selector], [1, spec.selector]);
});

test('one replica has no disruption budget, and an older Kubernetes no sleep', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('authority'), '--set=replicas=1', '--kube-version=1.29.3');
  assert.ok(!manifests.some(({ kind }) => kind === 'PodDisruptionBudget'));
  assert.equal(find(manifests, 'Deployment').spec.template.spec.containers[0].lifecycle, undefined);
});

test('a changed configuration rolls the pods, and nothing else does', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const checksum = async (...args: readonly string[]) =>
    find(await render(...valuesOf('authority'), ...args), 'Deployment').spec.template.metadata.annotations[
      'checksum/config'
    ];
  const before = await checksum();
  assert.equal(await checksum('--set=replicas=3'), before);
  assert.notEqual(await checksum('--set=log.level=debug'), before);
  assert.notEqual(await checksum('--set=keys.rotateEvery=14d'), before);
});

test('the service account token is in pods only that need it', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const authority = await render(...valuesOf('authority'));
  assert.equal(find(authority, 'ServiceAccount').automountServiceAccountToken, false);
  assert.equal(find(authority, 'Deployment').spec.template.spec.automountServiceAccountToken, true);
  assert.equal(find(authority, 'Pod', 'mintmark-test').spec.automountServiceAccountToken, false);
  const [alone] = podsOf(await render(...valuesOf('standalone')));
  assert.equal(alone?.automountServiceAccountToken, false);
});

test('stand-alone: each container of the workload has the socket, read-only, and no key', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('standalone'));
  const [pod] = podsOf(manifests);
  const [web] = pod!.containers;
  assert.deepEqual(
    web!.env!.map(({ name }) => name),
    ['MINTMARK_SOCKET', 'AWS_ROLE_ARN'],
  );
  assert.deepEqual(web!.volumeMounts, [
    { name: 'data', mountPath: '/data' },
    { name: 'run', mountPath: '/run/mintmark', readOnly: true },
  ]);
  const [mintmark] = pod!.initContainers!;
  assert.equal(mintmark!.restartPolicy, 'Always');
  const kinds = new Set(manifests.map(({ kind }) => kind));
  for (const kind of ['ClusterRole', 'Role', 'ServiceAccount', 'MutatingWebhookConfiguration', 'Namespace'])
    assert.ok(!kinds.has(kind), kind);
});
