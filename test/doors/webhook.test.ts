import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import jsonpatch from 'fast-json-patch';
import * as v from 'valibot';
import { config, open, type WebhookConfig, type WebhookContext } from '../../src/doors/webhook.ts';
import { settings } from '../../src/doors/webhook-settings.ts';
import { injectPod } from '../../src/injection/inject.ts';
import { jsonPatch } from '../../src/injection/patch.ts';
import { parsePod } from '../../src/injection/pod.ts';
import { serve } from '../fakes/http.ts';
import { containerOf, environmentOf, PEM } from '../injection/pods.ts';

const BLOCK: WebhookConfig = v.parse(config, {
  image: 'registry.example.com/mintmark:0.1.0',
  url: 'https://mintmark.mintmark.svc:8443',
});
const vector = JSON.parse(
  await readFile(new URL('../vectors/admission-review.json', import.meta.url), 'utf8'),
);

type Options = { readonly block?: Partial<WebhookConfig>; readonly context?: Partial<WebhookContext> };

async function door(t: TestContext, { block, context }: Options = {}) {
  const warnings: string[] = [];
  const whole = { ...BLOCK, ...block };
  const opened = open(whole, {
    inject(given, ca) {
      const pod = parsePod(given);
      return jsonPatch(pod, injectPod(pod, whole, { ca, version: '1.2.3' }));
    },
    caCertificate: () => PEM,
    kubernetes: () => Promise.reject(new Error('there is none')),
    log: { info: () => undefined, warn: (message) => warnings.push(message) },
    ...context,
  });
  t.after(() => opened.close());
  const served = await serve(t, opened, { peerOf: () => undefined });
  const post = (body: unknown) =>
    served.ask('/v1/inject?timeout=10s', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body),
    });
  const review = async (change: object = {}) => {
    const { status, text } = await post({ ...vector, request: { ...vector.request, ...change } });
    assert.equal(status, 200, text);
    const { response, ...rest } = JSON.parse(text);
    assert.deepEqual(rest, { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview' });
    assert.equal(response.uid, vector.request.uid);
    return response;
  };
  return { served, post, review, warnings };
}

const { object } = vector.request;
const withMetadata = (metadata: object) => ({
  object: { ...object, metadata: { ...object.metadata, ...metadata } },
});

suite('POST /v1/inject', () => {
  test('so many pods at once, and the next is to come again', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'mintmark-webhook-'));
    t.after(() => rm(directory, { recursive: true }));
    // A pipe: whoever reads it waits for somebody who writes.
    const caFile = join(directory, 'ca.crt');
    execFileSync('mkfifo', [caFile]);
    const { post, served } = await door(t, { block: { caFile, maxInFlight: 1 } });
    const both = [post(vector), post(vector)];
    const { status, headers, text } = await Promise.race(both);
    assert.deepEqual([status, headers['retry-after']], [503, '1']);
    assert.equal(JSON.parse(text).error, 'temporarily_unavailable');
    assert.deepEqual(
      served.recorder.refusals.map(({ door: name, code }) => [name, code]),
      [['webhook', 'temporarily_unavailable']],
    );
    await writeFile(caFile, PEM);
    assert.deepEqual((await Promise.all(both)).map((answer) => answer.status).sort(), [200, 503]);
    const again = post(vector);
    await writeFile(caFile, PEM);
    assert.equal((await again).status, 200);
  });

  test('bodies that never come keep no pod from being injected', async (t) => {
    const { review, served } = await door(t, { block: { maxInFlight: 4 } });
    const slow = 'POST /v1/inject HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nx';
    const answers = Array.from({ length: 8 }, () => served.sendRaw(slow));
    await Promise.race(answers); // so that they have been begun
    assert.equal((await review()).allowed, true);
    for (const answer of await Promise.all(answers)) assert.match(answer, /^HTTP\/1\.1 (?:503|408) /);
  });

  test('answers with the patch that injects the pod', async (t) => {
    const { review } = await door(t);
    const { allowed, patchType, patch, status } = await review();
    assert.deepEqual(
      { allowed, patchType, status },
      { allowed: true, patchType: 'JSONPatch', status: undefined },
    );
    const operations = JSON.parse(Buffer.from(patch, 'base64').toString());
    const { newDocument } = jsonpatch.applyPatch(structuredClone(object), operations, true);
    assert.deepEqual(newDocument, injectPod(parsePod(object), BLOCK, { ca: PEM, version: '1.2.3' }));
    assert.equal(
      environmentOf(containerOf(newDocument, 'web')).AWS_WEB_IDENTITY_TOKEN_FILE,
      '/run/mintmark/tokens/aws',
    );
    assert.equal(environmentOf(containerOf(newDocument, 'mintmark')).MINTMARK_AUTHORITY_CA, PEM);
  });

  test('a pod that is injected already needs no patch', async (t) => {
    const { review } = await door(t);
    const injected = injectPod(parsePod(object), BLOCK, { ca: PEM, version: '0.9.0' });
    const { uid: _, ...response } = await review({ object: injected });
    assert.deepEqual(response, { allowed: true });
  });

  test('a bad annotation is refused with the reason', async (t) => {
    const { review, warnings } = await door(t);
    const annotations = { 'mintmark.io/aws-role-arn': 'web' };
    assert.deepEqual((await review(withMetadata({ annotations }))).status, {
      code: 400,
      reason: 'BadRequest',
      message:
        'mintmark cannot inject pod prod/web-7c9d8f6b5d-*: annotation mintmark.io/aws-role-arn must look like arn:aws:iam::111122223333:role/web, not "web"',
    });
    const { allowed, status, patch } = await review(withMetadata({ name: 'web', annotations }));
    assert.deepEqual({ allowed, patch }, { allowed: false, patch: undefined });
    assert.match(status.message, /^mintmark cannot inject pod prod\/web: annotation/);
    assert.deepEqual(warnings, []);
  });

  test('a name that is taken is refused, and so is what is no pod', async (t) => {
    const { review } = await door(t);
    const taken = {
      ...object,
      spec: { ...object.spec, volumes: [{ name: 'mintmark-socket', emptyDir: {} }] },
    };
    assert.match((await review({ object: taken })).status.message, /has the volume mintmark-socket already/);
    for (const bad of [null, {}, { spec: { containers: 'x' } }, 'x', [], 1]) {
      const { allowed, status } = await review({ object: bad });
      assert.deepEqual([allowed, status.code], [false, 400]);
      assert.match(status.message, /^mintmark cannot inject pod prod\/\S*: (?:the pod|spec)/);
    }
  });

  test('a pod that declines, and what is no creation of a pod, passes as it is', async (t) => {
    const { review } = await door(t);
    const { uid: _, ...declined } = await review(withMetadata({ labels: { 'mintmark.io/inject': 'false' } }));
    assert.deepEqual(declined, { allowed: true });
    for (const change of [
      { operation: 'UPDATE' },
      { operation: 'DELETE', object: null },
      { subResource: 'ephemeralcontainers' },
      { kind: { group: 'apps', version: 'v1', kind: 'Deployment' } },
      { kind: undefined },
    ]) {
      const { allowed, patch, warnings } = await review(change);
      assert.deepEqual({ allowed, patch }, { allowed: true, patch: undefined });
      assert.match(warnings[0], /injects pods when they are created/);
    }
  });

  test('a fault is told with its reason, to the caller and to the log', async (t) => {
    const inject = () => {
      throw new RangeError('too much');
    };
    const { review, warnings } = await door(t, { context: { inject } });
    const { allowed, status } = await review();
    assert.equal(allowed, false);
    assert.deepEqual([status.code, status.reason], [500, 'InternalError']);
    assert.match(status.message, /a fault in mintmark: too much$/);
    assert.deepEqual(warnings, [status.message]);
  });

  test('what is no AdmissionReview of v1 is refused', async (t) => {
    const { post, served } = await door(t);
    const wrong: readonly (readonly [unknown, string])[] = [
      ['', 'the body is no valid JSON'],
      ['{', 'the body is no valid JSON'],
      [Buffer.from([0xff]), 'the body is no UTF-8'],
      ['null', 'the body is no AdmissionReview'],
      ['[]', 'the body is no AdmissionReview'],
      [{ ...vector, kind: 'Pod' }, 'the body is no AdmissionReview'],
      [{ ...vector, request: undefined }, 'the body is no AdmissionReview'],
      [
        { ...vector, apiVersion: 'admission.k8s.io/v1beta1' },
        'the apiVersion of the review is not admission.k8s.io/v1',
      ],
      [{ ...vector, request: { ...vector.request, uid: '' } }, 'the request has no uid'],
    ];
    for (const [body, reason] of wrong) {
      const { status, text } = await post(body);
      assert.equal(status, 400);
      assert.deepEqual([JSON.parse(text).error, JSON.parse(text).reason], ['invalid_request', reason]);
    }
    assert.equal((await served.ask('/v1/inject')).status, 405);
  });

  test('a pod of 3 MiB is taken, more than 4 MiB is not', async (t) => {
    const { review, post } = await door(t);
    const command = ['x'.repeat(3 * 1024 * 1024)];
    const [container] = object.spec.containers;
    const spec = { ...object.spec, containers: [{ ...container, command }] };
    const { allowed, patch } = await review({ object: { ...object, spec } });
    assert.equal(allowed, true);
    assert.ok(patch.length < 10_000); // the patch has only what is new
    assert.equal((await post(Buffer.alloc(4 * 1024 * 1024 + 1, 0x20))).status, 413);
  });

  test('a pod of many containers is refused before anything is made for one of them', async (t) => {
    const { post } = await door(t, {
      context: {
        inject(given) {
          parsePod(given);
          throw new Error('this has to be refused before');
        },
      },
    });
    const containers = Array.from({ length: 200_000 }, () => ({ name: 'a' }));
    const request = { ...vector.request, object: { ...object, spec: { containers } } };
    const { status, text } = await post({ ...vector, request });
    assert.equal(status, 200);
    assert.match(JSON.parse(text).response.status.message, /it has 200000 containers: 200 are the most$/);
  });

  test('an answer is no larger than the API server could use', async (t) => {
    const large = 'x'.repeat(1024 * 1024);
    const { review } = await door(t, { context: { inject: () => [{ value: large }] } });
    const { allowed, status } = await review();
    assert.deepEqual([allowed, status.code], [false, 400]);
    assert.match(status.message, /makes 10485\d\d bytes: 1048576 are the most$/);
    const refused = await door(t);
    const annotations = { [`mintmark.io/${'x'.repeat(200_000)}`]: 'x' };
    assert.ok((await refused.review(withMetadata({ annotations }))).status.message.length < 3000);
    const uid = 'x'.repeat(200);
    assert.equal((await refused.post({ ...vector, request: { ...vector.request, uid } })).status, 400);
  });

  test('a label that is neither "true" nor "false" is refused: nobody starts without what was meant', async (t) => {
    const { review } = await door(t);
    for (const label of ['True', 'yes', '', 'enabled']) {
      const labels = { 'mintmark.io/inject': label };
      const { allowed, status } = await review(withMetadata({ labels }));
      assert.deepEqual([allowed, status.code], [false, 400]);
      assert.match(status.message, /label mintmark\.io\/inject must be "true" or "false", not "/);
    }
    assert.equal((await review(withMetadata({ labels: {} }))).patchType, 'JSONPatch');
  });

  test('a body that nests without end is answered', async (t) => {
    const { post } = await door(t);
    const deep = '['.repeat(100_000) + ']'.repeat(100_000);
    const text = JSON.stringify(vector).replace('"status":{}', `"status":${deep}`);
    const answer = await post(text);
    assert.equal(answer.status, 200);
    assert.equal(JSON.parse(answer.text).response.uid, vector.request.uid);
  });

  test('the CA comes from a file where one is named, read again for each pod', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'mintmark-webhook-'));
    t.after(() => rm(directory, { recursive: true }));
    const caFile = join(directory, 'ca.crt');
    const { review, warnings } = await door(t, { block: { caFile } });
    const missing = await review();
    assert.deepEqual([missing.allowed, missing.status.code], [false, 503]);
    assert.match(missing.status.message, /doors\.webhook\.caFile .*ca\.crt: ENOENT$/);
    assert.equal(warnings.length, 1);
    for (const pem of ['one', 'two']) {
      await writeFile(caFile, pem);
      const { patch } = await review();
      const { newDocument } = jsonpatch.applyPatch(
        structuredClone(object),
        JSON.parse(Buffer.from(patch, 'base64').toString()),
      );
      assert.equal(environmentOf(containerOf(newDocument, 'mintmark')).MINTMARK_AUTHORITY_CA, pem);
    }
  });

  test('is in the OpenAPI document of the private listener', async (t) => {
    const { served } = await door(t);
    const { paths } = JSON.parse((await served.ask('/openapi.json')).text);
    assert.deepEqual(Object.keys(paths['/v1/inject']), ['post']);
  });
});

suite("the webhook's configuration", () => {
  const least = { image: 'mintmark:1', url: 'https://mintmark.mintmark.svc:8443' };

  test('has defaults for all but the image and the URL', () => {
    assert.deepEqual(v.parse(config, least), {
      ...least,
      maxInFlight: 64,
      audience: 'mintmark',
      statusListen: '0.0.0.0:9464',
      resources: { requests: { cpu: '10m', memory: '48Mi' }, limits: { memory: '96Mi' } },
      reuseFloor: '1m',
      singleUse: [],
    });
    for (const missing of [{ image: 'x' }, { url: least.url }, {}, null])
      assert.throws(() => v.parse(config, missing));
  });

  test('takes every setting', () => {
    const all = {
      ...least,
      configuration: 'mintmark',
      caFile: '/etc/mintmark-tls/ca.crt',
      imagePullPolicy: 'IfNotPresent',
      audience: 'https://tokens.example.com',
      statusListen: '[::]:9464',
      resources: { requests: { cpu: '0.5', memory: '1Gi' }, limits: { cpu: '1', memory: '1Gi' } },
      reuseFloor: 'off',
      singleUse: ['https://once.example.com'],
      maxInFlight: 8,
    };
    assert.deepEqual(v.parse(config, all), all);
    assert.deepEqual(v.parse(config, { ...least, resources: { limits: {} } }).resources, {
      requests: { cpu: '10m', memory: '48Mi' },
      limits: {},
    });
  });

  test('is strict', () => {
    const wrong = [
      { imagee: 'x' },
      { image: '' },
      { image: 'a b' },
      { url: 'http://mintmark' },
      { url: 'https://mintmark/' },
      { url: 'https://mintmark:99999' },
      { url: 'https://user@mintmark' },
      { url: 'mintmark:8443' },
      { configuration: 'Mint Mark' },
      { caFile: 'ca.crt' },
      { imagePullPolicy: 'Sometimes' },
      { audience: '' },
      { audience: 'a\nb' },
      { statusListen: ':9464' },
      { statusListen: '0.0.0.0:80' },
      { statusListen: '0.0.0.0:99999' },
      { statusListen: '999.0.0.1:9464' },
      { statusListen: 'localhost:9464' },
      { resources: { limits: { memory: 'lots' } } },
      { resources: { limit: {} } },
      { resources: { requests: { memory: '128Mi' } } },
      { resources: { requests: { cpu: '1' }, limits: { cpu: '999m' } } },
      { resources: { requests: { memory: '1Ki' }, limits: { memory: '1Ki' } } },
      { maxInFlight: 0 },
    ];
    for (const bad of wrong) assert.throws(() => v.parse(config, { ...least, ...bad }), JSON.stringify(bad));
    assert.throws(() => v.parse(settings, { ...least, configuration: 'x' }));
  });
});
