/** Pods, settings and what Kubernetes makes of them, for the tests of injection. */
import fc from 'fast-check';
import type { Container, Pod } from '../../src/injection/pod.ts';
import type { InjectionContext, InjectionSettings } from '../../src/injection/settings.ts';

export const SETTINGS: InjectionSettings = {
  image: 'registry.example.com/mintmark:0.1.0',
  url: 'https://mintmark.mintmark.svc:8443',
  audience: 'mintmark',
  statusListen: '0.0.0.0:9464',
  reuseFloor: '1m',
  singleUse: [],
  resources: { requests: { cpu: '10m', memory: '48Mi' }, limits: { memory: '96Mi' } },
};
export const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n';
export const CONTEXT: InjectionContext = { ca: PEM, version: '1.2.3' };

export const ROLE = 'arn:aws:iam::111122223333:role/web';
export const PROVIDER =
  '//iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/k8s/providers/mintmark';
export const CLIENT = '0aabbccd-0000-4000-8000-00000000cafe';
export const TENANT = '1aabbccd-0000-4000-8000-00000000cafe';

/** A pod of one container; `spec` and `annotations` are added to it. */
export function pod(
  annotations: Readonly<Record<string, string>> = {},
  spec: Partial<Pod['spec']> = {},
): Pod {
  const prefixed = Object.entries(annotations).map(([name, value]) => [`mintmark.io/${name}`, value]);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'web', namespace: 'prod', annotations: Object.fromEntries(prefixed) },
    spec: { containers: [{ name: 'web', image: 'busybox' }], ...spec },
  };
}

export function containerOf({ spec }: Pod, name: string): Container {
  const found = [...(spec.initContainers ?? []), ...spec.containers].find((each) => each.name === name);
  if (found === undefined) throw new Error(`no container ${name}`);
  return found;
}

/** The variables with a text, as the kubelet hands them over: `$$` is a dollar, `$(NAME)` an earlier variable. */
export function environmentOf({ env }: Container): Readonly<Record<string, string>> {
  const seen: Record<string, string> = {};
  for (const { name, value } of env ?? [])
    if (typeof value === 'string')
      seen[name] = value.replaceAll(/\$\$|\$\(([A-Za-z0-9_.-]+)\)/g, (all, inner) =>
        all === '$$' ? '$' : (seen[inner] ?? all),
      );
  return seen;
}

const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}[a-z0-9]$/);
const variable = fc.record({
  name: fc.constantFrom('PATH', 'AWS_ROLE_ARN', 'VAULT_ADDR', 'MINTMARK_SOCKET', 'GREETING', 'A'),
  value: fc.string(),
});
const mount = fc.record(
  {
    name: fc.constantFrom('data', 'cache'),
    mountPath: fc.constantFrom('/data', '/run', '/run/other', '/x/'),
    readOnly: fc.boolean(),
  },
  { requiredKeys: ['name', 'mountPath'] },
);
const container = fc.record(
  {
    name: word.filter((name) => name !== 'mintmark'),
    image: word,
    args: fc.array(fc.string(), { maxLength: 3 }),
    env: fc.option(fc.uniqueArray(variable, { maxLength: 4, selector: ({ name }) => name })),
    volumeMounts: fc.option(fc.uniqueArray(mount, { maxLength: 3, selector: ({ mountPath }) => mountPath })),
    ports: fc.array(fc.record({ containerPort: fc.integer({ min: 9460, max: 9470 }) }), { maxLength: 2 }),
    securityContext: fc.constant({ runAsUser: 1000 }),
  },
  { requiredKeys: ['name'] },
);
const containers = fc.uniqueArray(container, { minLength: 1, maxLength: 5, selector: ({ name }) => name });

/** The clouds in all combinations. */
const annotations = fc
  .array(
    fc.constantFrom<Readonly<Record<string, string>>>(
      { 'aws-role-arn': ROLE },
      { 'aws-role-arn': ROLE, 'aws-audience': 'sts.example.com' },
      { 'google-audience': PROVIDER },
      { 'google-audience': PROVIDER, 'google-service-account': 'web@acme.iam.gserviceaccount.com' },
      { 'azure-client-id': CLIENT, 'azure-tenant-id': TENANT },
      { 'vault-address': 'https://vault.example.com:8200', 'vault-role': '$(A)$$' },
      { 'token-audiences': 'https://a.example.com/$(PATH), b' },
      { cpu: '250m', memory: '128Mi' },
    ),
    { maxLength: 4 },
  )
  .map((parts) => Object.assign({}, ...parts) as Record<string, string>);

const extras = fc.record(
  {
    serviceAccountName: word,
    hostNetwork: fc.boolean(),
    dnsPolicy: fc.constantFrom('ClusterFirst', 'ClusterFirstWithHostNet', 'None'),
    ephemeralContainers: fc.constant([{ name: 'debugger', targetContainerName: 'web' }]),
    nodeSelector: fc.dictionary(word, word, { maxKeys: 2 }),
    volumes: fc.option(
      fc.constant([
        { name: 'data', emptyDir: {} },
        { name: 'cache', hostPath: { path: '/c' } },
      ]),
    ),
  },
  { requiredKeys: [] },
);

export const arbitraryPod: fc.Arbitrary<Pod> = fc
  .tuple(
    containers,
    fc.nat(5),
    annotations,
    extras,
    fc.option(word, { nil: undefined }),
    fc.dictionary(word, word),
  )
  .map(([all, split, given, more, name, labels]): Pod => {
    const [first = [], rest = []] = [
      all.slice(0, Math.min(split, all.length - 1)),
      all.slice(Math.min(split, all.length - 1)),
    ];
    const made = pod(given);
    return {
      ...made,
      metadata: {
        ...made.metadata,
        ...(name === undefined ? { name: null, generateName: 'web-' } : { name }),
        labels,
      },
      spec: { ...more, containers: rest, ...(first.length === 0 ? {} : { initContainers: first }) },
    } as Pod;
  })
  // As it comes from the wire.
  .map((made) => JSON.parse(JSON.stringify(made)) as Pod);
