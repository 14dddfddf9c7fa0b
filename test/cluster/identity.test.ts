/** Whose token the authority takes: a pod's own, for the authority, as long as that very pod is there. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { deleteNamespace, eventually, kubectl, startCluster } from './cluster.ts';
import { createAccount, deletePod, mint, type Pod, podOf, startPod, workloadNamespace } from './pods.ts';
import { type Answer, install, type Post, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const TOKENS = '/v1/sidecar/tokens';

suite('the authority', () => {
  let release: Release;
  let namespace: string;
  let pod: Pod;
  let post: Post;

  before(async () => {
    await startCluster();
    namespace = await workloadNamespace();
    for (const name of ['web', 'other']) await createAccount(namespace, name);
    const rules = [ruleFor(namespace, { match: [`k8s:ns:${namespace}`, 'k8s:sa:web'] })];
    release = await install({ rules, keys: { keepOnUninstall: false } });
    pod = await startPod(namespace, 'web-1', { serviceAccount: 'web' });
    post = await release.openPost();
  });
  after(async () => {
    await deleteNamespace(namespace);
    await release.uninstall();
  });

  /** As the kubelet does for a projected volume: bound to the pod, or to whatever is said. */
  const tokenFor = (account: string, ...options: string[]) =>
    kubectl('-n', namespace, 'create', 'token', account, '--duration=10m', ...options);
  const boundTo = async (bound: Pod) => {
    const { metadata } = await podOf(bound);
    return [
      '--bound-object-kind=Pod',
      `--bound-object-name=${bound.name}`,
      `--bound-object-uid=${metadata.uid}`,
    ];
  };
  const ask = (bearer: string | undefined, body: unknown = { audience: AWS }): Promise<Answer> =>
    post(TOKENS, bearer, body);
  const refused = async (bearer: string | undefined, reason?: RegExp, status = 401) => {
    const answer = await ask(bearer);
    assert.equal(answer.status, status, answer.text);
    assert.ok(!answer.text.includes('eyJ'), 'the answer holds a token');
    if (reason !== undefined) assert.match(answer.text, reason);
  };

  test('signs for a token that is bound to a pod that runs', async () => {
    const { status, text } = await ask(await tokenFor('web', '--audience=mintmark', ...(await boundTo(pod))));
    assert.equal(status, 200, text);
    const { sub } = await release.verify(JSON.parse(text).token, AWS);
    assert.equal(sub, `${namespace}:web`);
  });

  test('takes no token for another audience, the API server’s own among them', async () => {
    const bound = await boundTo(pod);
    await refused(await tokenFor('web', ...bound), /audience|does not know/);
    await refused(await tokenFor('web', '--audience=vault', ...bound), /audience|does not know/);
    await refused(await tokenFor('web', '--audience=https://kubernetes.default.svc.cluster.local', ...bound));
  });

  test('takes no token that is bound to no pod, to none at all, or changed', async () => {
    await refused(await tokenFor('web', '--audience=mintmark'), /bound to no pod/);
    await refused(undefined);
    await refused('');
    await refused('e30.e30.e30');
    const token = await tokenFor('web', '--audience=mintmark', ...(await boundTo(pod)));
    await refused(`${token.slice(0, -4)}AAAA`);
    await refused(await mint(pod, AWS));
  });

  test('gives a pod nothing of another, whatever it claims', async () => {
    const other = await startPod(namespace, 'other-1', { serviceAccount: 'other' });
    const token = await tokenFor('other', '--audience=mintmark', ...(await boundTo(other)));
    for (const extra of [{}, { claimed: ['sidecar:unix-uid:0'] }]) {
      const { status, text } = await ask(token, { audience: AWS, ...extra });
      assert.equal(status, 403, text);
    }
    const chosen = await ask(token, { audience: AWS, rule: 'all pods' });
    assert.equal(chosen.status, 400, chosen.text);
    for (const claim of ['k8s:sa:web', `k8s:pod-name:${pod.name}`, 'unix:uid:0']) {
      const { status, text } = await ask(token, { audience: AWS, claimed: [claim] });
      assert.equal(status, 400, text);
    }
    await deletePod(other);
  });

  test('knows the token of a deleted pod no more, within 30 s', async (t) => {
    const gone = await startPod(namespace, 'gone-1', { serviceAccount: 'web' });
    const bound = await boundTo(gone);
    const token = await tokenFor('web', '--audience=mintmark', ...bound);
    assert.equal((await ask(token)).status, 200);
    await deletePod(gone);
    const deletedAt = Date.now();
    await eventually('the refusal', async () => (await ask(token)).status === 401, 30);
    t.diagnostic(`refused ${Date.now() - deletedAt} ms after the pod was gone`);
    // One of the same name is another one.
    await startPod(namespace, 'gone-1', { serviceAccount: 'web' });
    for (let count = 0; count < 20; count++) await refused(token);
    await deletePod(gone);
  });

  test('lets nobody ask without end: 429 for that pod, and nobody else waits', async () => {
    const token = await tokenFor('web', '--audience=mintmark', ...(await boundTo(pod)));
    const answers: Awaited<ReturnType<typeof ask>>[] = [];
    // Fewer at once than an address may have connections.
    for (let asked = 0; asked < 600; asked += 100)
      answers.push(...(await Promise.all(Array.from({ length: 100 }, () => ask(token)))));
    const limited = answers.filter(({ status }) => status === 429);
    assert.ok(limited.length > 0, 'none of 600 was refused');
    assert.ok(Number(limited[0]?.headers['retry-after']) >= 1);
    assert.ok(answers.every(({ status }) => status === 200 || status === 429));
    const next = await startPod(namespace, 'web-2', { serviceAccount: 'web' });
    await release.verify(await mint(next, AWS), AWS);
    await deletePod(next);
  });
});
