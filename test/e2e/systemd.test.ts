/** The units of deploy/systemd under a real systemd: confined, attesting, restarted, reloaded. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { createLocalJWKSet, type JWTVerifyResult, jwtVerify } from 'jose';
import { createDirectory, hasCommand, ROOT } from '../deploy/program.ts';
import { isMissing } from '../stores/requires.ts';
import { install } from './installation.ts';
import { bootMachine, type Machine } from './machine.ts';

const UNITS = join(ROOT, 'deploy/systemd');
const ISSUER = 'https://id.example.com';
const CONFIG = `issuer: ${ISSUER}
host: web-1
public: { listen: 127.0.0.1:8443 }
keys: { store: { file: /var/lib/mintmark }, encryption: { credential: mintmark-kek } }
`;
const rule = (match: string, more = '') => `rules:
  - name: web may use AWS
    match: [unix:user:web, ${match}]
    subject: acme:web:{host}
    audiences: [sts.amazonaws.com]
${more}`;
const BY_UNIT = rule('systemd:unit:web.service');
const ASK = `curl --max-time 20 --silent --show-error --unix-socket /run/mintmark/api.sock http://localhost/v1/tokens/oidc --data '{"aud":"sts.amazonaws.com"}'`;

const canBoot =
  process.getuid?.() === 0 &&
  existsSync('/lib/systemd/systemd') &&
  (await hasCommand('nsenter')) &&
  (await hasCommand('curl'));

test('a real systemd runs the units', { timeout: 120_000 }, async (t) => {
  if (isMissing(t, canBoot, 'this needs root, systemd, nsenter (util-linux) and curl')) return;
  const directory = createDirectory(t);
  layDown(join(directory, 'files'));
  const machine = await bootMachine(directory);
  t.after(() => machine.stop());
  const systemctl = (...args: string[]) => machine.run('systemctl', ...args);
  const journal = async () => (await machine.run('journalctl', '--unit=mintmark', '--output=cat')).stdout;
  const restart = async (config: string) => {
    machine.write('/etc/mintmark/mintmark.yaml', config);
    await systemctl('daemon-reload');
    const { code } = await systemctl('restart', 'mintmark.service');
    assert.equal(code, 0, await journal());
  };

  await t.test('it is ready, confined, and its socket is for its group', async () => {
    const { stdout } = await systemctl('show', 'mintmark', '--property=ActiveState,NRestarts,MainPID');
    const shown = Object.fromEntries(stdout.split('\n').map((line) => line.split('=')));
    assert.deepEqual([shown.ActiveState, shown.NRestarts], ['active', '0'], await journal());
    const status = machine.read(`/proc/${shown.MainPID}/status`);
    for (const line of [/^CapEff:\t0+$/m, /^CapBnd:\t0+$/m, /^NoNewPrivs:\t1$/m, /^Seccomp:\t2$/m])
      assert.match(status, line);
    const places = ['/run/mintmark', '/run/mintmark/api.sock', '/var/lib/mintmark'];
    const { stdout: modes } = await machine.run('stat', '--format=%a %U %G', ...places);
    assert.deepEqual(modes.trim().split('\n'), [
      '755 mintmark mintmark',
      '660 root workloads',
      '700 mintmark mintmark',
    ]);
  });

  let keyId: string | undefined;
  await t.test('a process of the unit gets a token that the published keys verify', async () => {
    const { payload, protectedHeader } = await verify(machine, await askAsUnit(machine));
    assert.equal(payload.sub, 'acme:web:web-1');
    keyId = protectedHeader.kid;
  });

  await t.test('the same user outside of the unit is refused, and told what it lacks', async () => {
    const answer = JSON.parse((await askAs(machine, 'web')).stdout);
    assert.equal(answer.error, 'access_denied');
    assert.equal(answer.nearest[0].fails[0].selector, 'systemd:unit:web.service');
  });

  await t.test('a user outside of the group cannot open the socket', async () => {
    const { code, stdout } = await askAs(machine, 'stranger');
    assert.deepEqual([code, stdout], [7, '']); // curl: could not connect
  });

  await t.test('a reload takes new rules', async () => {
    machine.write('/etc/mintmark/mintmark.yaml', `${CONFIG}${BY_UNIT.replace('acme:web', 'acme:reloaded')}`);
    assert.equal((await systemctl('reload', 'mintmark.service')).code, 0);
    await until(async () => (await journal()).includes('read again'));
    const { payload } = await verify(machine, await askAsUnit(machine));
    assert.equal(payload.sub, 'acme:reloaded:web-1');
  });

  await t.test('a restart refuses no caller, and the keys stay', async () => {
    let isOver = false;
    const answers: string[] = [];
    const asking = (async () => {
      while (!isOver) answers.push(await askAsUnit(machine));
    })();
    await restart(`${CONFIG}${BY_UNIT}`);
    isOver = true;
    await asking;
    for (const answer of answers) assert.equal((await verify(machine, answer)).protectedHeader.kid, keyId);
    t.diagnostic(`${answers.length} callers during the restart`);
  });

  await t.test('it stops cleanly, and the next caller starts it again', async () => {
    await systemctl('stop', 'mintmark.service');
    const { stdout } = await systemctl(
      'show',
      'mintmark.service',
      '--property=ActiveState,Result,ExecMainStatus',
    );
    assert.deepEqual(stdout.trim().split('\n').sort(), [
      'ActiveState=inactive',
      'ExecMainStatus=0',
      'Result=success',
    ]);
    await verify(machine, await askAsUnit(machine));
  });

  await t.test('mintmark-executables.conf lets it look at the executables of others', async () => {
    const sha256 = createHash('sha256').update(readFileSync('/usr/bin/curl')).digest('hex');
    const config = `${CONFIG}${rule(`unix:path:/usr/bin/curl, unix:sha256:${sha256}`)}`;
    await restart(config);
    assert.deepEqual(JSON.parse(await askAsUnit(machine)).unproven, {
      'unix:path': 'exe_unreadable',
      'unix:sha256': 'exe_unreadable',
    });
    addDropIn(machine, 'mintmark-executables.conf');
    await restart(config);
    await verify(machine, await askAsUnit(machine));
  });

  await t.test('mintmark-token-files.conf lets it give token files to their owners', async () => {
    addDropIn(machine, 'mintmark-token-files.conf');
    const path = '/run/mintmark/tokens/web';
    const files = `tokens:
  - { path: ${path}, audience: sts.amazonaws.com, owner: web, group: web, mode: "0400" }
`;
    await restart(`${CONFIG}${rule('unix:group:web', files)}`);
    const { stdout } = await machine.run('stat', '--format=%a %U %G', path);
    assert.equal(stdout.trim(), '400 web web', await journal());
    await verify(machine, machine.read(path));
  });
});

/** What README.md of deploy/systemd has an operator install, and a workload. */
function layDown(files: string): void {
  const put = (path: string, text: string | Buffer, mode = 0o644) => {
    mkdirSync(join(files, path, '..'), { recursive: true });
    writeFileSync(join(files, path), text, { mode });
  };
  install(join(files, 'usr/local/lib/node_modules/mintmark'));
  mkdirSync(join(files, 'usr/local/bin'));
  copyFileSync(process.execPath, join(files, 'usr/local/bin/node'));
  symlinkSync('../lib/node_modules/mintmark/dist/main.js', join(files, 'usr/local/bin/mintmark'));
  mkdirSync(join(files, 'etc/systemd/system/mintmark.service.d'), { recursive: true });
  for (const unit of ['mintmark.service', 'mintmark.socket'])
    cpSync(join(UNITS, unit), join(files, 'etc/systemd/system', unit));
  put('etc/sysusers.d/mintmark.conf', readFileSync(join(UNITS, 'mintmark.sysusers.conf')));
  put('etc/sysusers.d/zz-test.conf', 'u web -\nm web workloads\nu stranger -\n');
  put(
    'etc/systemd/system/web.service',
    `[Service]\nType=oneshot\nUser=web\nRuntimeDirectory=web\nRuntimeDirectoryPreserve=yes\nExecStart=${ASK} --output /run/web/answer\n`,
  );
  put('etc/mintmark/kek', randomBytes(32), 0o400);
  put('etc/mintmark/mintmark.yaml', `${CONFIG}${BY_UNIT}`);
}

function addDropIn(machine: Machine, name: string): void {
  machine.write(`/etc/systemd/system/mintmark.service.d/${name}`, readFileSync(join(UNITS, name), 'utf8'));
}

async function askAsUnit(machine: Machine): Promise<string> {
  const { code, stderr } = await machine.run('systemctl', 'start', 'web.service');
  assert.equal(code, 0, stderr);
  return machine.read('/run/web/answer');
}

const askAs = (machine: Machine, user: string) =>
  machine.run('setpriv', '--reuid', user, '--regid', user, '--init-groups', 'sh', '-c', ASK);

async function verify(machine: Machine, token: string): Promise<JWTVerifyResult> {
  const { stdout } = await machine.run('curl', '--silent', 'http://127.0.0.1:8443/.well-known/jwks');
  return jwtVerify(token, createLocalJWKSet(JSON.parse(stdout)), {
    issuer: ISSUER,
    audience: 'sts.amazonaws.com',
  }).catch((error) => assert.fail(`${error}: ${token}`));
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 50));
}
