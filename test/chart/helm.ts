/** The chart as helm renders it, with no cluster at hand. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const CHART = join(ROOT, 'charts/mintmark');
export const NAMESPACE = 'identity';

/** On the path, or where test/cluster builds it. */
const HELM = [
  ...(process.env.PATH ?? '').split(delimiter),
  join(
    process.env.CLUSTER_DIR ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kube-fixture'),
    'bin',
  ),
]
  .map((directory) => join(directory, 'helm'))
  .find((path) => existsSync(path));
export const hasHelm = HELM !== undefined;
export const NO_HELM = 'there is no helm: test/cluster/cluster build';

export type Output = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** A cluster that the machine's user may have is not asked. */
export function helm(...args: readonly string[]): Promise<Output> {
  return run(HELM ?? 'helm', args, { ...process.env, KUBECONFIG: '/nowhere/kubeconfig' });
}

export function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Output> {
  return new Promise((resolve) => {
    execFile(command, [...args], { cwd: ROOT, env, maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** The scenarios: ci/NAME-values.yaml. */
export const scenarios = readdirSync(join(CHART, 'ci')).map((file) => file.replace('-values.yaml', ''));

export function valuesOf(scenario: string): readonly string[] {
  return ['--values', join(CHART, 'ci', `${scenario}-values.yaml`)];
}

export type Pod = {
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly automountServiceAccountToken?: boolean;
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Readonly<Record<string, unknown>>[];
  readonly [field: string]: unknown;
};

export type Container = {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value: string }[];
  readonly volumeMounts?: readonly Readonly<Record<string, unknown>>[];
  readonly securityContext?: Readonly<Record<string, unknown>>;
  readonly [field: string]: unknown;
};

/** Any object of Kubernetes, as far as the tests look into it. */
export type Manifest = {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: what each kind has is for each test to say
  readonly [field: string]: any;
};

const rendered = new Map<string, Promise<readonly Manifest[]>>();

/** Rendered once for all who ask for the same. Throws where helm does. */
export function render(...args: readonly string[]): Promise<readonly Manifest[]> {
  const name = args.join(' ');
  const found = rendered.get(name) ?? renderAnew(...args);
  rendered.set(name, found);
  return found;
}

/** Throws where helm does. */
export async function renderAnew(...args: readonly string[]): Promise<readonly Manifest[]> {
  const { code, stdout, stderr } = await helm(
    'template',
    'mintmark',
    CHART,
    '--namespace',
    NAMESPACE,
    ...args,
  );
  assert.equal(code, 0, stderr);
  return parseAllDocuments(stdout, { version: '1.1' })
    .map((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() as Manifest | null;
    })
    .filter((manifest) => manifest !== null);
}

export function find(manifests: readonly Manifest[], kind: string, name = 'mintmark'): Manifest {
  const found = manifests.find(({ kind: of, metadata }) => of === kind && metadata.name === name);
  assert.ok(found, `there is no ${kind} ${name}`);
  return found;
}

/** Of Deployments and of single pods. */
export function podsOf(manifests: readonly Manifest[]): readonly Pod[] {
  return manifests.flatMap(({ kind, spec }) =>
    kind === 'Deployment' ? [spec.template.spec] : kind === 'Pod' ? [spec] : [],
  );
}
