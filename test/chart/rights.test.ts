/** What the chart lets the authority do, and whom it lets in. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { injectPod } from '../../src/injection/inject.ts';
import { CONTEXT, containerOf, pod, SETTINGS } from '../injection/pods.ts';
import { isMissing } from '../stores/requires.ts';
import {
  find,
  hasHelm,
  type Manifest,
  NAMESPACE,
  NO_HELM,
  render,
  renderAnew,
  scenarios,
  valuesOf,
} from './helm.ts';

const REVIEWS = { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] };
const PODS = { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list', 'watch'] };
const OWN_WEBHOOK = {
  apiGroups: ['admissionregistration.k8s.io'],
  resources: ['mutatingwebhookconfigurations'],
  resourceNames: ['mintmark'],
  verbs: ['get', 'patch'],
};

const rights: readonly [string, readonly object[], string][] = [
  ['authority', [REVIEWS, PODS, OWN_WEBHOOK], 'mintmark-keys'],
  ['existing-kek', [REVIEWS, PODS, OWN_WEBHOOK], 'mintmark-ring'],
  ['cert-manager', [REVIEWS, PODS], 'mintmark-keys'],
  ['no-webhook', [REVIEWS, PODS], 'mintmark-keys'],
];

for (const [scenario, clusterRules, secret] of rights)
  test(`${scenario}: the authority's rights are these and no more`, async (t) => {
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const manifests = await render(...valuesOf(scenario));
    const ofKind = (kind: string) => manifests.filter((manifest) => manifest.kind === kind);
    assert.deepEqual(
      ofKind('ClusterRole').map(({ rules }) => rules),
      [clusterRules],
    );
    const own = {
      apiGroups: [''],
      resources: ['secrets'],
      resourceNames: [secret],
      verbs: ['get', 'watch', 'patch'],
    };
    assert.deepEqual(
      ofKind('Role').map(({ rules }) => rules),
      [[own]],
    );
    const subjects = [{ kind: 'ServiceAccount', name: 'mintmark', namespace: NAMESPACE }];
    for (const kind of ['Role', 'ClusterRole']) {
      const binding = find(manifests, `${kind}Binding`);
      assert.deepEqual(binding.roleRef, { apiGroup: 'rbac.authorization.k8s.io', kind, name: 'mintmark' });
      assert.deepEqual(binding.subjects, subjects);
    }
    assert.ok(ofKind('Secret').every(({ metadata }) => metadata.namespace === NAMESPACE));
  });

test('the webhook fails closed in the namespaces that ask for it, and never asks for our own', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('authority'));
  const { metadata, webhooks } = find(manifests, 'MutatingWebhookConfiguration');
  assert.deepEqual(webhooks.slice(0, 1), [
    {
      name: 'inject.mintmark.io',
      admissionReviewVersions: ['v1'],
      clientConfig: { service: { name: 'mintmark', namespace: NAMESPACE, path: '/v1/inject', port: 8443 } },
      rules: [
        {
          operations: ['CREATE'],
          apiGroups: [''],
          apiVersions: ['v1'],
          resources: ['pods'],
          scope: 'Namespaced',
        },
      ],
      namespaceSelector: {
        matchLabels: { 'mintmark.io/injection': 'enabled' },
        matchExpressions: [
          { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: [NAMESPACE, 'kube-system'] },
        ],
      },
      objectSelector: { matchExpressions: [{ key: 'mintmark.io/inject', operator: 'Exists' }] },
      failurePolicy: 'Fail',
      reinvocationPolicy: 'IfNeeded',
      matchPolicy: 'Equivalent',
      sideEffects: 'None',
      timeoutSeconds: 5,
    },
  ]);
  assert.equal(metadata.annotations, undefined);
});

test('two releases ask for namespaces and pods by labels of their own', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(
    ...valuesOf('authority'),
    '--set-string=webhook.namespaceSelector.matchLabels.mintmark\\.io/injection=staging',
    '--set-json=webhook.namespaceSelector.matchExpressions=[{"key":"tier","operator":"Exists"}]',
    '--set-json=webhook.objectSelector={"matchExpressions":null,"matchLabels":{"team":"a"}}',
  );
  const [{ namespaceSelector, objectSelector }] = find(manifests, 'MutatingWebhookConfiguration').webhooks;
  assert.deepEqual(namespaceSelector, {
    matchLabels: { 'mintmark.io/injection': 'staging' },
    matchExpressions: [
      { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: [NAMESPACE, 'kube-system'] },
      { key: 'tier', operator: 'Exists' },
    ],
  });
  assert.deepEqual(objectSelector, { matchLabels: { team: 'a' } });
});

test('cert-manager brings the CA bundle, and a certificate for the names that are called', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const names = [`mintmark.${NAMESPACE}.svc`, `mintmark.${NAMESPACE}.svc.cluster.local`];
  for (const scenario of ['cert-manager', 'cert-manager-issuer']) {
    const manifests = await render(...valuesOf(scenario));
    const { metadata, webhooks } = find(manifests, 'MutatingWebhookConfiguration');
    assert.deepEqual(metadata.annotations, { 'cert-manager.io/inject-ca-from': `${NAMESPACE}/mintmark-tls` });
    assert.equal(webhooks[0].clientConfig.service.port, find(manifests, 'Service').spec.ports[0].port);
    const { spec } = find(manifests, 'Certificate', 'mintmark-tls');
    assert.deepEqual(spec.dnsNames, names);
    assert.equal(secretOf(manifests, 'tls'), spec.secretName);
  }
  const own = await render(...valuesOf('cert-manager'));
  const { spec } = find(own, 'Certificate', 'mintmark-tls');
  assert.equal(find(own, 'Issuer', spec.issuerRef.name).spec.ca.secretName, 'mintmark-ca');
  const given = await render(...valuesOf('cert-manager-issuer'));
  assert.ok(!given.some(({ kind }) => kind === 'Issuer'));
  assert.equal(find(given, 'Certificate', 'mintmark-tls').spec.issuerRef.name, 'internal');
});

test('the key-encryption key: 32 bytes, another for each installation, kept and unchangeable', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const rendered = async () => find(await renderAnew(...valuesOf('authority')), 'Secret', 'mintmark-kek');
  const [one, other] = await Promise.all([rendered(), rendered()]);
  assert.equal(Buffer.from(one.data.kek, 'base64').length, 32);
  assert.notEqual(one.data.kek, other.data.kek);
  assert.equal(one.immutable, true);
  assert.equal(one.metadata.annotations?.['helm.sh/resource-policy'], 'keep');
});

test('a key-encryption key of your own is taken, and none is made', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const manifests = await render(...valuesOf('existing-kek'));
  const secrets = manifests.filter(({ kind }) => kind === 'Secret');
  assert.deepEqual(
    secrets.map(({ metadata }) => metadata.name),
    ['mintmark-ring'],
  );
  const volumes = find(manifests, 'Deployment').spec.template.spec.volumes;
  const { secret } = volumes.find(({ name }: { name: string }) => name === 'kek');
  assert.deepEqual(secret, {
    secretName: 'mintmark-own-kek',
    defaultMode: 0o400,
    items: [{ key: 'key-2026', path: 'kek' }],
  });
});

test('the Secret of the keys has no data, so that upgrades leave what replicas wrote; it stays unless told', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  for (const scenario of scenarios.filter((name) => name !== 'standalone')) {
    const manifests = await render(...valuesOf(scenario));
    const isKept = scenario !== 'existing-kek';
    const secret = find(manifests, 'Secret', isKept ? 'mintmark-keys' : 'mintmark-ring');
    assert.deepEqual([secret.data, secret.stringData], [undefined, undefined]);
    assert.deepEqual(secret.metadata.annotations, isKept ? { 'helm.sh/resource-policy': 'keep' } : undefined);
  }
});

test('helm keeps nothing but the keys', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const kept = (await render(...valuesOf('monitoring'))).filter(
    ({ metadata }) => metadata.annotations?.['helm.sh/resource-policy'] !== undefined,
  );
  assert.deepEqual(kept.map(({ metadata }) => metadata.name).sort(), ['mintmark-kek', 'mintmark-keys']);
});

test('sidecars are scraped at the port that injection gives them, by its name', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const { spec } = find(await render(...valuesOf('monitoring')), 'PodMonitor', 'mintmark-sidecars');
  const web = { name: 'web', image: 'busybox', ports: [{ containerPort: 9464 }] };
  const moved = containerOf(injectPod(pod({}, { containers: [web] }), SETTINGS, CONTEXT), 'mintmark');
  assert.deepEqual(moved.ports, [
    { name: spec.podMetricsEndpoints[0].port, containerPort: 9465, protocol: 'TCP' },
  ]);
  assert.deepEqual([spec.selector, spec.namespaceSelector], [{}, { any: true }]);
});

test('what the network lets through', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const { spec } = find(await render(...valuesOf('gateway')), 'NetworkPolicy');
  const gateways = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'gateways' } } };
  assert.deepEqual(spec.policyTypes, ['Ingress', 'Egress']);
  assert.deepEqual(spec.ingress, [
    { ports: [{ port: 'private' }] },
    { ports: [{ port: 'public' }], from: [gateways] },
    { ports: [{ port: 'status' }], from: [{ namespaceSelector: {} }] },
  ]);
  assert.deepEqual(
    spec.egress.flatMap(({ ports }: { ports: readonly { port: number }[] }) => ports.map(({ port }) => port)),
    [53, 53, 443, 6443, 8443],
  );
});

test('only discovery documents are published', async (t) => {
  if (isMissing(t, hasHelm, NO_HELM)) return;
  const paths = ['/acme/.well-known', '/.well-known/oauth-authorization-server/acme'];
  const ingress = await render(...valuesOf('ingress'));
  const [{ host, http }] = find(ingress, 'Ingress', 'mintmark-discovery').spec.rules;
  assert.equal(host, 'id.example.com');
  assert.deepEqual(
    http.paths.map(({ path }: { path: string }) => path),
    paths,
  );
  const gateway = await render(...valuesOf('gateway'));
  const { spec } = find(gateway, 'HTTPRoute', 'mintmark-discovery');
  assert.deepEqual(spec.hostnames, ['id.example.com']);
  assert.deepEqual(
    spec.rules[0].matches.map(({ path }: { path: { value: string } }) => path.value),
    paths,
  );
  for (const manifests of [ingress, gateway])
    assert.deepEqual(portsOf(manifests, 'mintmark-discovery'), ['public']);
  assert.deepEqual(portsOf(ingress, 'mintmark'), ['private', 'status']);
});

function portsOf(manifests: readonly Manifest[], service: string): readonly string[] {
  return find(manifests, 'Service', service).spec.ports.map(({ name }: { name: string }) => name);
}

function secretOf(manifests: readonly Manifest[], volume: string): string {
  const { volumes } = find(manifests, 'Deployment').spec.template.spec;
  return volumes.find(({ name }: { name: string }) => name === volume).secret.secretName;
}
