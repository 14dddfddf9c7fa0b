/**
 * Authority, sidecar and workload as containers of Docker, with the socket in a volume that two of
 * them share: only the API server that says whose the sidecar's token is belongs to the cluster.
 */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import type { KubeConfig } from '@kubernetes/client-node';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { createDirectory } from '../deploy/program.ts';
import { ASK, createVolume, docker, hasDocker, NO_DOCKER, SLEEP } from '../e2e/docker.ts';
import { buildBase, buildImage } from '../e2e/images.ts';
import { isMissing } from '../stores/requires.ts';
import { apply, deleteNamespace, eventually, kubectl, startCluster } from './cluster.ts';
import {
  boundToken,
  createAccount,
  deletePod,
  type Pod,
  podOf,
  startPod,
  workloadNamespace,
} from './pods.ts';
import { ISSUER, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const BASE = 'localhost/mintmark-cluster-base';
const IMAGE = 'localhost/mintmark-cluster-docker';
const AUTHORITY = 'authority.example.com';
const IN_CLUSTER = '/var/run/secrets/kubernetes.io/serviceaccount';
const READY = Wait.forLogMessage('"msg":"ready"');
const WORLD = 0o444;

test('Docker', { timeout: 300_000 }, async (t) => {
  if (isMissing(t, hasDocker, NO_DOCKER)) return;
  const cluster = await startCluster();
  const namespace = await workloadNamespace();
  t.after(() => deleteNamespace(namespace));
  t.after(() => docker('image', 'rm', '--force', IMAGE, BASE));
  for (const name of ['web', 'authority']) await createAccount(namespace, name);
  await buildBase(createDirectory(t), BASE);
  await buildImage(createDirectory(t), IMAGE, BASE);
  await t.test('the three as containers', (t) => three(t, cluster, namespace));
});

async function three(t: TestContext, cluster: KubeConfig, namespace: string): Promise<void> {
  const labels = { 'mintmark.io/inject': 'false' };
  const pod = await startPod(namespace, 'web-1', { serviceAccount: 'web', labels });
  const authority = await startAuthority(t, cluster, namespace);
  const volume = createVolume(t);
  const sidecar = await startSidecar(authority, volume, pod);
  const workload = await startWorkload(volume);
  const jwks = createRemoteJWKSet(new URL(`http://${addressOf(authority)}:8080/.well-known/jwks`));
  const verify = async (token: string): Promise<JWTPayload> =>
    (await jwtVerify(token, jwks, { issuer: ISSUER, audience: AWS })).payload;

  await t.test('a workload gets its token by the socket in the volume', async () => {
    const { status, body } = await ask(workload);
    assert.equal(status, 200, body);
    const payload = await verify(body);
    const { uid } = (await podOf(pod)).metadata;
    assert.deepEqual([payload.sub, payload.pod_uid], [`${namespace}:web`, uid]);
  });

  await t.test('its token file is in the volume too, and the workload can take neither away', async () => {
    const read = `fs.readFileSync('/run/mintmark/tokens/aws', 'latin1')`;
    await verify(await inNode(workload, `process.stdout.write(${read})`));
    const remove = `try { fs.unlinkSync('/run/mintmark/api.sock') } catch ({ code }) { process.stdout.write(code) }`;
    assert.equal(await inNode(workload, remove), 'EROFS');
  });

  await t.test('the sidecar that is started again is there for the same workload', async () => {
    await sidecar.restart();
    await eventually('an answer', async () => (await ask(workload)).status === 200, 30);
    await verify((await ask(workload)).body);
  });

  await t.test('it gets none once the pod of the sidecar’s token is gone', async () => {
    await deletePod(pod);
    await eventually('the refusal', async () => [401, 403].includes((await ask(workload)).status), 30);
    assert.match((await ask(workload)).body, /gone|does not know/);
  });
}

/** As in a pod: the files of its service account, and where the API is. It may do what the chart's role lets it. */
async function startAuthority(t: TestContext, cluster: KubeConfig, namespace: string) {
  await grant(t, namespace);
  const { server, caData = '' } = cluster.getCurrentCluster() ?? assert.fail('no cluster in the kubeconfig');
  const { hostname, port } = new URL(server);
  const config = {
    issuer: ISSUER,
    host: 'authority',
    private: { listen: '0.0.0.0:8443', tls: { bootstrap: { names: [AUTHORITY] } } },
    public: { listen: '0.0.0.0:8080' },
    keys: { store: 'memory' },
    attestors: { kubernetes: {} },
    doors: { authority: {} },
    rules: [ruleFor(namespace, { claims: { pod_uid: '{k8s.pod-uid}' } })],
  };
  const started = await new GenericContainer(IMAGE)
    .withEnvironment({ KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port })
    .withCopyContentToContainer(
      [
        ['/etc/mintmark/mintmark.yaml', JSON.stringify(config)] as const,
        [`${IN_CLUSTER}/ca.crt`, Buffer.from(caData, 'base64').toString()] as const,
        [`${IN_CLUSTER}/token`, await kubectl('-n', namespace, 'create', 'token', 'authority')] as const,
      ].map(([target, content]) => ({ target, content, mode: WORLD })),
    )
    .withWaitStrategy(READY)
    .start();
  t.after(() => started.stop());
  return started;
}

async function grant(t: TestContext, namespace: string): Promise<void> {
  const name = `mintmark-docker-${randomUUID()}`;
  const group = 'rbac.authorization.k8s.io';
  t.after(() => kubectl('delete', 'clusterrole,clusterrolebinding', name));
  await apply(
    {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules: [
        { apiGroups: ['authentication.k8s.io'], resources: ['tokenreviews'], verbs: ['create'] },
        { apiGroups: [''], resources: ['pods', 'namespaces'], verbs: ['get', 'list', 'watch'] },
      ],
    },
    {
      apiVersion: `${group}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup: group, kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name: 'authority', namespace }],
    },
  );
}

/** It goes with its volume, as the workload does. */
async function startSidecar(authority: StartedTestContainer, volume: string, pod: Pod) {
  const { output: ca, exitCode } = await authority.exec(['mintmark', 'ca']);
  assert.equal(exitCode, 0, ca);
  return new GenericContainer(IMAGE)
    .withCommand(['serve'])
    .withEnvironment({
      MINTMARK_AUTHORITY_URL: `https://${AUTHORITY}:8443`,
      MINTMARK_AUTHORITY_CA: ca,
      MINTMARK_AUTHORITY_TOKEN_FILE: '/var/run/secrets/mintmark/token',
      MINTMARK_SOCKET: '/run/mintmark/api.sock',
      MINTMARK_TOKENS: JSON.stringify([{ path: '/run/mintmark/tokens/aws', audience: AWS }]),
    })
    .withExtraHosts([{ host: AUTHORITY, ipAddress: addressOf(authority) }])
    .withBindMounts([{ source: volume, target: '/run/mintmark', mode: 'rw' }])
    .withCopyContentToContainer([
      { content: await boundToken(pod, 'web'), target: '/var/run/secrets/mintmark/token', mode: WORLD },
    ])
    .withWaitStrategy(READY)
    .start();
}

/** It has the socket and nothing else, not even a network. */
function startWorkload(volume: string): Promise<StartedTestContainer> {
  return new GenericContainer(BASE)
    .withCommand(['node', '-e', `console.log('up'); ${SLEEP}`])
    .withUser('10001:10001')
    .withNetworkMode('none')
    .withBindMounts([{ source: volume, target: '/run/mintmark', mode: 'ro' }])
    .withWaitStrategy(Wait.forLogMessage('up'))
    .start();
}

const addressOf = (container: StartedTestContainer): string => container.getIpAddress('bridge');

async function inNode(container: StartedTestContainer, script: string): Promise<string> {
  const { output, exitCode } = await container.exec(['node', '-e', script]);
  assert.equal(exitCode, 0, output);
  return output.trim();
}

async function ask(
  workload: StartedTestContainer,
): Promise<{ readonly status: number; readonly body: string }> {
  return JSON.parse(await inNode(workload, ASK));
}
