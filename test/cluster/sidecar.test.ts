/** What a sidecar says of its callers where the pod shares its processes, and how it comes back when it has ended. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { deleteNamespace, eventually, kubectl, startCluster } from './cluster.ts';
import {
  askToken,
  boundToken,
  claimsOf,
  containerId,
  createAccount,
  deletePod,
  findProcess,
  inContainer,
  inPod,
  mint,
  type Pod,
  podOf,
  podTemplate,
  programOf,
  startPod,
  workloadNamespace,
} from './pods.ts';
import { install, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const VAULT = 'https://vault.example.com';
const NAMED = 'sidecar:container-name:web';

let release: Release;
let namespace: string;

before(async () => {
  await startCluster();
  namespace = await workloadNamespace({ 'pod-security.kubernetes.io/enforce': 'restricted' });
  await createAccount(namespace, 'web');
  const match = [`k8s:ns:${namespace}`, 'k8s:sa:web'];
  const subject = '{k8s.ns}:{k8s.sa}:{sidecar.container-name}';
  const narrow = { name: 'web only', match: [...match, NAMED], audiences: [VAULT], subject };
  const rules = [ruleFor(namespace, narrow), ruleFor(namespace, { name: 'all of the pod', match })];
  release = await install({ rules, keys: { keepOnUninstall: false } });
});
after(async () => {
  await deleteNamespace(namespace);
  await release.uninstall();
});

/** Two containers of one user, `app` and `web`. */
function startTwo(name: string, shareProcessNamespace: boolean): Promise<Pod> {
  const [app] = podTemplate().spec.containers;
  const spec = { containers: [app, { ...app, name: 'web' }], shareProcessNamespace };
  return startPod(namespace, name, { serviceAccount: 'web', spec });
}

suite('a rule by the name of a container', () => {
  let pod: Pod;
  before(async () => {
    pod = await startTwo('shared-1', true);
  });
  after(() => deletePod(pod));

  test('gives the token to that container, and refuses the one beside it with its facts', async () => {
    const { status, body } = await askToken(pod, VAULT, {}, 'web');
    assert.equal(status, 200, body);
    assert.equal((await release.verify(body, VAULT)).sub, `${namespace}:web:web`);
    const refused = await askToken(pod, VAULT);
    assert.equal(refused.status, 403, refused.body);
    const { caller, nearest } = JSON.parse(refused.body);
    assert.ok(caller.includes('sidecar:container-name:app'), refused.body);
    assert.deepEqual(nearest[0].fails, [{ selector: NAMED, instead: 'app' }]);
    await release.verify(await mint(pod, AWS), AWS);
  });

  test('is explained to the container that asks', async () => {
    const explain = async (container: string) => {
      const script = `curl -sS --unix-socket "$MINTMARK_SOCKET" http://localhost/v1/explain -d '{"aud":"${VAULT}"}'`;
      return JSON.parse(await inContainer(pod, container, 'sh', '-c', script));
    };
    const [app, web] = [await explain('app'), await explain('web')];
    assert.deepEqual([app.allowed, app.caller.facts['sidecar.container-name']], [false, 'app']);
    assert.deepEqual([web.allowed, web.caller.facts['sidecar.container-name']], [true, 'web']);
  });

  test('holds again for a container that was started again, which has another id', async () => {
    const old = await containerId(pod, 'web');
    process.kill(findProcess(old, '/bin/sh'), 'SIGKILL');
    await eventually('the new container', async () => {
      const id = await containerId(pod, 'web');
      return id !== old && id !== 'none' && (await askToken(pod, VAULT, {}, 'web')).status === 200;
    });
    assert.equal((await askToken(pod, VAULT)).status, 403);
  });

  test('holds for no id but those of the pod, whatever a sidecar says', async () => {
    const post = await release.openPost();
    const other = await startTwo('shared-2', true);
    const token = await boundToken(pod, 'web');
    const ask = (...claimed: string[]) => post('/v1/sidecar/tokens', token, { audience: VAULT, claimed });
    const own = await ask(`sidecar:container-id:${await containerId(pod, 'web')}`);
    assert.equal(own.status, 200, own.text);
    for (const [reason, ...claimed] of [
      ['not_a_container_of_the_pod', `sidecar:container-id:${await containerId(other, 'web')}`],
      ['not_a_container_of_the_pod', `sidecar:container-id:${'0'.repeat(64)}`],
      ['not_a_container_of_the_pod', 'sidecar:container-id:web'],
      ['no_container_claimed', NAMED],
      ['no_container_claimed'],
    ] as const) {
      const { status, text } = await ask(...claimed);
      assert.equal(status, 403, text);
      assert.equal(JSON.parse(text).unproven['sidecar:container-name'], reason);
    }
    await deletePod(other);
  });

  test('holds for nobody where the pod does not share its processes', async () => {
    const apart = await startTwo('apart-1', false);
    for (const container of ['app', 'web']) {
      const { status, body } = await askToken(apart, VAULT, {}, container);
      assert.equal(status, 403, body);
      assert.equal(JSON.parse(body).unproven['sidecar:container-name'], 'processes_not_shared');
    }
    await release.verify(await mint(apart, AWS), AWS);
    await deletePod(apart);
  });

  test('holds for an init container from its first moment', async () => {
    const [app] = podTemplate().spec.containers;
    const command = [
      'sh',
      '-c',
      `curl -sS --fail-with-body --unix-socket "$MINTMARK_SOCKET" http://localhost/v1/tokens/oidc -d '{"aud":"${VAULT}"}'`,
    ];
    const first = { ...app, name: 'web', command };
    const spec = { initContainers: [first], shareProcessNamespace: true };
    const pod = await startPod(namespace, 'first-1', { serviceAccount: 'web', spec });
    await release.verify(await kubectl('-n', namespace, 'logs', pod.name, '-c', 'web'), VAULT);
    assert.equal((await askToken(pod, VAULT)).status, 403);
    await deletePod(pod);
  });
});

suite('a sidecar that has ended', () => {
  for (const signal of ['SIGKILL', 'SIGTERM'] as const)
    test(`by ${signal}: is started again, and finds its socket and its files as it left them`, async (t) => {
      const annotations = { 'mintmark.io/token-audiences': AWS };
      const pod = await startPod(namespace, `again-${signal.toLowerCase()}`, {
        serviceAccount: 'web',
        annotations,
      });
      const { containerStatuses } = (await podOf(pod)).status;
      const file = () => inPod(pod, 'cat', `/run/mintmark/tokens/${AWS}`);
      const old = claimsOf(await file());
      const pid = await programOf(pod);
      assert.match(readFileSync(`/proc/${pid}/status`, 'latin1'), /^Uid:\t65532\t65532\t65532\t65532$/m);
      const endedAt = Date.now();
      process.kill(pid, signal);
      const fresh = await eventually('a new token in the file', async () => {
        const claims = claimsOf(await file());
        return claims.jti !== old.jti && claims;
      });
      t.diagnostic(`a new token in the file ${Date.now() - endedAt} ms after the end`);
      assert.equal(fresh.sub, old.sub);
      await eventually('an answer', async () => (await askToken(pod, AWS)).status === 200);
      await release.verify(await mint(pod, AWS), AWS);
      await release.verify(await file(), AWS);
      const after = (await podOf(pod)).status;
      assert.equal(after.initContainerStatuses?.find(({ name }) => name === 'mintmark')?.restartCount, 1);
      assert.deepEqual(
        after.containerStatuses?.map(({ containerID, restartCount }) => [containerID, restartCount]),
        containerStatuses?.map(({ containerID }) => [containerID, 0]),
      );
      const again = await programOf(pod);
      assert.notEqual(again, pid);
      assert.match(readFileSync(`/proc/${again}/status`, 'latin1'), /^Uid:\t65532\t65532\t65532\t65532$/m);
      assert.doesNotMatch(
        await inPod(pod, 'ls', '-A', '/run/mintmark', '/run/mintmark/tokens'),
        /\.tmp|\.new/,
      );
      await deletePod(pod);
    });
});
