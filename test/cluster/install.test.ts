/** helm install, and what every pod that asks for an identity has then. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import {
  apply,
  createNamespace,
  deleteNamespace,
  eventually,
  helm,
  kubectl,
  startCluster,
  tryApply,
  tryKubectl,
} from './cluster.ts';
import { MINTMARK } from './images.ts';
import {
  askToken,
  claimsOf,
  createAccount,
  deletePod,
  freePort,
  inPod,
  mint,
  podManifest,
  podOf,
  podTemplate,
  ready,
  startPod,
  workloadNamespace,
} from './pods.ts';
import { install, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const VAULT = 'https://vault.example.com';
const AZURE = 'api://AzureADTokenExchange';
const POOL = '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b';

suite('an installed chart', () => {
  let release: Release;
  let namespace: string;
  let values: Record<string, unknown>;

  before(async () => {
    await startCluster();
    namespace = await workloadNamespace({ 'pod-security.kubernetes.io/enforce': 'restricted' });
    for (const name of ['web', 'batch', 'idle']) await createAccount(namespace, name);
    const claims = {
      pod: '{k8s.pod-name}',
      pod_uid: '{k8s.pod-uid}',
      ns_uid: '{k8s.ns-uid}',
      sa_uid: '{k8s.sa-uid}',
    };
    values = {
      attestor: { labels: ['app'] },
      rules: [
        ruleFor(namespace, {
          name: 'web',
          match: [`k8s:ns:${namespace}`, 'k8s:sa:web'],
          audiences: [AWS, AZURE, POOL, `https:${POOL}`],
          claims,
        }),
        ruleFor(namespace, {
          name: 'labelled',
          match: [`k8s:ns:${namespace}`, 'k8s:pod-label:app:db'],
          audiences: [VAULT],
        }),
      ],
    };
    release = await install(values);
  });
  after(async () => {
    await deleteNamespace(namespace);
    await release.uninstall();
  });

  test('a pod of a shell and curl gets a token that an independent client verifies', async (t) => {
    const begunAt = Date.now();
    const pod = await startPod(namespace, 'web-1', { serviceAccount: 'web' });
    const token = await mint(pod, AWS);
    t.diagnostic(`${Date.now() - begunAt} ms from kubectl apply to the first token`);
    const payload = await release.verify(token, AWS);
    assert.equal(payload.sub, `${namespace}:web`);
    const { metadata } = await podOf(pod);
    assert.equal(payload.pod, 'web-1');
    assert.equal(payload.pod_uid, metadata.uid);
    assert.match(String(payload.ns_uid), /^[0-9a-f-]{36}$/);
    assert.match(String(payload.sa_uid), /^[0-9a-f-]{36}$/);
    assert.notEqual(claimsOf(await mint(pod, AWS)).jti, payload.jti);
  });

  test('helm test fetches a token and verifies it', async () => {
    await helm('test', release.name, '-n', release.namespace, '--timeout=120s');
  });

  test('the workload has the socket, and neither the token that identifies the pod nor a way to take the socket away', async () => {
    const pod = { namespace, name: 'web-1' };
    const files = await inPod(
      pod,
      'sh',
      '-c',
      'ls -A /run/mintmark; ls -A /var/run/secrets 2>&1; touch /run/mintmark/x 2>&1; rm -f /run/mintmark/api.sock 2>&1; exit 0',
    );
    assert.match(files, /api\.sock/);
    assert.doesNotMatch(files, /^admin\.sock$/m);
    assert.doesNotMatch(files, /^mintmark$/m);
    assert.match(files, /Read-only file system/);
    assert.equal((await askToken(pod, AWS)).status, 200);
  });

  test('the service account decides', async () => {
    const pod = await startPod(namespace, 'batch-1', { serviceAccount: 'batch' });
    assert.equal((await askToken(pod, AWS)).status, 403);
    await deletePod(pod);
  });

  test('a label decides, where the configuration lets labels', async () => {
    const pod = await startPod(namespace, 'db-1', { serviceAccount: 'batch', labels: { app: 'db' } });
    assert.equal(claimsOf(await mint(pod, VAULT)).sub, `${namespace}:batch`);
    assert.equal((await askToken(pod, AWS)).status, 403);
    await deletePod(pod);
  });

  test('the digest of the image decides', async () => {
    const first = await startPod(namespace, 'image-1', { serviceAccount: 'idle' });
    const { status } = await podOf(first);
    const digest = /sha256:[0-9a-f]{64}$/.exec(status.containerStatuses?.[0]?.imageID ?? '')?.[0];
    assert.ok(digest, JSON.stringify(status.containerStatuses));
    const rule = {
      match: [`k8s:ns:${namespace}`, `k8s:image-digest:${digest}`],
      subject: 'image',
      audiences: [VAULT],
    };
    await release.upgrade({
      ...values,
      rules: [...(values.rules as []), ruleFor(namespace, { name: 'image', ...rule })],
    });
    await eventually('the new rule', async () => (await askToken(first, VAULT)).status === 200, 30);
    const command = ['node', '-e', 'setInterval(() => {}, 1000)'];
    const other = await startPod(namespace, 'image-2', { serviceAccount: 'idle', image: MINTMARK, command });
    const refused = await tryKubectl(
      ...['-n', namespace, 'exec', other.name, '-c', 'app', '--'],
      ...['mintmark', 'token', '--aud', VAULT],
    );
    assert.notEqual(refused.code, 0);
    assert.equal(refused.stdout, '');
    assert.ok(refused.stderr.includes(`k8s:image-digest:${digest}`), refused.stderr);
    assert.match(refused.stderr, /image-digest:\S+ does not/);
    for (const pod of [first, other]) await deletePod(pod);
  });

  test('a pod that no rule matches is refused with the facts that it has', async () => {
    const pod = await startPod(namespace, 'idle-1', { serviceAccount: 'idle' });
    const { status, body } = await askToken(pod, AWS);
    assert.equal(status, 403);
    for (const fact of ['k8s:sa:web', 'idle']) assert.ok(body.includes(fact), body);
    await deletePod(pod);
  });

  test('no field of a request makes it another pod’s', async () => {
    const pod = await startPod(namespace, 'batch-2', { serviceAccount: 'batch' });
    for (const fields of [
      { rule: 'web' },
      { claimed: ['k8s:sa:web'] },
      { subject: `${namespace}:web`, sub: `${namespace}:web` },
      { pod: 'web-1', namespace, serviceAccount: 'web' },
    ]) {
      const { status, body } = await askToken(pod, AWS, fields);
      assert.ok(status === 400 || status === 403, `${JSON.stringify(fields)}: ${status} ${body}`);
    }
    await deletePod(pod);
  });

  test('the user of a container decides too, where the sidecar’s word narrows what the pod may have', async () => {
    const [container] = podTemplate().spec.containers;
    const other = {
      ...container,
      name: 'other',
      securityContext: { ...container?.securityContext, runAsUser: 10_002 },
    };
    const rule = {
      match: [`k8s:ns:${namespace}`, 'k8s:sa:idle', 'sidecar:unix-uid:10002'],
      audiences: [VAULT],
    };
    await release.upgrade({ ...values, rules: [ruleFor(namespace, { name: 'narrow', ...rule })] });
    const spec = { containers: [container, other] };
    const pod = await startPod(namespace, 'narrow-1', { serviceAccount: 'idle', spec });
    const refused = await askToken(pod, VAULT);
    assert.equal(refused.status, 403);
    assert.match(refused.body, /sidecar:unix-uid:10002/);
    assert.equal((await askToken(pod, VAULT, {}, 'other')).status, 200);
    await release.upgrade(values);
    await deletePod(pod);
  });

  test('annotations bring the variables and token files of the clouds', async () => {
    const pod = await startPod(namespace, 'clouds-1', {
      serviceAccount: 'web',
      labels: { app: 'db' },
      annotations: {
        'mintmark.io/aws-role-arn': 'arn:aws:iam::123456789012:role/web',
        'mintmark.io/google-audience': POOL,
        'mintmark.io/azure-client-id': '11111111-1111-4111-8111-111111111111',
        'mintmark.io/azure-tenant-id': '22222222-2222-4222-8222-222222222222',
        'mintmark.io/vault-address': VAULT,
        'mintmark.io/vault-role': 'web',
      },
    });
    const script = `for name in AWS_WEB_IDENTITY_TOKEN_FILE AZURE_FEDERATED_TOKEN_FILE MINTMARK_VAULT_TOKEN_FILE; do
      eval "file=\\$$name"; echo "$name $(cat "$file")"; done
      echo "AWS_ROLE_ARN $AWS_ROLE_ARN"; cat "$GOOGLE_APPLICATION_CREDENTIALS"`;
    const said = await inPod(pod, 'sh', '-c', script);
    const of = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(said)?.[1] ?? '';
    assert.equal(of('AWS_ROLE_ARN'), 'arn:aws:iam::123456789012:role/web');
    for (const [name, audience] of [
      ['AWS_WEB_IDENTITY_TOKEN_FILE', AWS],
      ['AZURE_FEDERATED_TOKEN_FILE', AZURE],
      ['MINTMARK_VAULT_TOKEN_FILE', VAULT],
    ] as const)
      await release.verify(of(name), audience);
    const google = JSON.parse(said.slice(said.indexOf('{')));
    assert.equal(google.type, 'external_account');
    assert.equal(google.audience, POOL);
    await release.verify(
      await inPod(pod, 'cat', google.credential_source.file),
      claimsOf(await inPod(pod, 'cat', google.credential_source.file)).aud as string,
    );
    await deletePod(pod);
  });

  test('a Job finishes: the sidecar ends with the work', async () => {
    const script = `curl -sS --fail --unix-socket "$MINTMARK_SOCKET" http://localhost/v1/tokens/oidc -d '{"aud":"${AWS}"}'`;
    const template = podTemplate({
      serviceAccount: 'web',
      command: ['sh', '-c', script],
      spec: { restartPolicy: 'Never' },
    });
    await apply({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name: 'job-1', namespace },
      spec: { backoffLimit: 0, template },
    });
    await kubectl('-n', namespace, 'wait', 'job/job-1', '--for=condition=Complete', '--timeout=60s');
    await release.verify(await kubectl('-n', namespace, 'logs', 'job/job-1', '-c', 'app'), AWS);
  });

  test('an init container of the workload has the socket too', async () => {
    const [container] = podTemplate().spec.containers;
    const script = `curl -sS --fail --unix-socket "$MINTMARK_SOCKET" http://localhost/v1/tokens/oidc -d '{"aud":"${AWS}"}'`;
    const init = { ...container, name: 'first', command: ['sh', '-c', script] };
    const pod = await startPod(namespace, 'init-1', {
      serviceAccount: 'web',
      spec: { initContainers: [init] },
    });
    await release.verify(await kubectl('-n', namespace, 'logs', pod.name, '-c', 'first'), AWS);
    await deletePod(pod);
  });

  test('only pods that ask for it are given a sidecar', async () => {
    const pod = { namespace, name: 'plain-1' };
    await apply(podManifest(namespace, pod.name, { labels: { 'mintmark.io/inject': 'false' } }));
    await ready(pod);
    assert.equal((await podOf(pod)).spec.initContainers, undefined);
    await deletePod(pod);
    const elsewhere = await createNamespace('plain');
    const outside = { namespace: elsewhere, name: 'outside-1' };
    await apply(podManifest(elsewhere, outside.name));
    assert.equal((await podOf(outside)).spec.initContainers, undefined);
    await deleteNamespace(elsewhere);
  });

  test('what is injected is of the restricted kind, and injecting again changes nothing', async () => {
    const pod = await startPod(namespace, 'again-1', { serviceAccount: 'web' });
    const found = await podOf(pod);
    const [sidecar] = found.spec.initContainers ?? [];
    assert.equal(sidecar?.name, 'mintmark');
    assert.equal(sidecar?.restartPolicy, 'Always');
    assert.ok(found.metadata.annotations?.['mintmark.io/injected']);
    const { metadata, spec } = JSON.parse(
      await kubectl('-n', namespace, 'get', 'pod', pod.name, '-o', 'json'),
    );
    const copy = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { namespace, name: 'again-2', labels: metadata.labels, annotations: metadata.annotations },
      spec: { ...spec, nodeName: undefined },
    };
    await apply(copy);
    const names = (list: readonly { readonly name?: unknown }[] = []) => list.map(({ name }) => name);
    const second = await podOf({ namespace, name: 'again-2' });
    assert.deepEqual(names(second.spec.initContainers), names(found.spec.initContainers));
    assert.deepEqual(names(second.spec.volumes), names(found.spec.volumes));
    for (const name of ['again-1', 'again-2']) await deletePod({ namespace, name });
  });

  test('a bad annotation stops the pod, and says which', async () => {
    const annotations = { 'mintmark.io/aws-role-arn': 'not an ARN' };
    const { code, stderr } = await tryApply([
      podManifest(namespace, 'bad-1', { serviceAccount: 'web', annotations }),
    ]);
    assert.notEqual(code, 0);
    assert.match(stderr, /aws-role-arn/);
  });

  test('a pod on the host’s network is given its identity too', async () => {
    const host = await workloadNamespace();
    await createAccount(host, 'web');
    const rule = ruleFor(host, { name: 'host', match: [`k8s:ns:${host}`] });
    await release.upgrade({ ...values, rules: [...(values.rules as []), rule] });
    const annotations = { 'mintmark.io/status-port': String(await freePort()) };
    const spec = { hostNetwork: true, dnsPolicy: 'ClusterFirstWithHostNet' };
    const pod = await startPod(host, 'host-1', { serviceAccount: 'web', annotations, spec });
    assert.equal(claimsOf(await mint(pod, AWS)).sub, `${host}:web`);
    await deleteNamespace(host);
  });
});
