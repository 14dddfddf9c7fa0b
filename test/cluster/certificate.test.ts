/** The certificate that sidecars and the API server know the authority by: made, renewed, replaced, put back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { connect } from 'node:tls';
import { apply, deleteNamespace, eventually, kubectl, startCluster } from './cluster.ts';
import { createAccount, deletePod, mint, startPod, workloadNamespace } from './pods.ts';
import { caOf, clusterIp, fullName, install, type Release, ruleFor, type Values } from './release.ts';

const AWS = 'sts.amazonaws.com';
await startCluster();

suite('the authority’s certificate', () => {
  const installFor = async (t: TestContext, values: Values = {}) => {
    const namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const release = await install({
      rules: [ruleFor(namespace)],
      keys: { keepOnUninstall: false },
      ...values,
    });
    t.after(async () => {
      await deleteNamespace(namespace);
      await release.uninstall();
    });
    return { namespace, release };
  };

  test('is made by itself; new replicas have new ones of the same CA, which old sidecars and the API server take', async (t) => {
    const { namespace, release } = await installFor(t);
    const pod = await startPod(namespace, 'old', { serviceAccount: 'web' });
    const [ca, before] = [await caOf(fullName(release.name)), await served(release)];
    assert.ok(before.checkIssued(new X509Certificate(ca)));
    assert.ok(before.checkHost(`${fullName(release.name)}.${release.namespace}.svc`));
    await kubectl('-n', release.namespace, 'rollout', 'restart', 'deployment', fullName(release.name));
    await kubectl(
      '-n',
      release.namespace,
      'rollout',
      'status',
      'deployment',
      fullName(release.name),
      '--timeout=60s',
    );
    await eventually(
      'another certificate',
      async () => (await served(release)).fingerprint256 !== before.fingerprint256,
    );
    assert.equal(await caOf(fullName(release.name)), ca);
    await release.verify(await mint(pod, AWS), AWS);
    await release.verify(await mint(await startPod(namespace, 'new', { serviceAccount: 'web' }), AWS), AWS);
  });

  test('its CA is put back where somebody takes it out of the webhook, an upgrade for one', async (t) => {
    const { namespace, release } = await installFor(t);
    const name = fullName(release.name);
    const ca = await caOf(name);
    await kubectl(
      'patch',
      'mutatingwebhookconfiguration',
      name,
      '--type=json',
      '-p',
      '[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]',
    );
    await eventually('the CA', async () => (await caOf(name)) === ca, 60);
    await release.upgrade({
      rules: [ruleFor(namespace)],
      keys: { keepOnUninstall: false },
      podLabels: { a: 'b' },
    });
    await eventually('the CA', async () => (await caOf(name)) === ca, 60);
    await deletePod(await startPod(namespace, 'later', { serviceAccount: 'web' }));
  });

  test('given in a Secret, it is renewed there and taken up without a restart', async (t) => {
    const own = certificates(t);
    const name = `own-${Math.random().toString(36).slice(2, 7)}`;
    // The name is in the certificate before the namespace is there: the release is told which.
    const { namespace, release } = await installFor(t);
    const host = `${fullName(release.name)}.${release.namespace}.svc`;
    const secret = () => ({
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name, namespace: release.namespace },
      type: 'kubernetes.io/tls',
      stringData: own.issue(host),
    });
    await apply(secret());
    const values = {
      rules: [ruleFor(namespace)],
      keys: { keepOnUninstall: false },
      private: { tlsSecret: name },
    };
    await release.upgrade(values);
    await eventually('the CA', async () => (await caOf(fullName(release.name))).trim() === own.ca.trim());
    const pod = await startPod(namespace, 'old', { serviceAccount: 'web' });
    await release.verify(await mint(pod, AWS), AWS);
    const [before, pods] = [await served(release), await release.authorities()];
    await apply(secret());
    await eventually(
      'the new certificate',
      async () => (await served(release)).fingerprint256 !== before.fingerprint256,
      180,
    );
    assert.deepEqual([...(await release.authorities())].sort(), [...pods].sort());
    await release.verify(await mint(pod, AWS), AWS);
    await release.verify(await mint(await startPod(namespace, 'new', { serviceAccount: 'web' }), AWS), AWS);
  });
});

/** What one of the replicas shows. */
async function served({ name, namespace }: Release): Promise<X509Certificate> {
  const host = await clusterIp(namespace, fullName(name));
  return await new Promise((resolve, reject) => {
    const socket = connect({ host, port: 8443, rejectUnauthorized: false }, () => {
      const found = socket.getPeerX509Certificate();
      socket.destroy();
      if (found === undefined) reject(new Error('no certificate'));
      else resolve(found);
    });
    socket.on('error', reject);
  });
}

/** A CA as cert-manager would be one. */
function certificates(t: TestContext) {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-ca-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const at = (name: string) => join(directory, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...key,
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.crt'),
    '-subj',
    '/CN=test-ca',
    '-days',
    '30',
  );
  const ca = readFileSync(at('ca.crt'), 'utf8');
  return {
    ca,
    issue(host: string) {
      openssl(
        'req',
        '-new',
        ...key,
        '-keyout',
        at('tls.key'),
        '-out',
        at('tls.csr'),
        '-subj',
        '/CN=authority',
      );
      writeFileSync(
        at('ext'),
        `subjectAltName=DNS:${host},DNS:${host}.cluster.local\nextendedKeyUsage=serverAuth\n`,
      );
      openssl(
        ...[
          'x509',
          '-req',
          '-in',
          at('tls.csr'),
          '-CA',
          at('ca.crt'),
          '-CAkey',
          at('ca.key'),
          '-CAcreateserial',
        ],
        ...['-days', '10', '-extfile', at('ext'), '-out', at('tls.crt')],
      );
      const read = (name: string) => readFileSync(at(name), 'utf8');
      return { 'tls.crt': read('tls.crt'), 'tls.key': read('tls.key'), 'ca.crt': ca };
    },
  };
}
