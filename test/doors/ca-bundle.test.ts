import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import jsonpatch from 'fast-json-patch';
import { IssuerError } from '../../src/core/errors.ts';
import { type CaBundle, keepCaBundle } from '../../src/doors/ca-bundle.ts';
import { type Answer, failure, fakeKubernetes } from '../fakes/kubernetes.ts';

const PATH = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/mintmark';
const base64 = (text: string) => Buffer.from(text).toString('base64');

type Configuration = { webhooks: { name: string; clientConfig: { caBundle?: string } }[] };

async function cluster(t: TestContext, parts: Partial<CaBundle> = {}) {
  const state: { object: Configuration; fault: Answer | undefined; silent: boolean } = {
    object: { webhooks: [{ name: 'pods.mintmark.io', clientConfig: {} }] },
    fault: undefined,
    silent: false,
  };
  const kubernetes = await fakeKubernetes(t, ({ method, body }) => {
    if (state.silent) return undefined;
    if (state.fault !== undefined) return state.fault;
    if (method === 'PATCH')
      state.object = jsonpatch.applyPatch(state.object, body as jsonpatch.Operation[], true).newDocument;
    return { status: 200, body: { kind: 'MutatingWebhookConfiguration', ...state.object } };
  });
  const lines: string[] = [];
  const start = () => {
    const kept = keepCaBundle({
      configuration: 'mintmark',
      caCertificate: () => 'PEM',
      kubernetes: async () => kubernetes.config,
      log: { info: (line) => lines.push(`info ${line}`), warn: (line) => lines.push(`warn ${line}`) },
      random: () => 1,
      intervalMs: 20,
      firstRetryMs: 5,
      ...parts,
    });
    t.after(() => kept.close());
    return kept;
  };
  return { state, lines, asked: kubernetes.asked, start };
}

async function until(look: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!look()) {
    assert.ok(performance.now() < deadline, 'waited in vain');
    await sleep(2);
  }
}

suite('keepCaBundle', () => {
  test('writes the CA once, and again when it is gone', async (t) => {
    const { state, lines, asked, start } = await cluster(t);
    start();
    const bundle = () => state.object.webhooks[0]?.clientConfig.caBundle;
    await until(() => bundle() === base64('PEM'));
    const patch = asked.find(({ method }) => method === 'PATCH');
    assert.deepEqual([patch?.path, patch?.type], [PATH, 'application/json-patch+json']);
    await until(() => asked.length >= 5);
    assert.equal(asked.filter(({ method }) => method === 'PATCH').length, 1);
    state.object = { webhooks: [{ name: 'pods.mintmark.io', clientConfig: { caBundle: base64('old') } }] };
    await until(() => bundle() === base64('PEM'));
    await until(() => lines.length === 2);
    assert.deepEqual(
      new Set(lines),
      new Set(['info the caBundle of MutatingWebhookConfiguration mintmark is now our CA']),
    );
  });

  test('writes it into every webhook of the object, each only if it still stands there', async (t) => {
    const { state, asked, start } = await cluster(t);
    state.object = {
      webhooks: [
        { name: 'a', clientConfig: { caBundle: base64('PEM') } },
        { name: 'b', clientConfig: {} },
      ],
    };
    start();
    await until(() =>
      state.object.webhooks.every(({ clientConfig }) => clientConfig.caBundle === base64('PEM')),
    );
    assert.deepEqual(asked.find(({ method }) => method === 'PATCH')?.body, [
      { op: 'test', path: '/webhooks/1/name', value: 'b' },
      { op: 'add', path: '/webhooks/1/clientConfig/caBundle', value: base64('PEM') },
    ]);
  });

  test('a missing right is told in one line that names it, and taken up once it is there', async (t) => {
    const { state, lines, asked, start } = await cluster(t);
    state.fault = failure(403, 'Forbidden');
    start();
    await until(() => asked.length >= 4);
    assert.equal(lines.length, 1);
    assert.match(
      lines[0]!,
      /^warn RBAC: .* may not get MutatingWebhookConfiguration mintmark: .* needs get and patch of mutatingwebhookconfigurations in admissionregistration\.k8s\.io \(resourceNames: \[mintmark\]\)$/,
    );
    state.fault = undefined;
    await until(() => lines.length === 2);
    assert.match(lines[1]!, /is now our CA/);
  });

  test('every other trouble is told too, and tried again later and later', async (t) => {
    const { state, lines, start } = await cluster(t);
    state.fault = failure(404, 'NotFound');
    start();
    await until(() => lines.length === 1);
    state.fault = failure(500, 'InternalError');
    await until(() => lines.length === 2);
    assert.match(
      lines[0]!,
      /there is no MutatingWebhookConfiguration mintmark: doors\.webhook\.configuration names it/,
    );
    assert.match(lines[1]!, /could not be kept: HTTP 500$/);
  });

  test('an API server that cannot be reached', async (t) => {
    const { lines, start } = await cluster(t, {
      kubernetes: async () => {
        throw new Error('no service account is mounted');
      },
    });
    start();
    await until(() => lines.length === 1);
    assert.match(lines[0]!, /could not be kept: no service account is mounted$/);
  });

  test('without a CA of its own it asks nobody, until there is one', async (t) => {
    let pem: string | undefined;
    const { asked, lines, state, start } = await cluster(t, { caCertificate: () => pem });
    start();
    await sleep(60);
    assert.deepEqual([asked.length, lines.length], [0, 0]);
    pem = 'LATE';
    await until(() => state.object.webhooks[0]?.clientConfig.caBundle === base64('LATE'));
  });

  test('a CA that cannot be read is told once, and looked for again', async (t) => {
    const files = ['ONE'];
    const caCertificate = async () => {
      const pem = files[0];
      if (pem === undefined) throw new IssuerError('temporarily_unavailable', 'caFile ca.crt: ENOENT');
      return pem;
    };
    const { lines, state, start } = await cluster(t, { caCertificate });
    start();
    const bundle = () => state.object.webhooks[0]?.clientConfig.caBundle;
    await until(() => bundle() === base64('ONE'));
    files.pop();
    await sleep(100);
    assert.deepEqual(
      lines.filter((line) => line.startsWith('warn')),
      ['warn caFile ca.crt: ENOENT'],
    );
    files.push('TWO');
    await until(() => bundle() === base64('TWO'));
  });

  test('stops at once, also in the middle of a call', async (t) => {
    const { state, asked, lines, start } = await cluster(t);
    state.silent = true;
    const kept = start();
    await until(() => asked.length === 1);
    const before = performance.now();
    await kept.close();
    assert.ok(performance.now() - before < 1_000);
    await sleep(30);
    assert.deepEqual([asked.length, lines.length], [1, 0]);
  });
});
