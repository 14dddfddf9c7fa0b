/** Workloads: pods with a shell and curl that know nothing of Mintmark, and one that asks without end. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { apply, createNamespace, eventually, get, kubectl, type Manifest, tryKubectl } from './cluster.ts';
import { MINTMARK, WORKLOAD } from './images.ts';

export type PodOptions = {
  readonly serviceAccount?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly spec?: Readonly<Record<string, unknown>>;
};

/** Where pods may be given an identity. */
export const workloadNamespace = (labels: Readonly<Record<string, string>> = {}) =>
  createNamespace('work', { 'mintmark.io/injection': 'enabled', ...labels });

export const createAccount = (namespace: string, name: string) =>
  apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name, namespace } });

/** What Pod Security `restricted` asks of a container. */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  runAsUser: 10_001,
  seccompProfile: { type: 'RuntimeDefault' },
};

export function podTemplate(options: PodOptions = {}) {
  const { serviceAccount, labels, annotations, image, command, env, spec } = options;
  return {
    metadata: { labels: { 'mintmark.io/inject': 'true', ...labels }, annotations: annotations ?? {} },
    spec: {
      ...(serviceAccount === undefined ? {} : { serviceAccountName: serviceAccount }),
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'app',
          image: image ?? WORKLOAD,
          imagePullPolicy: 'Never',
          command: command ?? ['/bin/sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'],
          env: Object.entries(env ?? {}).map(([name, value]) => ({ name, value })),
          securityContext: RESTRICTED,
        },
      ],
      ...spec,
    },
  };
}

export function podManifest(namespace: string, name: string, options: PodOptions = {}): Manifest {
  const { metadata, ...rest } = podTemplate(options);
  return { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name, namespace }, ...rest };
}

export type Pod = { readonly namespace: string; readonly name: string };

type ContainerStatus = {
  readonly name: string;
  readonly ready: boolean;
  readonly imageID: string;
  readonly containerID?: string;
  readonly restartCount: number;
  readonly state: object;
};
export type PodObject = {
  readonly metadata: { readonly uid: string; readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: {
    readonly initContainers?: readonly Readonly<Record<string, unknown>>[];
    readonly containers: readonly Readonly<Record<string, unknown>>[];
    readonly volumes: readonly { readonly name: string }[];
  };
  readonly status: {
    readonly phase: string;
    readonly startTime: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly ContainerStatus[];
    readonly initContainerStatuses?: readonly ContainerStatus[];
  };
};

export async function podOf({ namespace, name }: Pod): Promise<PodObject> {
  const found = await get<PodObject>(namespace, 'pod', name);
  assert.ok(found, `no pod ${name}`);
  return found;
}

/** Makes it and waits until all of it is ready. */
export async function startPod(namespace: string, name: string, options: PodOptions = {}): Promise<Pod> {
  await apply(podManifest(namespace, name, options));
  await ready({ namespace, name });
  return { namespace, name };
}

export async function ready(pod: Pod): Promise<void> {
  const { code, stderr } = await tryKubectl(
    ...['-n', pod.namespace, 'wait', `pod/${pod.name}`, '--for=condition=Ready', '--timeout=60s'],
  );
  if (code === 0) return;
  const described = await kubectl('-n', pod.namespace, 'describe', 'pod', pod.name);
  const { stdout } = await tryKubectl('-n', pod.namespace, 'logs', pod.name, '--all-containers', '--tail=20');
  assert.fail(`${stderr}${described}${stdout}`);
}

export const deletePod = ({ namespace, name }: Pod) =>
  kubectl(
    '-n',
    namespace,
    'delete',
    'pod',
    name,
    '--grace-period=0',
    '--force',
    '--ignore-not-found',
    '--wait=true',
  );

/** The process of `mintmark serve` in a pod, as this machine numbers it. */
export const programOf = async (pod: Pod): Promise<number> =>
  findProcess((await podOf(pod)).metadata.uid, 'main.js\0serve');

/** A process whose cgroup and command have these in them: of a pod by its uid, of a container by its id. */
export function findProcess(cgroup: string, command: string): number {
  const read = (file: string) => {
    try {
      return readFileSync(file, 'latin1');
    } catch {
      return '';
    }
  };
  const pid = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .find(
      (each) =>
        read(`/proc/${each}/cgroup`).includes(cgroup) && read(`/proc/${each}/cmdline`).includes(command),
    );
  assert.ok(pid, `no ${command} in ${cgroup}`);
  return Number(pid);
}

/** A token for the authority as the kubelet makes it for a projected volume: bound to the pod. */
export async function boundToken(pod: Pod, account: string, ...options: string[]): Promise<string> {
  const { uid } = (await podOf(pod)).metadata;
  const bound = ['--bound-object-kind=Pod', `--bound-object-name=${pod.name}`, `--bound-object-uid=${uid}`];
  const how = ['--audience=mintmark', '--duration=10m', ...bound, ...options];
  return kubectl('-n', pod.namespace, 'create', 'token', account, ...how);
}

/** The id of a container that runs, as its runtime has it. */
export async function containerId(pod: Pod, container: string): Promise<string> {
  const { containerStatuses = [] } = (await podOf(pod)).status;
  const found = containerStatuses.find(({ name }) => name === container);
  return found?.containerID?.split('//')[1] ?? 'none';
}

/** One that no program of this machine has at the moment. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export const inPod = (pod: Pod, ...command: string[]) => inContainer(pod, 'app', ...command);
export const inContainer = ({ namespace, name }: Pod, container: string, ...command: string[]) =>
  kubectl('-n', namespace, 'exec', name, '-c', container, '--', ...command);

export type Asked = { readonly status: number; readonly body: string; readonly isReused: boolean };

/** What any script would do. */
export async function askToken(
  pod: Pod,
  audience: string,
  fields: Readonly<Record<string, unknown>> = {},
  container = 'app',
): Promise<Asked> {
  const script = `curl -sS --max-time 30 --unix-socket "$MINTMARK_SOCKET" http://localhost/v1/tokens/oidc \\
    -w '\\n%{http_code} %header{mintmark-token}' -d '${JSON.stringify({ aud: audience, ...fields })}'`;
  const lines = (await inContainer(pod, container, 'sh', '-c', script)).split('\n');
  const [status = '', mark = ''] = (lines.pop() ?? '').split(' ');
  return { status: Number(status), body: lines.join('\n').trim(), isReused: mark === 'reused' };
}

/** The token; throws the refusal. */
export async function mint(pod: Pod, audience: string): Promise<string> {
  const { status, body } = await askToken(pod, audience);
  assert.equal(status, 200, body);
  return body;
}

export const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<
    string,
    string | number
  >;

/** A line for each call of a load. */
export type Call = {
  /** Wall time at its beginning, in milliseconds. */
  readonly at: number;
  readonly ms: number;
  /** 0: no answer. */
  readonly status: number;
  readonly isReused: boolean;
  readonly kid?: string;
  readonly token?: string;
  readonly error?: string;
};

const LOAD = `const { request } = require('node:http');
const { AUDIENCE, EVERY_MS, TIMEOUT_MS } = process.env;
const ask = () => new Promise((done) => {
  const at = Date.now();
  const end = (call) => done({ at, ms: Date.now() - at, isReused: false, ...call });
  request({ socketPath: process.env.MINTMARK_SOCKET, path: '/v1/tokens/oidc', method: 'POST', timeout: Number(TIMEOUT_MS) },
    async (response) => {
      const text = (await response.toArray()).join('');
      const isReused = response.headers['mintmark-token'] === 'reused';
      if (response.statusCode !== 200) return end({ status: response.statusCode, isReused, error: text });
      const { kid } = JSON.parse(Buffer.from(text.split('.')[0], 'base64url'));
      end({ status: 200, isReused, kid, token: text });
    })
    .on('timeout', function () { this.destroy(new Error('no answer in time')); })
    .on('error', ({ message }) => end({ status: 0, error: message }))
    .end(JSON.stringify({ aud: AUDIENCE }));
});
process.on('SIGTERM', () => process.exit(0));
(async () => {
  for (;;) {
    const next = Date.now() + Number(EVERY_MS);
    console.log(JSON.stringify(await ask()));
    await new Promise((done) => setTimeout(done, Math.max(0, next - Date.now())));
  }
})();`;

/** A pod that asks for a token every so often, and writes each answer down. */
export function startLoad(
  namespace: string,
  name: string,
  audience: string,
  everyMs: number,
  options: PodOptions = {},
) {
  return startPod(namespace, name, {
    ...options,
    image: MINTMARK,
    command: ['node', '-e', LOAD],
    env: { AUDIENCE: audience, EVERY_MS: String(everyMs), TIMEOUT_MS: '30000', ...options.env },
  });
}

export async function callsOf(pod: Pod): Promise<readonly Call[]> {
  const text = await kubectl('-n', pod.namespace, 'logs', pod.name, '-c', 'app');
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));
}

/** Its calls, once it has made some since then that went well and were not given again. */
export function freshAfter(pod: Pod, since: number, seconds?: number): Promise<Call> {
  return eventually(
    'a fresh token',
    async () =>
      (await callsOf(pod)).find(({ at, status, isReused }) => at >= since && status === 200 && !isReused),
    seconds,
  );
}
