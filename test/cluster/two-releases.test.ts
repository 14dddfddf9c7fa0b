/** Two releases in one cluster, each with namespaces of its own; and what is scraped of their sidecars. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from 'node:tls';
import { createNamespace, deleteNamespace, helm, startCluster } from './cluster.ts';
import { createAccount, mint, podOf, podTemplate, startPod, workloadNamespace } from './pods.ts';
import { caOf, clusterIp, fullName, install, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const checkServerIdentity = () => undefined;
const STAGING = { 'mintmark.io/injection': 'staging' };

suite('two releases', () => {
  let releases: readonly [Release, Release];
  let namespaces: readonly [string, string];

  before(async () => {
    await startCluster();
    namespaces = [await workloadNamespace(), await createNamespace('work', STAGING)];
    for (const namespace of namespaces) await createAccount(namespace, 'web');
    const values = { replicas: 1, rules: namespaces.map((name) => ruleFor(name, { name })) };
    const kept = { keys: { keepOnUninstall: false } };
    releases = [
      await install({ ...values, ...kept }),
      await install({
        ...values,
        ...kept,
        audience: 'mintmark-staging',
        webhook: { namespaceSelector: { matchLabels: STAGING }, maxInFlight: 1 },
      }),
    ];
  });
  after(async () => {
    for (const namespace of namespaces) await deleteNamespace(namespace);
    for (const release of releases) await release.uninstall();
  });

  test('inject each the pods of its own namespaces', async () => {
    for (const [index, release] of releases.entries()) {
      const pod = await startPod(namespaces[index] ?? '', 'web-1', { serviceAccount: 'web' });
      const { spec } = await podOf(pod);
      assert.equal(spec.initContainers?.length, 1);
      const host = `${fullName(release.name)}.${release.namespace}.svc`;
      assert.match(JSON.stringify(spec.initContainers?.[0]?.env), new RegExp(host));
      const token = await mint(pod, AWS);
      await release.verify(token, AWS);
      for (const other of releases) if (other !== release) await assert.rejects(other.verify(token, AWS));
    }
  });

  test('a body that never comes keeps no pod from being injected, though there is one place only', async (t) => {
    const [, { name, namespace }] = releases;
    const host = await clusterIp(namespace, fullName(name));
    const slow = connect({ host, port: 8443, ca: await caOf(fullName(name)), checkServerIdentity });
    t.after(() => slow.destroy());
    await once(slow, 'secureConnect');
    slow.write('POST /v1/inject HTTP/1.1\r\nHost: mintmark\r\nContent-Length: 9\r\n\r\n{');
    await sleep(200);
    const begunAt = performance.now();
    const starting = startPod(namespaces[1], 'late-1', { serviceAccount: 'web' });
    const [answer] = await once(slow, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 503 /); // it gave way
    await starting;
    t.diagnostic(`ready after ${Math.round(performance.now() - begunAt)} ms`);
    const [authority = ''] = await releases[1].authorities();
    const { status } = await podOf({ namespace, name: authority });
    const metrics = await (await fetch(`http://${status.podIP}:9464/metrics`)).text();
    assert.match(metrics, /^mintmark_refusals_total{door="webhook",code="temporarily_unavailable"} [1-9]/m);
  });

  test('helm test finds its own release', async () => {
    const [, staging] = releases;
    await helm('test', staging.name, '-n', staging.namespace, '--timeout=120s');
  });

  test('their keys are listed by the program of that name, and say nothing of the group of their KEK', async () => {
    for (const release of releases) {
      const [authority = ''] = await release.authorities();
      assert.match(await release.mintmark(authority, 'keys', 'list'), /active/);
      assert.doesNotMatch(await release.logs(), /readable by its group/);
    }
  });

  test('sidecars answer at the port that the chart’s PodMonitor names, moved or not', async () => {
    const [namespace] = namespaces;
    const taken = { ...podTemplate().spec.containers[0], ports: [{ containerPort: 9464 }] };
    await startPod(namespace, 'moved-1', { serviceAccount: 'web', spec: { containers: [taken] } });
    for (const [name, port] of [
      ['web-1', 9464],
      ['moved-1', 9465],
    ] as const) {
      const { spec, status } = await podOf({ namespace, name });
      const ports = spec.initContainers?.[0]?.ports as readonly { name: string; containerPort: number }[];
      const found = ports.find((each) => each.name === 'mintmark-status')?.containerPort;
      assert.equal(found, port);
      const answer = await fetch(`http://${status.podIP}:${found}/metrics`);
      assert.match(await answer.text(), /^mintmark_build_info/m);
    }
  });
});
