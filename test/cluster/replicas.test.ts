/** Three replicas of the authority: killed at random while keys rotate, replaced one after the other under load. */
import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteNamespace, eventually, kubectl, namesOf, startCluster, tryKubectl } from './cluster.ts';
import {
  type Call,
  callsOf,
  createAccount,
  deletePod,
  freshAfter,
  type Pod,
  programOf,
  startLoad,
  workloadNamespace,
} from './pods.ts';
import { install, type Release, ruleFor } from './release.ts';

const AWS = 'sts.amazonaws.com';
const EVERY_MS = 50;

suite('three replicas', () => {
  let release: Release;
  let namespace: string;
  let values: Record<string, unknown>;

  before(async () => {
    await startCluster();
    namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    values = { replicas: 3, rules: [ruleFor(namespace)], keys: { keepOnUninstall: false } };
    release = await install(values);
  });
  after(async () => {
    await deleteNamespace(namespace);
    await release.uninstall();
  });

  const load = async (t: TestContext, count: number) => {
    const names = Array.from({ length: count }, (_, index) => `load-${index}`);
    const pods = await Promise.all(
      names.map((name) => startLoad(namespace, name, AWS, EVERY_MS, { serviceAccount: 'web' })),
    );
    t.after(() => Promise.all(pods.map(deletePod)));
    return pods;
  };
  const allCalls = async (pods: readonly Pod[]) => (await Promise.all(pods.map(callsOf))).flat();

  /** Every token that was given out in all this verifies. */
  async function assertTokens(t: TestContext, calls: readonly Call[]): Promise<void> {
    const kids = new Set(calls.flatMap(({ kid }) => kid ?? []));
    const slowest = Math.max(...calls.map(({ ms }) => ms));
    const reused = calls.filter(({ isReused }) => isReused).length;
    t.diagnostic(
      `${calls.length} calls, ${reused} given again, ${kids.size} keys, the slowest call ${slowest} ms`,
    );
    const published = await release.jwks();
    for (const kid of kids) assert.ok(published.includes(kid), `${kid} is not published`);
    // Of each key the first and the last.
    for (const kid of kids) {
      const tokens = calls.filter((call) => call.kid === kid).flatMap(({ token }) => token ?? []);
      for (const token of [tokens[0], tokens.at(-1)]) await release.verify(token ?? '', AWS);
    }
  }

  test('have one ring, and rotate it together', async () => {
    const pods = await release.authorities();
    assert.equal(pods.length, 3);
    const before = await release.jwks();
    await release.mintmark(pods[0] ?? '', 'keys', 'rotate', '--force');
    const listed = async (pod: string) =>
      JSON.parse(await release.mintmark(pod, 'keys', 'list', '--json')).keys;
    const [first, ...others] = await Promise.all(pods.map(listed));
    for (const other of others) assert.deepEqual(other, first);
    assert.notDeepEqual(await release.jwks(), before);
  });

  test('are killed at random while keys rotate: not a call fails, and every token verifies', {
    timeout: 300_000,
  }, async (t) => {
    const pods = await load(t, 3);
    let rotations = 0;
    for (let round = 0; round < 8; round++) {
      const running = await eventually('three replicas', async () => {
        const names = await release.authorities();
        return names.length >= 3 && names;
      });
      const victim = running[Math.floor(Math.random() * running.length)] ?? '';
      const rotator = running[Math.floor(Math.random() * running.length)] ?? '';
      // The one that rotates may be the one that is killed.
      const rotating = release.mintmark(rotator, 'keys', 'rotate', '--force').then(
        () => rotations++,
        () => undefined,
      );
      await sleep(Math.random() * 600);
      // Once the process alone, by surprise, and once the pod with it.
      if (round % 2 === 0)
        process.kill(await programOf({ namespace: release.namespace, name: victim }), 'SIGKILL');
      else await deletePod({ namespace: release.namespace, name: victim });
      await rotating;
      await sleep(500);
      await release.available();
    }
    await sleep(1000);
    const calls = await allCalls(pods);
    const failed = calls.filter(({ status }) => status !== 200);
    t.diagnostic(`${rotations} rotations were confirmed, ${failed.length} calls failed`);
    assert.deepEqual(failed.slice(0, 5), []);
    assert.ok(rotations >= 3);
    await assertTokens(t, calls);
  });

  // What the two do on one ring while both are there: two-versions.test.ts.
  test('are replaced by another image, and back, under load without one failed call', {
    timeout: 300_000,
  }, async (t) => {
    const pods = await load(t, 3);
    for (const tag of ['2', '1']) {
      const image = { repository: 'localhost/mintmark', tag, pullPolicy: 'Never' };
      await release.upgrade({ ...values, image });
    }
    await sleep(1000);
    const calls = await allCalls(pods);
    assert.deepEqual(calls.filter(({ status }) => status !== 200).slice(0, 5), []);
    // A replica that goes without a word looks like one that hangs: the last token is given again for a while
    // (the diagnostics say how often), and a fresh one after it.
    for (const pod of pods) await freshAfter(pod, Date.now());
    await assertTokens(t, calls);
  });

  test('stay when a node is drained: one goes, and the budget keeps the others until it is replaced', {
    timeout: 300_000,
  }, async (t) => {
    const pods = await load(t, 2);
    const before = await release.authorities();
    const selector = `app.kubernetes.io/instance=${release.name},app.kubernetes.io/component=authority`;
    const [node = ''] = await namesOf('default', 'nodes');
    t.after(() => kubectl('uncordon', node));
    // The only node: what is evicted waits for its return, so that the budget lets no second one go.
    const drained = await tryKubectl(
      ...['drain', node, `--pod-selector=${selector}`, '--ignore-daemonsets', '--delete-emptydir-data'],
      ...['--timeout=30s'],
    );
    assert.notEqual(drained.code, 0);
    assert.match(`${drained.stdout}${drained.stderr}`, /violate the pod's disruption budget/);
    const left = await release.authorities();
    assert.equal(before.filter((name) => left.includes(name)).length, before.length - 1);
    await kubectl('uncordon', node);
    await release.available();
    assert.equal((await release.authorities()).length, before.length);
    await sleep(1000);
    const calls = await allCalls(pods);
    assert.deepEqual(calls.filter(({ status }) => status !== 200).slice(0, 5), []);
    await assertTokens(t, calls);
  });
});
