/** The chart before a real API server, and the kind of installation that needs no authority. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { scenarios, valuesOf } from '../chart/helm.ts';
import {
  createNamespace,
  deleteNamespace,
  helm,
  kubectl,
  type Manifest,
  startCluster,
  tryApply,
} from './cluster.ts';
import { WORKLOAD } from './images.ts';
import { askToken, claimsOf, inPod, mint } from './pods.ts';
import { CHART, fullName, install } from './release.ts';

/** Of operators that this cluster does not have: their kinds are unknown to it. */
const OPERATORS = ['cert-manager.io', 'gateway.networking.k8s.io', 'monitoring.coreos.com'];
await startCluster();

suite('every scenario of charts/mintmark/ci', () => {
  let namespace: string;
  before(async () => {
    namespace = await createNamespace('dry');
  });
  after(() => deleteNamespace(namespace));

  for (const scenario of scenarios)
    test(`${scenario}: the API server takes what the chart renders`, async () => {
      const text = await helm(
        'template',
        'mintmark',
        CHART,
        '-n',
        namespace,
        '--no-hooks',
        ...valuesOf(scenario),
      );
      const manifests = parseAllDocuments(text, { version: '1.1' })
        .map((document) => document.toJS() as (Manifest & { readonly apiVersion: string }) | null)
        .filter((manifest) => manifest !== null);
      const known = manifests.filter(({ apiVersion }) => !OPERATORS.includes(apiVersion.split('/')[0] ?? ''));
      assert.ok(known.length >= 4);
      const { code, stderr } = await tryApply(known, '--dry-run=server', '--validate=strict');
      assert.equal(code, 0, stderr);
      assert.doesNotMatch(stderr, /would violate PodSecurity/);
    });
});

suite('stand-alone', () => {
  test('a workload and its issuer in one pod: whose user the rule names has its token', async (t) => {
    const container = (name: string, uid: number) => ({
      name,
      image: WORKLOAD,
      imagePullPolicy: 'Never',
      command: ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 0.2; done'],
      securityContext: { runAsUser: uid, allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    });
    const release = await install({
      mode: 'standalone',
      keys: { keepOnUninstall: false },
      rules: [
        {
          name: 'app',
          match: ['unix:uid:10001'],
          subject: 'acme:app:{host}',
          audiences: ['sts.amazonaws.com'],
        },
        { name: 'file', match: ['unix:uid:65532'], subject: 'acme:app:{host}', audiences: ['vault'] },
      ],
      standalone: {
        tokens: [{ path: '/run/mintmark/tokens/vault', audience: 'vault' }],
        containers: [container('app', 10_001), container('other', 10_002)],
      },
    });
    t.after(() => release.uninstall());
    const { namespace } = release;
    const name = await kubectl('-n', namespace, 'get', 'pods', '-o', 'jsonpath={.items[0].metadata.name}');
    const token = await mint({ namespace, name }, 'sts.amazonaws.com');
    assert.equal(claimsOf(token).sub, `acme:app:${fullName(release.name)}`);
    await release.verify(token, 'sts.amazonaws.com');
    const file = await inPod({ namespace, name }, 'cat', '/run/mintmark/tokens/vault');
    await release.verify(file, 'vault');
    const refused = await askToken({ namespace, name }, 'sts.amazonaws.com', {}, 'other');
    assert.equal(refused.status, 403);
    assert.match(refused.body, /10002/);
    assert.doesNotMatch(await inPod({ namespace, name }, 'ls', '/run/mintmark'), /admin/);
  });
});
