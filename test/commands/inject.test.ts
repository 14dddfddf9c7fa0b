/** `mintmark inject` on manifests: what changes, and that nothing else does. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { parseAllDocuments, stringify } from 'yaml';
import { CommandError, type Io, Values } from '../../src/commands/command.ts';
import { command } from '../../src/commands/inject.ts';
import { injectPod } from '../../src/injection/inject.ts';
import type { Pod } from '../../src/injection/pod.ts';
import { arbitraryPod, CONTEXT, containerOf, environmentOf, PEM, pod, SETTINGS } from '../injection/pods.ts';
import { mintmark } from '../system/start.ts';

const directory = mkdtempSync(join(tmpdir(), 'mintmark-inject-'));
after(() => rmSync(directory, { recursive: true }));
const CA = join(directory, 'ca.pem');
writeFileSync(CA, PEM);

const OPTIONS = ['--image', SETTINGS.image, '--authority-url', SETTINGS.url, '--authority-ca', CA];

/** The command as cli.ts calls it, with this on stdin. */
async function run(input: string, args: readonly string[] = ['-f', '-', ...OPTIONS]) {
  let stdout = '';
  let stderr = '';
  const io = {
    version: CONTEXT.version,
    write(text: string) {
      stdout += text;
    },
    writeError(text: string) {
      stderr += text;
    },
    readInput: async () => Buffer.from(input),
  } as Io;
  const { values } = parseArgs({ args: [...args], options: { ...command.options } as never });
  const code = await command.run({ io, values: new Values(values), words: [] });
  assert.equal(code, 0);
  return { stdout, stderr };
}

const parse = (text: string) => parseAllDocuments(text).map((document) => document.toJS());
const injected = (given: Pod) => injectPod(given, SETTINGS, CONTEXT);

function labelled(annotations: Readonly<Record<string, string>> = {}, value = 'true'): Pod {
  const made = pod(annotations);
  return { ...made, metadata: { ...made.metadata, labels: { 'mintmark.io/inject': value } } };
}

async function assertFails(
  input: string,
  message: RegExp,
  exitCode = 1,
  args?: readonly string[],
): Promise<void> {
  await assert.rejects(run(input, args), (error) => {
    assert.ok(error instanceof CommandError, String(error));
    assert.match(error.message, message);
    assert.equal(error.exitCode, exitCode);
    return true;
  });
}

suite('mintmark inject', () => {
  test('does to a pod what the webhook does', async () => {
    const { stdout, stderr } = await run(stringify(labelled()));
    assert.deepEqual(parse(stdout), [injected(labelled())]);
    assert.equal(stderr, 'Pod web: injected\n');
  });

  test('any pod', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryPod, async (given) => {
        const { stdout } = await run(stringify(given, { compat: 'yaml-1.1' }), [
          '-f',
          '-',
          '--all',
          ...OPTIONS,
        ]);
        assert.deepEqual(parse(stdout), [injected(given)]);
      }),
    );
  });

  test('its own output stays as it is, byte for byte', async () => {
    const once = await run(stringify(labelled({ 'token-audiences': 'a' })));
    const again = await run(once.stdout);
    assert.equal(again.stdout, once.stdout);
    assert.equal(again.stderr, 'Pod web: injected already\n');
  });

  test('finds the pods in everything that makes pods', async () => {
    const { metadata = {}, spec } = labelled();
    const template: Pod = { metadata, spec };
    const object = (apiVersion: string, kind: string, body: object) => ({
      apiVersion,
      kind,
      metadata: { name: 'x' },
      spec: body,
    });
    const kinds = ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet'];
    const objects = [
      ...kinds.map((kind) => object('apps/v1', kind, { replicas: 2, template })),
      object('batch/v1', 'Job', { backoffLimit: 1, template }),
      object('v1', 'ReplicationController', { template }),
      object('batch/v1', 'CronJob', { schedule: '* * * * *', jobTemplate: { spec: { template } } }),
    ];
    const list = { apiVersion: 'v1', kind: 'List', items: [...objects, labelled()] };
    const { stdout, stderr } = await run([...objects, list].map((each) => stringify(each)).join('---\n'));
    const done = injected({ metadata, spec });
    const expected = JSON.parse(JSON.stringify([...objects, list]), (key, value) =>
      key === 'template' ? done : value,
    );
    expected.at(-1).items[7] = injected(labelled());
    assert.deepEqual(parse(stdout), expected);
    assert.equal(stderr.split('\n').length - 1, 15);
  });

  test('leaves alone what has no label, declines, or is of another kind', async () => {
    const others = [
      pod(),
      labelled({}, 'false'),
      { apiVersion: 'batch.volcano.sh/v1alpha1', kind: 'Job', spec: { template: labelled() } },
      { apiVersion: 'v1', kind: 'ConfigMap', data: { pod: 'x' } },
      { kind: 'Pod' },
      'text',
      null,
      [1],
    ];
    const text = others.map((each) => stringify(each)).join('---\n');
    const { stdout, stderr } = await run(text);
    assert.equal(stdout, text);
    assert.match(stderr, /^nothing injected: no pod has the label mintmark\.io\/inject: "true"/);
    const all = await run(text, ['-f', '-', '--all', ...OPTIONS]);
    assert.equal(all.stderr, 'Pod web: injected\n');
    assert.deepEqual(parse(all.stdout), [injected(pod()), ...others.slice(1)]);
  });

  test('an empty input is an empty output', async () => {
    for (const text of ['', '\n', '# nothing\n', '---\n']) assert.equal((await run(text)).stdout, text);
  });

  test('JSON: one object, or a List of several', async () => {
    const json = ['-f', '-', '--json', ...OPTIONS];
    assert.deepEqual(JSON.parse((await run(JSON.stringify(labelled()), json)).stdout), injected(labelled()));
    const two = await run(`${stringify(labelled())}---\n---\n${stringify(pod())}`, json);
    assert.deepEqual(JSON.parse(two.stdout), {
      apiVersion: 'v1',
      kind: 'List',
      items: [injected(labelled()), pod()],
    });
    const { stdout } = await run(JSON.stringify(labelled(), null, 2));
    assert.deepEqual(parse(stdout), [injected(labelled())]);
  });

  test('several files', async () => {
    const files = ['one', 'two'].map((name) => join(directory, `${name}.yaml`));
    for (const file of files) writeFileSync(file, stringify(labelled()));
    const { stdout } = await run('', files.flatMap((file) => ['-f', file]).concat(OPTIONS));
    assert.deepEqual(parse(stdout), [injected(labelled()), injected(labelled())]);
  });

  test('settings go into the sidecar', async () => {
    const more = ['--audience', 'other', '--image-pull-policy', 'Never', '--status-listen', '[::]:8081'];
    const [made] = parse((await run(stringify(labelled()), ['-f', '-', ...OPTIONS, ...more])).stdout);
    const sidecar = containerOf(made, 'mintmark');
    assert.equal(sidecar.imagePullPolicy, 'Never');
    assert.equal(environmentOf(sidecar).MINTMARK_STATUS_LISTEN, '[::]:8081');
    assert.match(JSON.stringify(made.spec.volumes), /"audience":"other"/);
  });

  test('what the webhook can say of resources and of tokens given again, the command can', async () => {
    const resources = ['--requests', 'cpu=20m,memory=64Mi', '--limits', 'memory=128Mi'];
    const reuse = ['--reuse-floor', 'off', '--single-use', 'once', '--single-use', 'once-too'];
    const [made] = parse(
      (await run(stringify(labelled()), ['-f', '-', ...OPTIONS, ...resources, ...reuse])).stdout,
    );
    const sidecar = containerOf(made, 'mintmark');
    assert.deepEqual(sidecar.resources, {
      requests: { cpu: '20m', memory: '64Mi' },
      limits: { memory: '128Mi' },
    });
    const { MINTMARK_AUTHORITY_REUSE_FLOOR: floor, MINTMARK_AUTHORITY_SINGLE_USE: once } =
      environmentOf(sidecar);
    assert.deepEqual([floor, once], ['off', '["once","once-too"]']);
  });
});

suite('what is written stays as it is written', () => {
  test('comments, order, quotes, numbers, words and other documents', async () => {
    const text = `# a web server
apiVersion: v1
kind: ConfigMap
metadata: {name:   odd,  namespace: 'x'}   # odd
---
# the pod
kind: Pod
apiVersion: v1
metadata:
  name: "web"
  # who wants an identity
  labels: {mintmark.io/inject: "true"}
spec:
  # one container
  containers:
  - image: busybox # small
    name: web
    args: [on, 0644, 0x1F, 1e3, .5, ~, 1.10, "yes", 12345678901234567890]
    command:
    - sh
    - |
      echo "$HOME" # no comment
      sleep   1
    - >-
      a folded text that is longer than any line of a hundred characters could be, so that nobody folds it again

      b
  volumes:
  - name: c
    configMap: {name: x, defaultMode: 0400, optional: yes}
`;
    const { stdout } = await run(text);
    const lines = stdout.split('\n');
    for (const line of text.split('\n').filter((each) => !/^ *$/.test(each)))
      assert.ok(lines.includes(line), line);
    assert.ok(stdout.startsWith(text.slice(0, text.indexOf('kind: Pod'))));
  });

  test('a file mode is what kubectl reads, also as JSON', async () => {
    const volumes = '  volumes: [{name: c, configMap: {name: x, defaultMode: 0644, optional: on}}]\n';
    const { stdout } = await run(`${stringify(labelled())}${volumes}`, ['-f', '-', '--json', ...OPTIONS]);
    assert.deepEqual(JSON.parse(stdout).spec.volumes[0].configMap, {
      name: 'x',
      defaultMode: 420,
      optional: true,
    });
  });

  test('what is an alias or merged is written out where it changes', async () => {
    const text = `apiVersion: v1
kind: Pod
metadata: { name: web, labels: { mintmark.io/inject: "true" } }
spec:
  initContainers:
    - &base
      name: init
      image: busybox
      env: &env
        - { name: A, value: "1" }
      volumeMounts: [ { name: data, mountPath: /data } ]
  containers:
    - <<: *base
      name: web
    - name: two
      image: busybox
      env: *env
  volumes: [ { name: data, emptyDir: {} } ]
`;
    const mounts = [{ name: 'data', mountPath: '/data' }];
    const env = [{ name: 'A', value: '1' }];
    const expected = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'web', labels: { 'mintmark.io/inject': 'true' } },
      spec: {
        initContainers: [{ name: 'init', image: 'busybox', env, volumeMounts: mounts }],
        containers: [
          { name: 'web', image: 'busybox', env, volumeMounts: mounts },
          { name: 'two', image: 'busybox', env },
        ],
        volumes: [{ name: 'data', emptyDir: {} }],
      },
    };
    const { stdout } = await run(text);
    assert.deepEqual(parse(stdout), [injected(expected)]);
    assert.doesNotMatch(stdout, /[&*]base|[&*]env|<</);
    // A document that does not change keeps them.
    const other = text.replace('"true"', '"false"');
    assert.equal((await run(other)).stdout, other);
  });

  test('texts that YAML 1.1 takes for something else are quoted', async () => {
    for (const role of ['yes', 'on', '0644', '1e3', '1_000', '12:30', '2024-01-01', 'null', '~', '0x1f']) {
      const given = labelled({ 'vault-address': 'https://v.example.com', 'vault-role': role });
      const { stdout } = await run(stringify(given, { compat: 'yaml-1.1' }));
      const [made] = parseAllDocuments(stdout, { version: '1.1' }).map((document) => document.toJS());
      assert.equal(environmentOf(containerOf(made, 'web')).VAULT_ROLE, role);
    }
  });
});

suite('mintmark inject says what is wrong', () => {
  test('with the pods: all of them, and nothing is printed', async () => {
    const bad = labelled({ 'aws-role-arn': 'x' });
    const text = [labelled(), bad, { ...bad, kind: 'Pod', spec: {} }]
      .map((each) => stringify(each))
      .join('---\n');
    await assertFails(
      text,
      /^stdin: Pod web: annotation mintmark\.io\/aws-role-arn must look like .*, not "x"\nstdin: Pod web: spec\.containers is no list/,
    );
  });

  test('with a label that is neither "true" nor "false" in quotes', async () => {
    for (const label of [true, 'True', 'yes', 1]) {
      const pod = labelled();
      const labels = { ...pod.metadata?.labels, 'mintmark.io/inject': label };
      const text = stringify({ ...pod, metadata: { ...pod.metadata, labels } });
      await assertFails(
        text,
        /^stdin: Pod web: label mintmark\.io\/inject must be "true" or "false", in quotes/,
      );
      await assertFails(text, /must be "true" or "false"/, 1, ['-f', '-', '--all', ...OPTIONS]);
    }
  });

  test('with the YAML', async () => {
    await assertFails('a: [\n', /^stdin:\d+: is no YAML: /);
    await assertFails('a: 1\na: 2\n', /^stdin:\d+: is no YAML: Map keys must be unique/);
    await assertFails(`a: &a\n  b: *a\n`, /^stdin: is no manifest: an alias \(\*name\) stands within/);
    await assertFails('a: *b\n', /is no YAML: /);
    const bomb = `a: &a [x, x, x, x, x, x, x, x, x, x]\n${'bcdefg'
      .split('')
      .map((name, index) => `${name}: &${name} [${Array(10).fill(`*${'abcdef'[index]}`)}]`)
      .join('\n')}\n`;
    await assertFails(bomb, /^stdin: is no YAML: Excessive alias count/);
  });

  test('with the files', async () => {
    await assertFails('', /^cannot read \/nowhere\.yaml: ENOENT$/, 1, ['-f', '/nowhere.yaml', ...OPTIONS]);
    const ca = ['-f', '-', '--image', 'x', '--authority-url', SETTINGS.url, '--authority-ca'];
    await assertFails('', /^cannot read \/nowhere\.pem: ENOENT$/, 1, [...ca, '/nowhere.pem']);
    const empty = join(directory, 'empty.pem');
    writeFileSync(empty, '');
    await assertFails('', /empty\.pem holds no certificate in PEM$/, 2, [...ca, empty]);
  });

  test('with the command line', async () => {
    await assertFails('', /^mintmark inject needs -f FILE$/, 2, OPTIONS);
    await assertFails('', /^mintmark inject needs --image\nmintmark inject needs --authority-url$/, 2, [
      '-f',
      '-',
    ]);
    const wrong = ['-f', '-', '--image', 'a b', '--authority-url', 'http://x'];
    await assertFails('', /^--image must name an image\n--authority-url must be an https URL/, 2, wrong);
    const policy = ['-f', '-', ...OPTIONS, '--image-pull-policy', 'Sometimes'];
    await assertFails('', /^--image-pull-policy /, 2, policy);
    const memory = ['-f', '-', ...OPTIONS, '--limits', 'memory=lots'];
    await assertFails('', /^--limits memory must be a quantity such as 64Mi/, 2, memory);
    const disk = ['-f', '-', ...OPTIONS, '--requests', 'disk=1Gi'];
    await assertFails('', /^--requests disk=1Gi is no quantity: write it as in --requests cpu=10m/, 2, disk);
    const bare = ['-f', '-', ...OPTIONS, '--requests', 'foo'];
    await assertFails('', /^--requests foo is no quantity: write it as in --requests cpu=10m/, 2, bare);
    const above = ['-f', '-', ...OPTIONS, '--requests', 'memory=128Mi'];
    await assertFails('', /^--requests memory is 128Mi and above the limit of 96Mi: no pod could/, 2, above);
    const little = ['-f', '-', ...OPTIONS, '--requests', 'memory=1Ki', '--limits', 'memory=1Ki'];
    await assertFails('', /^--limits memory is 1Ki: 32Mi is the least/, 2, little);
    const floor = ['-f', '-', ...OPTIONS, '--reuse-floor', 'never'];
    await assertFails('', /^--reuse-floor must be a duration/, 2, floor);
    const listen = ['-f', '-', ...OPTIONS, '--status-listen', ':1'];
    await assertFails('', /^--status-listen must be an IP address and a port/, 2, listen);
  });
});

test('as a program: the manifest on stdout, the rest on stderr', async () => {
  const input = stringify(labelled());
  const { code, stdout, stderr } = await mintmark(['inject', '-f', '-', ...OPTIONS], { input });
  assert.deepEqual([code, stderr], [0, 'Pod web: injected\n']);
  assert.equal(parse(stdout)[0].spec.initContainers[0].name, 'mintmark');
  const refused = await mintmark(['inject', '-f', '-', ...OPTIONS], {
    input: stringify(labelled({ 'aws-role': 'x' })),
  });
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.match(refused.stderr, /^mintmark: stdin: Pod web: annotation mintmark\.io\/aws-role is not known/);
  const completion = await mintmark(['completion', 'bash']);
  assert.match(completion.stdout, /inject\) words="--file --image --authority-url /);
});
