/** What the log says, what it never says, and that there is no token without its audit line. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { ask, askToken, mint, TOKENS } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  defer,
  type LogLine,
  launch,
  mintmark,
  OWN_UID,
  type Place,
  ruleFor,
  type StartOptions,
  start,
  until,
  writeConfig,
} from './start.ts';

const CANARY = 'canary-7f3a';
const ELLIPTIC = 'https://ec.example.com';
const TAGGED = 'https://tagged.example.com';

describe('the log', { concurrency: true }, () => {
  it('has no token, key, header or body at any level, and one audit line for each decision', async (t) => {
    const place = await createPlace(t);
    const path = join(place.directory, 'token');
    const settings = {
      log: { level: 'trace' },
      keys: { store: { file: place.state } },
      rules: [
        ruleFor({ audiences: [AUDIENCE, TAGGED], principalTags: { team: 'payments' } }),
        ruleFor({ name: 'elliptic', audiences: [ELLIPTIC], algorithm: 'ES256' }),
      ],
      tokens: [{ path, audience: AUDIENCE, owner: OWN_UID }],
    };
    writeConfig(place, settings);
    const server = await start(t, place);
    const told: string[] = [];
    const run = async (...args: string[]) => {
      const { stderr } = await mintmark(args, { env: { MINTMARK_SOCKET: place.socket } });
      told.push(stderr);
    };

    const headers = { Authorization: `Bearer ${CANARY}`, Cookie: CANARY, 'X-Canary': CANARY };
    const fields = [{ aud: AUDIENCE }, { aud: ELLIPTIC }, { aud: TAGGED, aws_principal_tags: true }];
    for (const each of fields) assert.equal((await askToken(place.socket, each, { headers })).status, 200);
    const refusals = [
      JSON.stringify({ aud: 'https://other.example.com' }),
      JSON.stringify({ aud: AUDIENCE, [CANARY]: CANARY }),
      JSON.stringify({ aud: AUDIENCE, ttl: CANARY }),
      `{"aud": ${CANARY}`,
      CANARY,
      CANARY.repeat(10_000),
    ];
    for (const body of refusals)
      assert.notEqual((await ask(place.socket, TOKENS, { method: 'POST', body, headers })).status, 200);
    await ask(place.socket, `${TOKENS}?token=${CANARY}`, { headers });
    await ask(place.issuer, `/.well-known/jwks?token=${CANARY}`, { headers });

    const pem = join(place.directory, 'key.pem');
    execFileSync('openssl', ['genpkey', '-algorithm', 'RSA', '-out', pem], { stdio: 'ignore' });
    await run('keys', 'import', pem);
    await run('keys', 'import', pem);
    await run('keys', 'import', pem, '--algorithm', 'ES256');
    await ask(place.admin, '/v1/keys/import?algorithm=RS256', {
      method: 'POST',
      body: `-----BEGIN PRIVATE KEY-----${CANARY}`,
    });
    await run('keys', 'rotate', '--force', '--algorithm', 'ES256');
    await run('explain', '--aud', AUDIENCE);
    await run('token', '--aud', 'https://other.example.com');
    writeConfig(place, {
      ...settings,
      keys: { store: `-----BEGIN PRIVATE KEY-----${CANARY}`, encryption: { file: `-----BEGIN ${CANARY}` } },
    });
    server.signal('SIGHUP');
    await server.line(/is not taken/);
    assert.equal(await server.stop(), 0);

    for (const output of [server.output(), ...told]) {
      assert.doesNotMatch(output, /eyJ/);
      assert.doesNotMatch(output, /BEGIN|PRIVATE/);
      assert.ok(!output.includes(CANARY), output);
    }
    const decisions = server.lines().filter(({ door }) => door === 'fly' || door === 'token-files');
    const count = (message: string) => decisions.filter(({ msg }) => msg === message).length;
    assert.deepEqual([count('issued'), count('refused')], [fields.length + 1, refusals.length + 1]);
    for (const line of decisions) assertAudit(line);
  });

  it("writes an executable's path as one line, whatever is in it, and so do the commands", async (t) => {
    const place = await createPlace(t);
    writeConfig(place, {
      log: { level: 'trace' },
      rules: [ruleFor({ match: ['unix:path:/usr/bin/allowed'] })],
    });
    const server = await start(t, place);
    const hostile = join(place.directory, 'a\n{"msg":"forged"}\u001b[31m\u009b2J');
    mkdirSync(hostile);
    const curl = copyOf('curl', hostile);
    const asking = [
      '-sS',
      '--unix-socket',
      place.socket,
      `http://localhost${TOKENS}`,
      '-d',
      JSON.stringify({ aud: AUDIENCE }),
    ];
    assert.equal(JSON.parse(execFileSync(curl, asking, { encoding: 'utf8' })).error, 'access_denied');
    const sleeper = spawn(copyOf('sleep', hostile), ['60'], { stdio: 'ignore' });
    defer(t, () => sleeper.kill());
    const env = { MINTMARK_SOCKET: place.socket };
    const { code, stdout } = await mintmark(['explain', '--aud', AUDIENCE, '--pid', String(sleeper.pid)], {
      env,
    });
    assert.equal(code, 1);
    assert.match(stdout, /^caller .*forged.*\/sleep/m);
    for (const output of [server.output(), stdout]) {
      assert.match(output, /^[^\p{Cc}]*$/mu);
      assert.doesNotMatch(output.replaceAll('\n', ''), /\p{Cc}/u);
    }
    assert.deepEqual(
      server.lines().filter(({ msg }) => msg === 'forged'),
      [],
    );
    assert.equal(server.lines().filter(({ msg }) => msg === 'refused').length, 1);
  });
});

function assertAudit(line: LogLine): void {
  assert.equal(line.level, 'info');
  if (line.msg === 'refused') {
    assert.equal(typeof line.code, 'string');
    return;
  }
  for (const field of ['rule', 'sub', 'aud', 'jti', 'exp', 'kid', 'alg']) assert.ok(line[field], field);
  assert.equal(line.peer === undefined, line.door === 'token-files');
}

/** A program under another name. */
function copyOf(program: string, directory: string): string {
  const original = execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim();
  const copy = join(directory, program);
  copyFileSync(realpathSync(original), copy);
  return copy;
}

describe('an audit line that cannot be written', { concurrency: true }, () => {
  const path = ({ directory }: Place) => join(directory, 'token');

  async function startWithout(t: TestContext, place: Place, options: StartOptions) {
    writeConfig(place, { tokens: [{ path: path(place), audience: AUDIENCE, owner: OWN_UID }] });
    const server = launch(t, place, options);
    await until(
      () => existsSync(place.socket),
      () => `a socket: ${server.output()}`,
    );
    return server;
  }

  async function isWithheld(place: Place): Promise<void> {
    const refused = await askToken(place.socket, { aud: AUDIENCE });
    assert.deepEqual([refused.status, refused.json().error], [500, 'server_error']);
    assert.doesNotMatch(refused.text, /eyJ/);
    const ready = await ask(place.admin, '/readyz');
    assert.equal(ready.status, 503);
    assert.ok(ready.json<{ reasons: string[] }>().reasons.includes('the audit log cannot be written'));
    assert.match((await ask(place.admin, '/metrics')).text, /^mintmark_audit_errors_total [1-9]/m);
  }

  it('withholds the token: a full disk', async (t) => {
    const place = await createPlace(t);
    const server = await startWithout(t, place, { stdout: '/dev/full' });
    await isWithheld(place);
    assert.ok(!existsSync(path(place)));
    assert.equal(await server.stop(), 0);
  });

  it('withholds the token: nobody reads any more; and what else it logs does not end it', async (t) => {
    const place = await createPlace(t);
    const fifo = join(place.directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
    const server = await startWithout(t, place, { stdout: fifo });
    await mint(place.socket, { aud: AUDIENCE });
    closeSync(reader);
    await isWithheld(place);
    writeFileSync(place.config, 'issuer: [');
    server.signal('SIGHUP');
    await until(
      async () => (await ask(place.admin, '/metrics')).text.includes('{outcome="rejected"} 1'),
      'the reload',
    );
    await isWithheld(place);
    assert.equal(await server.stop(), 0);
  });
});
