/** What an operator does to a release: wrong values, missing rights, upgrades, and the end of it. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { createDirectory, run, SOURCE } from '../deploy/program.ts';
import {
  apply,
  createNamespace,
  deleteNamespace,
  eventually,
  get,
  helm,
  kubectl,
  namesOf,
  startCluster,
} from './cluster.ts';
import { MINTMARK, MINTMARK_NEXT } from './images.ts';
import { askToken, createAccount, mint, podManifest, ready, startPod, workloadNamespace } from './pods.ts';
import { fullName, install, ruleFor, tryInstall } from './release.ts';

const AWS = 'sts.amazonaws.com';
await startCluster();

suite('a release', () => {
  test('that is upgraded keeps its keys, and the pods that are there go on', async () => {
    const namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const values = { rules: [ruleFor(namespace)], keys: { keepOnUninstall: false } };
    const release = await install(values);
    try {
      const pod = await startPod(namespace, 'web-1', { serviceAccount: 'web' });
      const token = await mint(pod, AWS);
      const before = await release.jwks();
      await release.upgrade({
        ...values,
        image: { repository: 'localhost/mintmark', tag: '2', pullPolicy: 'Never' },
      });
      assert.deepEqual(await release.jwks(), before);
      await release.verify(token, AWS);
      await release.verify(await mint(pod, AWS), AWS);
      const image = await kubectl(
        '-n',
        release.namespace,
        'get',
        'pods',
        '-o',
        'jsonpath={.items[*].spec.containers[*].image}',
      );
      assert.ok(image.includes(MINTMARK_NEXT));
    } finally {
      await deleteNamespace(namespace);
      await release.uninstall();
    }
  });

  test('whose KEK gets another content goes on with the old one, and no replica starts until that is back', async (t) => {
    const namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const values = { replicas: 1, rules: [ruleFor(namespace)], keys: { keepOnUninstall: false } };
    const release = await install(values);
    t.after(async () => {
      await deleteNamespace(namespace);
      await release.uninstall();
    });
    const name = fullName(release.name);
    const inRelease = (...args: string[]) => kubectl('-n', release.namespace, ...args);
    const kek = await inRelease('get', 'secret', `${name}-kek`, '-o', 'jsonpath={.data.kek}');
    const own = (data: string) =>
      apply({
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name: 'own-kek', namespace: release.namespace },
        data: { kek: data },
      });
    await own(kek);
    const keys = await release.jwks();
    const [first] = await release.authorities();
    await release.upgrade({ ...values, existingKek: { name: 'own-kek' } });
    const [second = ''] = await eventually('one replica', async () => {
      const found = await release.authorities();
      return found.length === 1 && found;
    });
    assert.notEqual(second, first);
    assert.deepEqual(await release.jwks(), keys);
    await own(Buffer.alloc(32, 7).toString('base64'));
    await inRelease('rollout', 'restart', 'deployment', name);
    await eventually('the refusal', async () =>
      /was sealed with another key-encryption key/.test(await release.logs()),
    );
    assert.ok((await release.authorities()).includes(second));
    const pod = await startPod(namespace, 'web-1', { serviceAccount: 'web' });
    await eventually('a token', async () => (await askToken(pod, AWS)).status === 200, 30);
    await own(kek);
    await inRelease('rollout', 'restart', 'deployment', name);
    await inRelease('rollout', 'status', 'deployment', name, '--timeout=90s');
    assert.deepEqual(await release.jwks(), keys);
  });

  test('that is uninstalled leaves nothing behind, or its keys where that was asked for', async () => {
    for (const keepOnUninstall of [false, true]) {
      const before = await everything();
      const release = await install({ keys: { keepOnUninstall } });
      const namespaced = await namesOf(release.namespace, 'secrets');
      assert.ok(namespaced.length > 0);
      await kubectl('delete', 'event', '--all', '-n', release.namespace);
      const { uninstall } = release;
      const names = await afterUninstall(release.name, release.namespace);
      const kept = keepOnUninstall ? [`${fullName(release.name)}-kek`, `${fullName(release.name)}-keys`] : [];
      assert.deepEqual(
        names.filter((name) => !name.startsWith('sh.helm')),
        kept,
      );
      await uninstall();
      await deleteNamespace(release.namespace, true);
      const left = [...(await everything())].filter((name) => !before.has(name));
      assert.deepEqual(left, []);
    }
  });

  test('without the webhook: mintmark inject gives a manifest its sidecar', async (t) => {
    const namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const release = await install({
      rules: [ruleFor(namespace)],
      keys: { keepOnUninstall: false },
      webhook: { enabled: false },
    });
    const directory = createDirectory(t);
    t.after(async () => {
      await deleteNamespace(namespace);
      await release.uninstall();
    });
    assert.equal(await get('default', 'mutatingwebhookconfiguration', fullName(release.name)), undefined);
    const [authority = ''] = await release.authorities();
    const at = (name: string) => join(directory, name);
    writeFileSync(at('ca.crt'), await release.mintmark(authority, 'ca'));
    writeFileSync(at('pod.json'), JSON.stringify(podManifest(namespace, 'web-1', { serviceAccount: 'web' })));
    const url = `https://${fullName(release.name)}.${release.namespace}.svc:8443`;
    const options = ['--image', MINTMARK, '--image-pull-policy', 'Never', '--authority-url', url];
    const injected = await run(process.execPath, [
      ...[SOURCE, 'inject', '-f', at('pod.json'), '--authority-ca', at('ca.crt'), '--json', ...options],
    ]);
    assert.equal(injected.code, 0, injected.stderr);
    await apply(JSON.parse(injected.stdout));
    const pod = { namespace, name: 'web-1' };
    await ready(pod);
    await release.verify(await mint(pod, AWS), AWS);
  });

  test('whose values are wrong is not installed, and the path of what is wrong is named', async () => {
    const namespace = await createNamespace('wrong');
    for (const [values, path] of [
      [{ issuer: 'http://id.example.com' }, /issuer/],
      [{ issuer: '' }, /issuer/],
      [{ replicas: 0 }, /replicas/],
      [{ replicas: 'two' }, /replicas/],
      [{ keys: { rotateEvery: 'weekly' } }, /rotateEvery/],
      [{ rules: [{ name: 'x', match: 'k8s:ns:a' }] }, /rules/],
      [{ rules: [{ nam: 'x' }] }, /rules/],
      [{ imagePullPolicy: 'Never' }, /imagePullPolicy/],
    ] as const) {
      const { code, stderr } = await tryInstall('wrong', namespace, values);
      assert.notEqual(code, 0, JSON.stringify(values));
      assert.match(stderr, path);
    }
    assert.deepEqual(await namesOf(namespace, 'deployments'), []);
    await deleteNamespace(namespace);
  });

  test('whose rights are taken away says which is missing, and goes on when it is given back', async () => {
    const namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const release = await install({ rules: [ruleFor(namespace)], keys: { keepOnUninstall: false } });
    try {
      const pod = await startPod(namespace, 'web-1', { serviceAccount: 'web' });
      const name = fullName(release.name);
      const role = await kubectl('get', 'clusterrole', name, '-o', 'json');
      assert.ok(role.includes('tokenreviews'));
      await kubectl(
        'patch',
        'clusterrole',
        name,
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/rules/0/verbs","value":["get"]}]',
      );
      await eventually(
        'the refusal',
        async () =>
          (await askToken(pod, 'https://unheard.example.com')).status === 503 &&
          /may not create tokenreviews\.authentication\.k8s\.io/.test(await release.logs()),
        60,
      );
      await kubectl(
        'patch',
        'clusterrole',
        name,
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/rules/0/verbs","value":["create"]}]',
      );
      await eventually('a token', async () => (await askToken(pod, AWS)).status === 200, 60);
      const keys = `${name}-keys`;
      await kubectl(
        '-n',
        release.namespace,
        'patch',
        'role',
        name,
        '--type=json',
        '-p',
        '[{"op":"replace","path":"/rules/0/verbs","value":["get"]}]',
      );
      const [authority = ''] = await release.authorities();
      await assert.rejects(release.mintmark(authority, 'keys', 'rotate', '--force'));
      assert.match(
        await release.logs(),
        new RegExp(`may not patch the Secret ${release.namespace}/${keys}.*needs the verb \\\\?"patch`),
      );
    } finally {
      await deleteNamespace(namespace);
      await release.uninstall();
    }
  });
});

/** Of all kinds that are of the cluster, and the namespaces. */
async function everything(): Promise<ReadonlySet<string>> {
  const kinds = await kubectl('api-resources', '--namespaced=false', '--verbs=list', '-o', 'name');
  const listed = kinds.split('\n').filter((kind) => !/^(?:componentstatuses|nodes)$|metrics/.test(kind));
  const text = await kubectl('get', listed.join(','), '-o', 'name', '--ignore-not-found');
  return new Set(text.split('\n').filter((name) => !/^(?:prioritylevel|flowschema)/.test(name)));
}

/** What is left in the namespace that was not there before the chart. */
async function afterUninstall(name: string, namespace: string): Promise<readonly string[]> {
  await helm('uninstall', name, '-n', namespace, '--wait', '--timeout=60s');
  const kinds = await kubectl('api-resources', '--namespaced=true', '--verbs=list', '-o', 'name');
  const listed = kinds
    .split('\n')
    .filter((kind) => !/^(?:events|events\.events\.k8s\.io|leases)|metrics/.test(kind));
  const look = async () => {
    const text = await kubectl('-n', namespace, 'get', listed.join(','), '-o', 'name', '--ignore-not-found');
    const own = text
      .split('\n')
      .filter((line) => !/^(?:configmap\/kube-root-ca\.crt|serviceaccount\/default)?$/.test(line));
    return own.map((line) => line.slice(line.indexOf('/') + 1)).sort();
  };
  // Pods end after their objects.
  await eventually('the end of the pods', async () => (await namesOf(namespace, 'pods')).length === 0);
  assert.equal(await get(namespace, 'deployment', fullName(name)), undefined);
  return await look();
}
