/**
 * What pods notice when the API server hangs, and when the authority is away. The issue's
 * ten minutes without an authority are a minute here, with tokens that live less, so that
 * the floor is reached within it; MINTMARK_TEST_AUTHORITY_AWAY=600 (seconds) takes the ten.
 */
import assert from 'node:assert/strict';
import { after, before, suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { apply, deleteNamespace, freeze, kubectl, startCluster } from './cluster.ts';
import {
  type Call,
  callsOf,
  claimsOf,
  createAccount,
  deletePod,
  freshAfter,
  type Pod,
  programOf,
  startLoad,
  workloadNamespace,
} from './pods.ts';
import { install, type Release, ruleFor } from './release.ts';

const API_SERVER_AWAY_SECONDS = 120;
const AUTHORITY_AWAY_SECONDS = Number(process.env.MINTMARK_TEST_AUTHORITY_AWAY ?? 60);
/** Less than what makes the kubelet restart a replica. */
const HANGING_SECONDS = 20;
const LONG = 'https://long.example.com';
const SHORT = 'https://short.example.com';
/** Of the tokens of `SHORT`; they are not given again with less life than the floor, which is a minute. */
const SHORT_SECONDS = 90;
const FLOOR_SECONDS = 60;

suite('an outage', { timeout: 1_200_000 }, () => {
  let release: Release;
  let namespace: string;

  before(async () => {
    await startCluster();
    namespace = await workloadNamespace();
    await createAccount(namespace, 'web');
    const rules = [
      ruleFor(namespace, { name: 'long', audiences: [LONG], ttl: '30m' }),
      ruleFor(namespace, { name: 'short', audiences: [SHORT], ttl: `${SHORT_SECONDS}s` }),
    ];
    release = await install({ rules, keys: { keepOnUninstall: false } });
  });
  after(async () => {
    await deleteNamespace(namespace);
    await release.uninstall();
  });

  const load = async (t: TestContext, name: string, audience: string, everyMs = 500) => {
    const pod = await startLoad(namespace, name, audience, everyMs, { serviceAccount: 'web' });
    t.after(() => deletePod(pod));
    await freshAfter(pod, 0);
    return pod;
  };
  const between = (calls: readonly Call[], from: number, to: number) =>
    calls.filter(({ at, ms }) => at >= from && at + ms <= to);

  test(`of the API server for ${API_SERVER_AWAY_SECONDS} s: pods that are there go on`, async (t) => {
    const pod = await load(t, 'api-long', LONG);
    const resume = await freeze('kube-apiserver');
    const from = Date.now();
    try {
      await sleep(API_SERVER_AWAY_SECONDS * 1000);
    } finally {
      resume();
    }
    const to = Date.now();
    // The node was given up meanwhile, and the Service lost its pods: that takes Kubernetes some seconds to mend.
    await release.available();
    const mendedAt = Date.now();
    const fresh = await freshAfter(pod, to, 30);
    const during = between(await callsOf(pod), from, to);
    t.diagnostic(
      `${during.length} calls, ${during.filter(({ isReused }) => isReused).length} given again; fresh tokens ${fresh.at + fresh.ms - to} ms after the API server, which took ${mendedAt - to} ms to mend the Service`,
    );
    assert.ok(during.length > 10);
    assert.deepEqual(during.filter(({ status }) => status !== 200).slice(0, 3), []);
    assert.ok(fresh.at + fresh.ms - mendedAt < 5_000);
  });

  test(`of the authority for ${AUTHORITY_AWAY_SECONDS} s: a token is given again down to the floor, then 503, and all is well within 5 s of its return`, async (t) => {
    const [long, short] = (await Promise.all([load(t, 'away-long', LONG), load(t, 'away-short', SHORT)])) as [
      Pod,
      Pod,
    ];
    const scale = (replicas: number) =>
      kubectl(
        '-n',
        release.namespace,
        'scale',
        'deployment',
        `${release.name}-mintmark`,
        `--replicas=${replicas}`,
      );
    await scale(0);
    await kubectl(
      '-n',
      release.namespace,
      'wait',
      'pods',
      '-l',
      'app.kubernetes.io/component=authority',
      '--for=delete',
      '--timeout=60s',
    );
    const from = Date.now();
    await sleep(AUTHORITY_AWAY_SECONDS * 1000);
    const to = Date.now();
    await scale(2);
    await release.available();
    const backAt = Date.now();
    for (const pod of [long, short]) {
      const fresh = await freshAfter(pod, to, 60);
      t.diagnostic(
        `${pod.name}: fresh tokens ${fresh.at + fresh.ms - backAt} ms after the authority was ready`,
      );
      assert.ok(fresh.at + fresh.ms - backAt < 5_000);
    }
    const [ofLong, ofShort] = [
      between(await callsOf(long), from, to),
      between(await callsOf(short), from, to),
    ];
    assert.deepEqual(ofLong.filter(({ status, isReused }) => status !== 200 || !isReused).slice(0, 3), []);
    const statuses = new Set(ofShort.map(({ status }) => status));
    assert.deepEqual([...statuses].sort(), [200, 503]);
    for (const { at, token } of ofShort.filter(({ status }) => status === 200))
      assert.ok(Number(claimsOf(token ?? '').exp) - at / 1000 >= FLOOR_SECONDS - 1);
    // Once below the floor it stays so.
    const firstRefused = ofShort.findIndex(({ status }) => status === 503);
    assert.ok(ofShort.slice(firstRefused).every(({ status }) => status === 503));
  });

  test(`of the authority that hangs for ${HANGING_SECONDS} s: whoever has a token gets it within the time that clients wait`, async (t) => {
    const env = { TIMEOUT_MS: '5000' };
    const pod = await startLoad(namespace, 'hanging', LONG, 500, { serviceAccount: 'web', env });
    t.after(() => deletePod(pod));
    await freshAfter(pod, 0);
    const names = await release.authorities();
    const pids = await Promise.all(names.map((name) => programOf({ namespace: release.namespace, name })));
    // As on a node that hangs: connections stay, and nobody answers on them.
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    const from = Date.now();
    try {
      await sleep(HANGING_SECONDS * 1000);
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    const to = Date.now();
    const fresh = await freshAfter(pod, to, 30);
    const during = between(await callsOf(pod), from, to);
    t.diagnostic(
      `${during.length} calls, the slowest in ${Math.max(...during.map(({ ms }) => ms))} ms; fresh tokens ${fresh.at + fresh.ms - to} ms after it went on`,
    );
    assert.ok(during.length > HANGING_SECONDS / 2);
    assert.deepEqual(during.filter(({ status }) => status !== 200).slice(0, 3), []);
    assert.ok(fresh.at + fresh.ms - to < 5_000);
    await release.available();
  });

  test('of the authority while a pod starts: it waits, and starts when the authority is back', async (t) => {
    const scale = (replicas: number) =>
      kubectl(
        '-n',
        release.namespace,
        'scale',
        'deployment',
        `${release.name}-mintmark`,
        `--replicas=${replicas}`,
      );
    const waiting = { namespace, name: 'waiting' };
    t.after(() => deletePod(waiting));
    const pod = await load(t, 'before', LONG);
    const manifest = JSON.parse(await kubectl('-n', namespace, 'get', 'pod', pod.name, '-o', 'json'));
    const { labels, annotations } = manifest.metadata;
    await scale(0);
    await kubectl(
      '-n',
      release.namespace,
      'wait',
      'pods',
      '-l',
      'app.kubernetes.io/component=authority',
      '--for=delete',
      '--timeout=60s',
    );
    const copy = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { ...waiting, labels, annotations },
      spec: { ...manifest.spec, nodeName: undefined },
    };
    // The webhook is away too, so that nobody gets in without an identity.
    await assert.rejects(apply(copy), /webhook|connection refused|no endpoints/);
    await scale(2);
    await release.available();
    await apply(copy);
    await freshAfter(waiting, 0, 60);
  });
});
