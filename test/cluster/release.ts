/** The chart, installed in a namespace of its own as its users would, and what a test asks of it. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { request } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import { ROOT } from '../deploy/program.ts';
import {
  cluster,
  createNamespace,
  deleteNamespace,
  eventually,
  get,
  kubectl,
  type Output,
  startCluster,
  tryCluster,
} from './cluster.ts';
import { MINTMARK } from './images.ts';

export const CHART = join(ROOT, 'charts/mintmark');
export const ISSUER = 'https://id.example.com';

export type Values = Readonly<Record<string, unknown>>;

/** A rule for the pods of a namespace. */
export const ruleFor = (namespace: string, rule: Values = {}): Values => ({
  name: 'all pods',
  match: [`k8s:ns:${namespace}`],
  subject: '{k8s.ns}:{k8s.sa}',
  audiences: ['sts.amazonaws.com'],
  ...rule,
});

const [repository = '', tag = ''] = MINTMARK.split(/:(?=[^:]*$)/);
const OWN_VALUES = {
  issuer: ISSUER,
  image: { repository, tag, pullPolicy: 'Never' },
  // Nothing is to wait for them on a machine with two cores.
  resources: { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '512Mi' } },
};

export type Release = {
  readonly name: string;
  readonly namespace: string;
  /** `helm upgrade` with these values over those of the tests. */
  upgrade(values: Values, ...options: string[]): Promise<void>;
  /** The names of the authority's pods that run and are to go on. */
  authorities(): Promise<readonly string[]>;
  /** Runs the program in one of them. */
  mintmark(pod: string, ...args: string[]): Promise<string>;
  jwks(): Promise<readonly string[]>;
  verify(token: string, audience: string): Promise<JWTPayload>;
  /** The way of sidecars to the authority. */
  openPost(): Promise<Post>;
  /** Once every replica is ready and in the Service. */
  available(): Promise<void>;
  logs(): Promise<string>;
  uninstall(): Promise<void>;
};

/** POST with a bearer of the test's own. */
export type Post = (path: string, bearer: string | undefined, body: unknown) => Promise<Answer>;

export type Answer = {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, unknown>>;
};

/** Neither waits nor fails: for values that are wrong. */
export function tryInstall(
  name: string,
  namespace: string,
  values: Values,
  ...options: string[]
): Promise<Output> {
  const merged = { ...OWN_VALUES, ...values };
  return tryCluster(
    ['helm', 'install', name, CHART, '-n', namespace, '-f', '-', ...options],
    JSON.stringify(merged),
  );
}

/** Installs it and waits until it is ready. */
export async function install(values: Values, name = `mm-${randomUUID().slice(0, 5)}`): Promise<Release> {
  const namespace = await createNamespace('release');
  const { code, stderr } = await tryInstall(name, namespace, values, '--wait', '--timeout=40s');
  const release = releaseOf(name, namespace);
  if (code !== 0) {
    const pods = await kubectl('-n', namespace, 'get', 'pods,events');
    const logs = await release.logs().catch(String);
    await release.uninstall();
    assert.fail(`helm install: ${stderr}${pods}${logs}`);
  }
  await reachable(namespace);
  return release;
}

type PodList = {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly deletionTimestamp?: string };
    readonly status: { readonly phase: string };
  }[];
};

type ServiceList = {
  readonly items: readonly {
    readonly metadata: { readonly name: string };
    readonly spec: { readonly clusterIP: string; readonly ports: readonly { readonly port: number }[] };
  }[];
};

/**
 * Its Services are known to the cluster's proxy and DNS: after an API server that went away both
 * take up to a minute to look again.
 */
async function reachable(namespace: string): Promise<void> {
  const { items } = JSON.parse(
    await kubectl('-n', namespace, 'get', 'services', '-o', 'json'),
  ) as ServiceList;
  const resolver = new Resolver({ timeout: 1000, tries: 1 });
  resolver.setServers([`${new URL((await startCluster()).getCurrentCluster()?.server ?? '').hostname}:53`]);
  for (const { metadata, spec } of items)
    await eventually(
      `the Service ${metadata.name}`,
      async () => {
        const [known] = await resolver.resolve4(`${metadata.name}.${namespace}.svc.cluster.local`);
        return known === spec.clusterIP && (await accepts(spec.clusterIP, spec.ports[0]?.port ?? 0));
      },
      120,
    );
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1000 }, () => end(true));
    const end = (isAccepted: boolean) => {
      socket.destroy();
      resolve(isAccepted);
    };
    socket.on('error', () => end(false)).on('timeout', () => end(false));
  });
}

export const fullName = (release: string) => (release.includes('mintmark') ? release : `${release}-mintmark`);

function releaseOf(name: string, namespace: string): Release {
  const selector = `app.kubernetes.io/instance=${name},app.kubernetes.io/component=authority`;
  const full = fullName(name);
  const jwksUrl = async () =>
    new URL(`http://${await clusterIp(namespace, `${full}-discovery`)}/.well-known/jwks`);
  return {
    name,
    namespace,
    async upgrade(values, ...options) {
      const args = [
        'helm',
        'upgrade',
        name,
        CHART,
        '-n',
        namespace,
        '-f',
        '-',
        '--wait',
        '--timeout=180s',
        ...options,
      ];
      await cluster(args, JSON.stringify({ ...OWN_VALUES, ...values }));
    },
    async authorities() {
      const { items } = JSON.parse(
        await kubectl('-n', namespace, 'get', 'pods', '-l', selector, '-o', 'json'),
      ) as PodList;
      return items
        .filter(
          ({ metadata, status }) => metadata.deletionTimestamp === undefined && status.phase === 'Running',
        )
        .map(({ metadata }) => metadata.name);
    },
    mintmark: (pod, ...args) => kubectl('-n', namespace, 'exec', pod, '--', 'mintmark', ...args),
    async jwks() {
      const { keys } = (await (await fetch(await jwksUrl())).json()) as {
        readonly keys: readonly { readonly kid: string }[];
      };
      return keys.map(({ kid }) => kid).sort();
    },
    async verify(token, audience) {
      const keys = createRemoteJWKSet(await jwksUrl());
      return (await jwtVerify(token, keys, { issuer: ISSUER, audience })).payload;
    },
    async openPost() {
      const host = `${full}.${namespace}.svc`;
      const [address, ca] = await Promise.all([clusterIp(namespace, full), caOf(full)]);
      return (path, bearer, body) => postTls(address, host, ca, path, bearer, body);
    },
    async available() {
      await kubectl('wait', 'nodes', '--all', '--for=condition=Ready', '--timeout=60s');
      await kubectl('-n', namespace, 'rollout', 'status', 'deployment', full, '--timeout=120s');
    },
    logs: () =>
      kubectl(
        ...['-n', namespace, 'logs', '-l', `app.kubernetes.io/instance=${name}`],
        ...['--all-containers', '--tail=200', '--prefix'],
      ),
    async uninstall() {
      await tryCluster(['helm', 'uninstall', name, '-n', namespace, '--wait', '--timeout=60s']);
      await deleteNamespace(namespace);
    },
  };
}

export async function clusterIp(namespace: string, service: string): Promise<string> {
  const found = await get<{ spec: { clusterIP: string } }>(namespace, 'service', service);
  assert.ok(found, `no Service ${service}`);
  return found.spec.clusterIP;
}

export type WebhookConfiguration = {
  readonly webhooks: readonly { readonly clientConfig: { readonly caBundle?: string } }[];
};

/** What sidecars are given to know the authority by. */
export async function caOf(configuration: string): Promise<string> {
  const found = await get<WebhookConfiguration>('default', 'mutatingwebhookconfiguration', configuration);
  return Buffer.from(found?.webhooks[0]?.clientConfig.caBundle ?? '', 'base64').toString();
}

function postTls(
  address: string,
  servername: string,
  ca: string,
  path: string,
  bearer: string | undefined,
  body: unknown,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      host: servername,
      ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }),
    };
    const outgoing = request(
      { host: address, port: 8443, servername, ca, path, method: 'POST', headers },
      async (response) => {
        const text = (await response.toArray()).join('');
        resolve({ status: response.statusCode ?? 0, text, headers: response.headers });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
}
