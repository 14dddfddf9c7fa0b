/** Callers in real containers, told apart by Docker's word. Mintmark runs on the machine itself. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { startActor } from '../attack/actor.ts';
import { CGROUPS_NEEDED, hasCgroups, makeCgroup } from '../attack/cgroups.ts';
import { isRoot } from '../attack/program.ts';
import { askToken, createDirectory, hasCommand, type Program, run, startProgram } from '../deploy/program.ts';
import { isMissing } from '../stores/requires.ts';
import { ASK, askFrom, docker, hasDocker, NO_DOCKER, SLEEP, startContainer } from './docker.ts';
import { buildBase } from './images.ts';
import { BUILT } from './installation.ts';

const AUDIENCE = 'sts.amazonaws.com';
const BASE = 'localhost/mintmark-e2e-containers';
const LABEL = 'com.example.team';

const settings = (match: readonly string[], socket = '/var/run/docker.sock') => `
issuer: https://id.example.com
host: web-1
public: { listen: 127.0.0.1:0 }
status: off
keys: { store: memory }
attestors: { unix: {}, docker: { socket: ${socket}, labels: [${LABEL}], timeoutSeconds: 20 } }
rules:
  - name: payments
    match: [${match.join(', ')}]
    subject: acme:{docker.container-name}
    audiences: [${AUDIENCE}]
    claims:
      container: "{docker.container-id}"
      image_digest: "{docker.image-digest}"
      compose: "{docker.compose-project}/{docker.compose-service}"
`;

const hasAll = hasDocker && isRoot;
const NEEDED = `${NO_DOCKER}; and root`;

/** An image of the test's own with this label in it; removed after the test. */
async function buildLabelled(t: TestContext, name: string, label: string): Promise<void> {
  const directory = createDirectory(t);
  writeFileSync(join(directory, 'Dockerfile'), `FROM ${BASE}\nLABEL ${label}\n`);
  after(() => docker('image', 'rm', '--force', name));
  await docker('build', '--quiet', `--tag=${name}`, directory);
}

// When all containers of the tests are gone.
after(async () => {
  if (hasAll) await docker('image', 'rm', '--force', BASE);
});

const imageIdOf = (image: string) => docker('image', 'inspect', '--format={{.Id}}', image);

test('callers in containers', { timeout: 300_000 }, async (t) => {
  if (isMissing(t, hasAll, NEEDED)) return;
  await buildBase(createDirectory(t), BASE);
  const image = await imageIdOf(BASE);
  const match = [`docker:label:${LABEL}:payments`, `docker:image-id:${image}`];
  const mintmark = await startProgram(t, settings(match), BUILT);
  const directory = dirname(mintmark.socket);
  const payments = ['--label', `${LABEL}=payments`];
  const start = (...options: string[]) => startContainer(t, BASE, directory, SLEEP, ...options);

  await t.test('label and image are proven, for the first process and those that join it', async () => {
    const id = await startContainer(t, BASE, directory, ASK, ...payments, '--name=mintmark-e2e-pay');
    await docker('wait', id);
    const first = JSON.parse(await docker('logs', id));
    assert.equal(first.status, 200, first.body);
    const claims = decodeJwt(first.body);
    assert.equal(claims.sub, 'acme:mintmark-e2e-pay');
    assert.equal(claims.container, id);
    assert.equal(claims.image_digest, undefined, 'an image made here has none');
    assert.equal((await askFrom(await start(...payments))).status, 200);
    assert.equal((await askFrom(await start(...payments, '--user=10001:0', '--pid=host'))).status, 200);
  });

  await t.test('another label, or none, is refused and told what is known', async () => {
    for (const [options, instead] of [
      [[], 'no_label'],
      [['--label', `${LABEL}=web`], `${LABEL}:web`],
    ] as const) {
      const id = await start(...options);
      const { status, body } = await askFrom(id);
      assert.equal(status, 403);
      const { caller, nearest } = JSON.parse(body);
      assert.deepEqual(nearest[0].fails, [{ selector: match[0], instead }]);
      assert.ok(caller.includes(`docker:container-id:${id}`));
      assert.ok(caller.includes(`docker:image-id:${image}`));
    }
  });

  await t.test('a label that only the image has is no statement about the container', async (t) => {
    const labelled = `${BASE}-labelled`;
    await buildLabelled(t, labelled, `${LABEL}=payments`);
    const { status, body } = await askFrom(await startContainer(t, labelled, directory, SLEEP));
    assert.equal(status, 403);
    const instead = Object.fromEntries(
      JSON.parse(body).nearest[0].fails.map((fail: { selector: string; instead: string }) => [
        fail.selector.split(':')[1],
        fail.instead,
      ]),
    );
    assert.deepEqual(instead, { label: 'no_label', 'image-id': await imageIdOf(labelled) });
  });

  await t.test('a process of the machine is in no container', async () => {
    const { status, text } = await askToken(mintmark.socket, AUDIENCE);
    assert.equal(status, 403);
    assert.equal(JSON.parse(text).unproven['docker:image-id'], 'no_container');
  });

  await t.test('a process of the machine that took the name of a container is not it', async (t) => {
    if (isMissing(t, hasCgroups, CGROUPS_NEEDED)) return;
    const id = await start(...payments);
    const thief = startActor(
      t,
      `
wait()
body = '{"aud":"${AUDIENCE}"}'
sock = connect(sys.argv[1])
sock.sendall(request("/v1/tokens/oidc", "POST", f"Content-Length: {len(body)}\\r\\n", body))
say(reply(sock))`,
      mintmark.socket,
    );
    makeCgroup(t, `/mintmark-e2e-${process.pid}/docker-${id}.scope`).enter(thief.pid);
    thief.go();
    assert.match(await thief.hear(), /^403 .*"docker:label":"container_elsewhere"/);
  });

  await t.test('explain says it for any process', async () => {
    const id = await start(...payments, '--name=mintmark-e2e-explained');
    const pid = await docker('inspect', '--format={{.State.Pid}}', id);
    const admin = mintmark.ready.admin?.replace(/^unix:/, '') ?? '';
    const { stdout, stderr } = await run(process.execPath, [
      BUILT,
      ...['explain', '--pid', pid, '--aud', AUDIENCE, '--admin', admin],
    ]);
    assert.equal(stderr, '');
    assert.match(stdout, /^caller .*container mintmark-e2e-explained$/m);
    assert.match(stdout, /^subject +acme:mintmark-e2e-explained$/m);
  });

  await t.test('a container that was restarted is known at once', async () => {
    const id = await start(...payments);
    for (let restarts = 0; restarts < 3; restarts += 1) {
      assert.equal((await askFrom(id)).status, 200);
      await docker('restart', '--time=0', id);
    }
  });

  await t.test('a hundred callers of one container at once are all answered', async () => {
    const script = `${SLEEP}; for (let n = 0; n < 100; n++) ${ASK}`;
    const id = await startContainer(t, BASE, directory, script, ...payments);
    const lines = async () => (await docker('logs', id)).split('\n').filter(Boolean);
    while ((await lines()).length < 100) await sleep(100);
    assert.deepEqual([...new Set((await lines()).map((line) => JSON.parse(line).status))], [200]);
  });

  await t.test('the connection of a stopped container is good for nobody', () =>
    handedOn(t, mintmark, payments),
  );
});

/** Root on the machine takes the connection of a container's process, which then ends. */
async function handedOn(t: TestContext, { socket }: Program, options: readonly string[]): Promise<void> {
  // It neither reads nor ends: what comes is for whoever has the connection too.
  const block = 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)';
  const script = `require('node:net').connect('/run/mintmark/api.sock', () => ${block})`;
  const id = await startContainer(t, BASE, dirname(socket), script, ...options);
  const pid = await docker('inspect', '--format={{.State.Pid}}', id);
  let fd: string | undefined;
  while (fd === undefined) {
    await sleep(50);
    fd = readdirSync(`/proc/${pid}/fd`).find((name) => isSocket(`/proc/${pid}/fd/${name}`));
  }
  const thief = startActor(
    t,
    `
pidfd = os.pidfd_open(int(sys.argv[1]))
sock = socket.socket(fileno=libc.syscall(438, pidfd, int(sys.argv[2]), 0))  # pidfd_getfd
body = '{"aud":"${AUDIENCE}"}'
def token():
    try: sock.sendall(request("/v1/tokens/oidc", "POST", f"Content-Length: {len(body)}\\r\\n", body))
    except OSError as error: return type(error).__name__
    return reply(sock)
say(token())
wait()
say(token())`,
    pid,
    fd,
  );
  assert.match(await thief.hear(), /^200 /, 'as long as it runs, the connection is its');
  await docker('stop', '--time=0', id);
  thief.go();
  assert.match(await thief.hear(), /^403 .*peer_changed/);
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    return false;
  }
}

test('a Docker that does not answer keeps containers waiting, and nobody else', async (t) => {
  if (isMissing(t, hasAll, NEEDED)) return;
  await buildBase(createDirectory(t), BASE);
  const rule = `  - { name: us, match: [unix:uid:0], subject: acme:root, audiences: [${AUDIENCE}] }\n`;
  const text = settings([`docker:label:${LABEL}:payments`], '/run/mintmark-e2e-none.sock') + rule;
  const mintmark = await startProgram(t, text, BUILT);
  const { status, body } = await askFrom(await startContainer(t, BASE, dirname(mintmark.socket), SLEEP));
  assert.deepEqual([status, JSON.parse(body).error], [503, 'temporarily_unavailable']);
  assert.equal((await askToken(mintmark.socket, AUDIENCE)).status, 200);
});

const composeFile = (image: string, directory: string) => `version: "2.4"
services:
  web:
    image: ${image}
    command: [node, -e, "${SLEEP}"]
    network_mode: none
    volumes: ["${directory}:/run/mintmark:ro"]
`;

test('Compose services, and the digest of an image from a registry', { timeout: 120_000 }, async (t) => {
  if (isMissing(t, hasAll, NEEDED)) return;
  const present = (await hasCommand('docker-compose')) && (await hasCommand('docker-registry'));
  if (isMissing(t, present, 'apt-get install docker-compose docker-registry')) return;
  await buildBase(createDirectory(t), BASE);
  const registry = await startRegistry(t);
  const image = `${registry}/shop/web:1.2`;
  await docker('tag', BASE, image);
  after(() => docker('image', 'rm', '--force', image));
  const digest = /sha256:[0-9a-f]{64}/.exec(await docker('push', image))?.[0];
  const match = [
    'docker:compose-project:mintmark-e2e',
    'docker:compose-service:web',
    `docker:image-digest:${digest}`,
    `"docker:image:${image}"`,
  ];
  const mintmark = await startProgram(t, settings(match), BUILT);
  const directory = dirname(mintmark.socket);
  const compose = (...args: string[]) =>
    run('docker-compose', ['--project-name=mintmark-e2e', `--file=${file}`, ...args]);
  t.after(() => compose('down', '--timeout=0'));
  const file = join(createDirectory(t), 'compose.yaml');
  writeFileSync(file, composeFile(image, directory));
  assert.equal((await compose('up', '--detach')).code, 0);
  const container = (await compose('ps', '--quiet', 'web')).stdout.trim();
  const { status, body } = await askFrom(container);
  assert.equal(status, 200, body);
  const claims = decodeJwt(body);
  assert.deepEqual([claims.image_digest, claims.compose], [digest, 'mintmark-e2e/web']);

  // Whoever starts a container without Compose can say so of its labels, but then of all of them.
  const label = '--label=com.docker.compose.service=web';
  const plain = await askFrom(await startContainer(t, image, directory, SLEEP, label));
  assert.equal(plain.status, 403);
  assert.equal(JSON.parse(plain.body).unproven['docker:compose-service'], 'no_compose');
});

/** A registry on this machine, for as long as the test; resolves to its address. */
async function startRegistry(t: TestContext): Promise<string> {
  const directory = createDirectory(t);
  const port = 20_000 + (process.pid % 10_000);
  const config = { version: 0.1, storage: { filesystem: { rootdirectory: directory } } };
  const file = join(directory, 'config.json'); // JSON is YAML
  writeFileSync(file, JSON.stringify({ ...config, http: { addr: `127.0.0.1:${port}` } }));
  const child = spawn('docker-registry', ['serve', file], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  const url = `http://127.0.0.1:${port}/v2/`;
  while (!(await fetch(url).catch(() => undefined))?.ok) {
    assert.equal(child.exitCode, null, 'the registry has ended');
    await sleep(50);
  }
  return `127.0.0.1:${port}`;
}
