/** What it costs on a real cluster: printed as diagnostics. Nothing is asserted of times; memory has its target. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, suite, test } from 'node:test';
import { CoreV1Api, type KubeConfig } from '@kubernetes/client-node';
import { generateKey, signInPool } from '../bench/raw-signatures.ts';
import { cluster, kubectl, startCluster } from './cluster.ts';
import { mint, type Pod, programOf, startPod, workloadNamespace } from './pods.ts';
import { install, type Post, type Release, ruleFor } from './release.ts';

const SIDECARS = 1_000;
const CONNECTIONS = 16;
const SECONDS = 3;
const LANES = 8;
const AWS = 'sts.amazonaws.com';
/** What a sidecar may take that has nothing to do. */
const IDLE_MAX_MIB = 24;

suite('figures', { concurrency: 1, timeout: 600_000 }, () => {
  let kube: KubeConfig;
  let release: Release;
  let namespace: string;

  before(async () => {
    kube = await startCluster();
    namespace = await workloadNamespace();
    release = await install({
      replicas: 1,
      attestor: { requestsPerSecond: 10_000, burst: 100_000 },
      // All of them come from the address of this test.
      private: { maxConnectionsPerAddress: 2 * SIDECARS },
      rules: [ruleFor(namespace)],
    });
  });
  after(async () => {
    if (release === undefined) return;
    await kubectl('delete', 'namespace', namespace, '--wait=false');
    await release.uninstall();
  });

  /** Each is another one, and one of each hundred, for the sake of time, verifies. */
  async function assertTokens(tokens: readonly string[]): Promise<void> {
    assert.ok(tokens.length > 0);
    assert.equal(new Set(tokens).size, tokens.length);
    for (const token of tokens.filter((_, index) => index % 100 === 0))
      assert.equal((await release.verify(token, AWS)).sub, `${namespace}:default`);
  }

  test('a sidecar: its memory, and how soon a pod has its first token', async (t) => {
    const annotations = { 'mintmark.io/aws-role-arn': 'arn:aws:iam::123456789012:role/web' };
    const pod = await startPod(namespace, 'figures', { annotations });
    const { pid, startedAt } = await sidecarOf(pod);
    const first = (await linesOf(pod)).find(({ msg }) => msg === 'issued');
    t.diagnostic(`start of the sidecar to the first token: ${Date.parse(first?.time ?? '') - startedAt} ms`);
    t.diagnostic(`sidecar after the first token: ${privateMiB(pid)} MiB private`);
    assert.ok(privateMiB(pid) <= IDLE_MAX_MIB);
    for (let asked = 0; asked < 50; asked++) await mint(pod, AWS);
    t.diagnostic(`sidecar after 50 more: ${privateMiB(pid)} MiB private`);
    assert.equal((await release.verify(await mint(pod, AWS), AWS)).sub, `${namespace}:default`);
  });

  test('tokens of one replica, beside the raw signature, and the API calls they cost', async (t) => {
    const pod = await startPod(namespace, 'load');
    const bearer = await kubectl(
      ...['-n', namespace, 'create', 'token', 'default', '--audience=mintmark'],
      ...['--bound-object-kind=Pod', `--bound-object-name=${pod.name}`],
    );
    const post = await release.openPost();
    const before = await apiCalls();
    const tokens = await load(post, bearer);
    const rate = tokens.length / SECONDS;
    const calls = (await apiCalls()) - before;
    const raw = await signInPool(generateKey('RS256'), SECONDS);
    t.diagnostic(
      `one replica, ${CONNECTIONS} at once: ${Math.round(rate)} tokens/s; raw RS256 ${Math.round(raw)}/s`,
    );
    t.diagnostic(`API calls a token: ${(calls / (rate * SECONDS)).toFixed(4)}`);
    await assertTokens(tokens);
  });

  test(`${SIDECARS} sidecars renew at once`, async (t) => {
    const bearers = await manyPods(kube, namespace);
    const post = await release.openPost();
    const began = performance.now();
    const millis = await Promise.all(
      bearers.map(async (bearer) => {
        const asked = performance.now();
        const { status, text } = await post('/v1/sidecar/tokens', bearer, BODY);
        return { status, text, ms: performance.now() - asked };
      }),
    );
    const all = performance.now() - began;
    const sorted = millis.map(({ ms }) => ms).sort((a, b) => a - b);
    const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)] ?? 0);
    const failures = millis.filter(({ status }) => status !== 200);
    const failed = failures.length;
    t.diagnostic(`all in ${Math.round(all)} ms; p50 ${at(0.5)} ms, p99 ${at(0.99)} ms; ${failed} failed`);
    assert.equal(failed, 0, failures[0]?.text ?? '');
    await assertTokens(millis.map(({ text }) => JSON.parse(text).token));
  });
});

const BODY = { audience: AWS };

async function load(post: Post, bearer: string): Promise<readonly string[]> {
  const endsAt = performance.now() + SECONDS * 1000;
  const tokens: string[] = [];
  const connection = async () => {
    while (performance.now() < endsAt) {
      const { status, text } = await post('/v1/sidecar/tokens', bearer, BODY);
      assert.equal(status, 200, text);
      tokens.push(JSON.parse(text).token);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, connection));
  return tokens;
}

/** Pods that no scheduler takes: there is no kubelet for a thousand, and their tokens are real ones all the same. */
async function manyPods(kube: KubeConfig, namespace: string): Promise<readonly string[]> {
  const api = kube.makeApiClient(CoreV1Api);
  const containers = [{ name: 'app', image: 'localhost/none' }];
  const bearers: string[] = [];
  const make = async (index: number) => {
    const name = `many-${index}`;
    const spec = { schedulerName: 'nobody', containers };
    await api.createNamespacedPod({ namespace, body: { metadata: { name }, spec } });
    const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name };
    const { status } = await api.createNamespacedServiceAccountToken({
      name: 'default',
      namespace,
      body: { spec: { audiences: ['mintmark'], expirationSeconds: 600, boundObjectRef } },
    });
    bearers.push(status?.token ?? '');
  };
  const lanes = Array.from({ length: LANES }, async (_, lane) => {
    for (let index = lane; index < SIDECARS; index += LANES) await make(index);
  });
  await Promise.all(lanes);
  return bearers;
}

/** TokenReviews and reads of pods and namespaces that the API server has answered. */
async function apiCalls(): Promise<number> {
  const metrics = await cluster(['kubectl', 'get', '--raw', '/metrics']);
  return metrics
    .split('\n')
    .filter((line) => /^apiserver_request_total\{.*resource="(tokenreviews|pods|namespaces)"/.test(line))
    .filter((line) => /verb="(POST|GET|LIST)"/.test(line))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

type Line = { readonly msg: string; readonly time: string };

async function linesOf({ namespace, name }: Pod): Promise<readonly Line[]> {
  const text = await kubectl('-n', namespace, 'logs', name, '-c', 'mintmark');
  return text.split('\n').map((line) => JSON.parse(line));
}

/** Its process, and when it was started. */
async function sidecarOf(pod: Pod): Promise<{ readonly pid: number; readonly startedAt: number }> {
  const pid = await programOf(pod);
  const ticks = Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ')[19]);
  const boot = Number(/^btime (\d+)$/m.exec(readFileSync('/proc/stat', 'latin1'))?.[1]);
  return { pid, startedAt: boot * 1000 + ticks * 10 };
}

function privateMiB(pid: number): number {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Math.round(Number(kilobytes) / 102.4) / 10;
}
