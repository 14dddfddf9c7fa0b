/** deploy/Dockerfile, built and run beside workloads in containers of their own. */
import assert from 'node:assert/strict';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { GenericContainer, type StartedTestContainer, Wait } from 'testcontainers';
import { createDirectory } from '../deploy/program.ts';
import { isMissing } from '../stores/requires.ts';
import { ASK, createVolume, docker, hasDocker, NO_DOCKER } from './docker.ts';
import { buildBase, buildImage } from './images.ts';

const BASE = 'localhost/mintmark-e2e-base';
const IMAGE = 'localhost/mintmark-e2e';
const ISSUER = 'https://id.example.com';
const CONFIG = `issuer: ${ISSUER}
host: web-1
socket: { group: "10001" }
public: { listen: 0.0.0.0:8443 }
status: { listen: 0.0.0.0:9464 }
keys: { store: { file: /var/lib/mintmark } }
rules:
  - name: web may use AWS
    match: [unix:uid:10001]
    subject: acme:web:{host}
    audiences: [sts.amazonaws.com]
`;

/** With the two settings of deploy/compose.yaml that the library has no method for. */
class IssuerContainer extends GenericContainer {
  constructor() {
    super(IMAGE);
    this.hostConfig.ReadonlyRootfs = true;
    this.hostConfig.GroupAdd = ['10001'];
  }
}

test('Mintmark in a container', { timeout: 300_000 }, async (t) => {
  if (isMissing(t, hasDocker, NO_DOCKER)) return;
  t.after(() => docker('image', 'rm', '--force', IMAGE, BASE));
  await buildBase(createDirectory(t), BASE);
  await buildImage(createDirectory(t), IMAGE, BASE);
  const size = Number(await docker('image', 'inspect', '--format={{.Size}}', IMAGE));
  const baseSize = Number(await docker('image', 'inspect', '--format={{.Size}}', BASE));
  t.diagnostic(`image ${mebibytes(size)} MiB, of which the base with node is ${mebibytes(baseSize)} MiB`);

  const socket = createVolume(t);
  const issuer = await startIssuer(t, socket);

  t.diagnostic(`ready ${await startMillis(issuer.getId())} ms after its start`);

  await t.test('a workload of the rule gets a token that the published keys verify', async () => {
    const { status, body } = await askAs('10001:10001', socket);
    assert.equal(status, 200, body);
    const jwks = new URL(`http://${issuer.getHost()}:${issuer.getMappedPort(8443)}/.well-known/jwks`);
    const { payload } = await jwtVerify(body, createRemoteJWKSet(jwks), {
      issuer: ISSUER,
      audience: 'sts.amazonaws.com',
    });
    assert.equal(payload.sub, 'acme:web:web-1');
  });

  await t.test('another user is refused, and told what it lacks', async () => {
    const { status, body } = await askAs('10002:10001', socket);
    assert.equal(status, 403);
    assert.deepEqual(JSON.parse(body).nearest[0].fails, [{ selector: 'unix:uid:10001', instead: '10002' }]);
  });

  await t.test('a user outside of the group cannot open the socket', async () => {
    assert.deepEqual(await askAs('10002:10002', socket), { status: 'EACCES' });
  });

  await t.test(
    'even root among the workloads finds no admin socket, and takes the socket from nobody',
    async () => {
      const script = `const names = fs.readdirSync('/run/mintmark');
      try { fs.unlinkSync('/run/mintmark/api.sock') } catch ({ code }) { console.log(JSON.stringify([...names, code])) }`;
      assert.deepEqual(await runNode('0:0', socket, script), ['api.sock', 'api.sock.lock', 'EROFS']);
    },
  );

  await t.test('its own health check finds it healthy', async () => {
    const health = () => docker('inspect', '--format={{.State.Health.Status}}', issuer.getId());
    while ((await health()) === 'starting') await sleep(500);
    assert.equal(await health(), 'healthy');
  });

  await t.test('SIGTERM ends it with 0', async () => {
    await docker('stop', issuer.getId());
    assert.equal(await docker('inspect', '--format={{.State.ExitCode}}', issuer.getId()), '0');
  });
});

async function startIssuer(t: TestContext, socket: string): Promise<StartedTestContainer> {
  const config = join(createDirectory(t), 'mintmark.yaml');
  writeFileSync(config, CONFIG);
  chmodSync(join(config, '..'), 0o755);
  const container = await new IssuerContainer()
    .withDroppedCapabilities('ALL')
    .withSecurityOpt('no-new-privileges')
    .withBindMounts([
      { source: config, target: '/etc/mintmark/mintmark.yaml', mode: 'ro' },
      { source: socket, target: '/run/mintmark', mode: 'rw' },
      { source: createVolume(t), target: '/var/lib/mintmark', mode: 'rw' },
    ])
    .withExposedPorts(8443)
    .withWaitStrategy(Wait.forLogMessage('"msg":"ready"'))
    .start();
  return container;
}

/** From the start of its process to the line "ready". */
async function startMillis(id: string): Promise<number> {
  const lines = (await docker('logs', id)).split('\n').map((line) => JSON.parse(line));
  const ready = lines.find(({ msg }) => msg === 'ready');
  return Date.parse(ready.time) - Date.parse(await docker('inspect', '--format={{.State.StartedAt}}', id));
}

const askAs = (user: string, socket: string) => runNode(user, socket, ASK);

/** Runs a script in a container that has the socket's volume, and parses what it prints. */
async function runNode(user: string, socket: string, script: string) {
  const container = await new GenericContainer(BASE)
    .withUser(user)
    .withBindMounts([{ source: socket, target: '/run/mintmark', mode: 'ro' }])
    .withEntrypoint(['node', '-e', script])
    .withWaitStrategy(Wait.forOneShotStartup())
    .start();
  return JSON.parse(await docker('logs', container.getId()));
}

const mebibytes = (bytes: number) => Math.round(bytes / 1024 / 1024);
