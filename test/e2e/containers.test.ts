/** Mintmark and its callers in containers, with the socket in a volume that they share, told apart by Docker's word. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { isRoot } from '../attack/program.ts';
import { createDirectory, hasCommand, ROOT, run } from '../deploy/program.ts';
import { isMissing } from '../stores/requires.ts';
import { askFrom, createVolume, docker, hasDocker, NO_DOCKER, SLEEP, startContainer } from './docker.ts';
import { buildBase, buildImage, buildProgram } from './images.ts';

const BASE = 'localhost/mintmark-e2e-base';
const IMAGE = 'localhost/mintmark-e2e-containers';
const PROXY = 'localhost/mintmark-e2e-haproxy';
const DEPLOY = join(ROOT, 'deploy');
const PROJECT = 'shop'; // as deploy/compose.docker.mintmark.yaml has it

const OVERRIDE = `services:
  mintmark: { image: ${IMAGE} }
  web: { image: ${IMAGE} }
`;

const HAPROXY = 'apt-get install haproxy docker-compose';
const hasHaproxy = (await hasCommand('haproxy')) && (await hasCommand('docker-compose'));

test('containers and the issuer among them', { timeout: 300_000 }, async (t) => {
  if (isMissing(t, hasDocker && isRoot, `${NO_DOCKER}; and root`)) return;
  t.after(() => docker('image', 'rm', '--force', IMAGE, BASE));
  await buildBase(createDirectory(t), BASE);
  await buildImage(createDirectory(t), IMAGE, BASE);

  for (const namespace of ['host', 'private'])
    await t.test(`the control groups of the machine, or its own (${namespace})`, (t) => attest(t, namespace));

  await t.test('without the processes of the machine there is nothing to prove', async (t) => {
    const { socket } = await startIssuer(t);
    const { status, body } = await askFrom(await startWorkload(t, socket));
    assert.equal(status, 403);
    assert.equal(JSON.parse(body).unproven['docker:label'], 'no_process');
  });

  await t.test('deploy/compose.docker.yaml', async (t) => {
    if (isMissing(t, hasHaproxy, HAPROXY)) return;
    await compose(t);
  });
});

const CONFIG = `issuer: https://id.example.com
host: web-1
socket: { mode: "0666" }
public: { listen: 0.0.0.0:8443 }
keys: { store: memory }
attestors: { unix: {}, docker: { labels: [com.example.team] } }
rules:
  - name: payments
    match: [docker:label:com.example.team:payments]
    subject: acme:{docker.container-name}
    audiences: [sts.amazonaws.com]
    claims: { container: "{docker.container-id}" }
`;

const PAYMENTS = '--label=com.example.team=payments';
const startWorkload = (t: TestContext, socket: string, ...options: string[]) =>
  startContainer(t, BASE, socket, SLEEP, '--network=none', ...options);

async function startIssuer(t: TestContext, ...options: string[]) {
  const socket = createVolume(t);
  const config = join(createDirectory(t), 'mintmark.yaml');
  writeFileSync(config, CONFIG);
  const id = await docker(
    ...['run', '--detach', '--read-only', '--cap-drop=ALL', '--security-opt=no-new-privileges'],
    ...[`--volume=${config}:/etc/mintmark/mintmark.yaml:ro`, `--volume=${socket}:/run/mintmark`],
    ...['--volume=/var/run/docker.sock:/var/run/docker.sock', `--group-add=${await groupOfDocker()}`],
    ...['--tmpfs=/var/lib/mintmark:uid=65532,mode=700', ...options, IMAGE],
  );
  await until(async () => (await docker('logs', id)).includes('"msg":"ready"'));
  return { id, socket };
}

const groupOfDocker = async () => (await run('stat', ['-c', '%g', '/var/run/docker.sock'])).stdout.trim();

async function attest(t: TestContext, namespace: string): Promise<void> {
  const { id, socket } = await startIssuer(t, '--pid=host', `--cgroupns=${namespace}`);
  const workload = await startWorkload(t, socket, PAYMENTS, '--name=mintmark-e2e-pay', '--user=10001');
  const { status, body } = await askFrom(workload);
  assert.equal(status, 200, body);
  const address = await docker('inspect', '--format={{.NetworkSettings.IPAddress}}', id);
  const jwks = createRemoteJWKSet(new URL(`http://${address}:8443/.well-known/jwks`));
  const { payload } = await jwtVerify(body, jwks, { issuer: 'https://id.example.com' });
  assert.deepEqual([payload.sub, payload.container], ['acme:mintmark-e2e-pay', workload]);
  const other = await askFrom(await startWorkload(t, socket));
  assert.equal(other.status, 403);
  assert.equal(JSON.parse(other.body).unproven['docker:label'], 'no_label');
}

/** As it is delivered, with images that were made here. */
async function compose(t: TestContext): Promise<void> {
  const { stdout: haproxy } = await run('which', ['haproxy']);
  const call = async (...args: string[]) => {
    const files = ['compose.yaml', 'compose.docker.yaml', override].flatMap((file) => ['--file', file]);
    const env = ['env', `HAPROXY_IMAGE=${PROXY}`, 'docker-compose'] as const;
    const [command, ...rest] = [...env, '--project-name', PROJECT, '--project-directory', DEPLOY];
    const { code, stdout, stderr } = await run(command, [...rest, ...files, ...args], DEPLOY);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  };
  t.after(() => call('down', '--volumes', '--timeout=0'));
  t.after(() => docker('image', 'rm', '--force', PROXY));
  const override = join(createDirectory(t), 'override.yaml');
  writeFileSync(override, OVERRIDE);
  await buildProgram(createDirectory(t), PROXY, '/usr/bin/haproxy', haproxy.trim());
  await call('up', '--detach', '--no-build');
  const web = await call('ps', '--quiet', 'web');
  await docker('wait', web);
  assert.match(await docker('logs', web), /^sub +acme:shop:web$/m);

  const volume = await docker('volume', 'inspect', '--format={{.Mountpoint}}', `${PROJECT}_docker-api`);
  await proxied(join(volume, 'docker.sock'), web);
}

/** Two questions are let through to Docker, and nothing else. */
async function proxied(socketPath: string, id: string): Promise<void> {
  const ask = (method: string, path: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      request({ socketPath, method, path, headers: { Host: 'docker' } }, (response) => {
        resolve(response.resume().statusCode);
      })
        .on('error', reject)
        .end();
    });
  const image = await docker('inspect', '--format={{.Image}}', id);
  assert.equal(await ask('GET', `/containers/${id}/json`), 200);
  assert.equal(await ask('GET', `/images/${image}/json`), 200);
  for (const [method, path] of [
    ['GET', '/containers/json'],
    ['GET', '/version'],
    ['GET', `/containers/${id}/archive?path=/etc`],
    ['GET', `/containers/${id}/json/../logs?stdout=1`],
    ['GET', `/containers/${id}/logs?x=/containers/${id}/json`],
    ['GET', `/v1.41/containers/${id}/json`],
    ['HEAD', `/containers/${id}/json`],
    ['POST', `/containers/${id}/json`],
    ['POST', `/containers/${id}/kill`],
    ['POST', '/containers/create'],
    ['DELETE', `/images/${image}`],
  ] as const)
    assert.equal(await ask(method, path), 403, `${method} ${path}`);
}

async function until(isDone: () => Promise<boolean>): Promise<void> {
  for (const deadline = Date.now() + 30_000; !(await isDone()); await sleep(100))
    assert.ok(Date.now() < deadline, 'it takes more than 30 s');
}
