/** The commands against a running issuer: what they print, and the exit code that scripts read. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it, type TestContext } from 'node:test';
import { isMissing } from '../stores/requires.ts';
import { ask, decode } from './ask.ts';
import {
  AUDIENCE,
  createPlace,
  mintmark,
  OTHER_UID,
  OWN_UID,
  type Place,
  ruleFor,
  type Server,
  start,
  writeConfig,
} from './start.ts';
import { scopeOf } from './suite.ts';

const COMMANDS = 'serve check token keys jwks explain ca secret inject health version completion'.split(' ');

describe('the commands', () => {
  const scope = scopeOf();
  let place: Place;
  let server: Server;

  before(async () => {
    place = await createPlace(scope);
    writeConfig(place, {
      issuer: `https://localhost:${place.port}`,
      public: { listen: `127.0.0.1:${place.port}`, tls: 'bootstrap' },
      rules: [ruleFor({ name: 'web', maxTtl: '1h', principalTags: { team: 'payments' } })],
    });
    server = await start(scope, place);
  });

  const run = (...args: string[]) => mintmark(args, { env: { MINTMARK_SOCKET: place.socket } });

  it('help names every command, and each has help of its own', async () => {
    const { code, stdout } = await run('--help');
    assert.equal(code, 0);
    const helps = await Promise.all(COMMANDS.map((command) => run(command, '--help')));
    for (const [index, command] of COMMANDS.entries()) {
      assert.match(stdout, new RegExp(`^  ${command} +\\w`, 'm'));
      assert.equal(helps[index]?.code, 0);
      assert.match(helps[index]?.stdout ?? '', new RegExp(`^mintmark ${command} `, 'm'));
      assert.equal(helps[index]?.stderr, '');
    }
  });

  it('a wrong command line is exit code 2, with the way to the help', async () => {
    const wrong = [
      ['tokens'],
      ['token', '--bogus'],
      ['token', 'word'],
      ['token', '--aud', AUDIENCE, '--ttl', '1h'],
      ['explain'],
      ['explain', '--aud', AUDIENCE, '--pid', '-1'],
      ['token', '--aud'],
      ['help', 'nope'],
      ['explain', '--aud', AUDIENCE, '--pid', 'x'],
      ['keys', 'bogus'],
      ['keys', 'revoke'],
      ['keys', 'list', 'word'],
      ['keys', 'rotate', 'RS256'],
      ['keys', 'import', '/nowhere', '/nowhere'],
      ['completion', 'bash', 'word'],
      ['--version', 'word'],
      ['--help', 'keys', 'word'],
      ['completion', 'tcsh'],
      ['serve', '--config', place.config, '--socket', '/x'],
    ];
    for (const { code, stdout, stderr } of await Promise.all(wrong.map((args) => run(...args)))) {
      assert.equal(code, 2, stderr);
      assert.equal(stdout, '');
      assert.match(stderr, /^mintmark: /);
      assert.doesNotMatch(stderr, /\n {4}at |ambiguous.*\n.*\n/);
    }
    assert.match((await run('tokens')).stderr, /did you mean token\?/);
    assert.match((await run('keys', 'bogus')).stderr, /no "bogus": it is list, rotate, revoke or import/);
  });

  it('version', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    assert.deepEqual(JSON.parse((await run('version', '--json')).stdout), { version, node: process.version });
    assert.equal((await run('--version')).stdout, `mintmark ${version} (Node ${process.version})\n`);
  });

  it('token prints nothing but the token', async () => {
    const { code, stdout, stderr } = await run('token', '--aud', AUDIENCE);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^[\w-]+\.[\w-]+\.[\w-]+\n$/);
    assert.equal(decode(stdout).claims.aud, AUDIENCE);
  });

  it('token with --ttl, --principal-tags and --json', async () => {
    const { stdout } = await run('token', '--aud', AUDIENCE, '--ttl', '900', '--principal-tags', '--json');
    const { token, header, claims } = JSON.parse(stdout);
    assert.deepEqual({ header, claims }, decode(token));
    assert.equal(claims.exp - claims.iat, 900);
    assert.deepEqual(claims['https://aws.amazon.com/tags'].principal_tags, { team: ['payments'] });
  });

  it('token --decode shows it as people read it, and not the token', async () => {
    const { stdout } = await run('token', '--aud', AUDIENCE, '--decode');
    assert.match(stdout, /^sub +acme:web:web-1$/m);
    assert.match(stdout, /^exp +20[0-9T:-]+Z \(in (?:10 min|9 min 59 s)\)$/m);
    assert.doesNotMatch(stdout, /eyJ/);
  });

  it('a refused token is exit code 1 with the reason', async () => {
    const { code, stdout, stderr } = await run('token', '--aud', 'https://other.example.com');
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /invalid_target: no rule allows https:\/\/other\.example\.com to this caller\n/);
    assert.match(stderr, /^nearest {2}"web": unix:uid:\d+ holds; it does not allow this audience$/m);
  });

  it('explain tells the caller about itself', async () => {
    const allowed = await run('explain', '--aud', AUDIENCE);
    assert.equal(allowed.code, 0, allowed.stderr);
    assert.match(allowed.stdout, new RegExp(`^caller +uid ${OWN_UID}`, 'm'));
    assert.match(allowed.stdout, /^allowed +https:\/\/example\.com, by rule "web"$/m);
    const refused = await run('explain', '--aud', 'https://other.example.com', '--json');
    assert.equal(refused.code, 1);
    const { allowed: isAllowed, code, nearest } = JSON.parse(refused.stdout);
    assert.deepEqual([isAllowed, code, nearest[0].rule], [false, 'invalid_target', 'web']);
  });

  it('explain tells of a process of another user', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'starting a process of another user takes root')) return;
    const pid = startSleeper(t, OTHER_UID);
    const { code, stdout } = await run('explain', '--aud', AUDIENCE, '--pid', String(pid));
    assert.equal(code, 1);
    assert.match(stdout, new RegExp(`^caller +pid ${pid}, uid ${OTHER_UID}, /\\S+/sleep$`, 'm'));
    assert.match(stdout, new RegExp(`^nearest +"web": unix:uid:0 does not \\(${OTHER_UID}\\)$`, 'm'));
  });

  it('explain of a process that is not there says so', async () => {
    const { code, stderr } = await run('explain', '--aud', AUDIENCE, '--pid', '4194305');
    assert.equal(code, 1);
    assert.match(stderr, /not_found/);
  });

  it('jwks prints what the public listener serves, and writes it for a web server', async () => {
    const ca = (await run('ca')).stdout;
    const origin = `https://localhost:${place.port}`;
    const served = await ask(origin, '/.well-known/jwks', { ca });
    assert.deepEqual(JSON.parse((await run('jwks')).stdout), served.json());
    const metadata = (await ask(origin, '/.well-known/openid-configuration', { ca })).json();
    assert.deepEqual(JSON.parse((await run('jwks', '--metadata')).stdout), metadata);
    assert.deepEqual(JSON.parse((await run('jwks', '--json')).stdout), { metadata, jwks: served.json() });
    const out = join(place.directory, 'out');
    const written = await run('jwks', '--out', out);
    assert.deepEqual([written.code, written.stdout], [0, '']);
    assert.equal(readFileSync(join(out, '.well-known/jwks.json'), 'utf8'), served.text);
    assert.deepEqual(
      JSON.parse(readFileSync(join(out, '.well-known/openid-configuration'), 'utf8')),
      metadata,
    );
  });

  it('jwks --out where no directory can be made says so', async () => {
    const { code, stderr } = await run('jwks', '--out', '/proc/mintmark');
    assert.deepEqual([code, stderr.split(':', 2)], [1, ['mintmark', ' ENOENT']]);
  });

  it('output that nobody reads is no news', async () => {
    for (const args of [['version'], ['token', '--aud', AUDIENCE]]) {
      const env = { MINTMARK_SOCKET: place.socket };
      const { code, stderr } = await mintmark(args, { env, isUnread: true });
      assert.deepEqual([code, stderr], [1, '']);
    }
  });

  it('check takes regular files only: a pipe may have nobody who writes', async () => {
    const fifo = join(place.directory, 'fifo');
    execFileSync('mkfifo', [fifo]);
    for (const path of [fifo, '/dev/stdin', '/dev/zero', place.directory])
      assert.deepEqual(await run('check', '--config', path), {
        code: 2,
        stdout: '',
        stderr: `mintmark: ${path}: is no regular file\n`,
      });
  });

  it('ca prints the CA that a verifier trusts the listener by, and without it nobody does', async () => {
    const { code, stdout: ca } = await run('ca');
    assert.equal(code, 0);
    assert.match(ca, /^-----BEGIN CERTIFICATE-----\n[\s\S]+-----END CERTIFICATE-----\n$/);
    const origin = `https://localhost:${place.port}`;
    const path = '/.well-known/openid-configuration';
    assert.equal((await ask(origin, path, { ca })).json().issuer, origin);
    await assert.rejects(ask(origin, path), { code: /^(?:UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_)/ });
  });

  it('health: ready, with the same answer for people and for programs', async () => {
    assert.deepEqual(await run('health'), { code: 0, stdout: 'ok\n', stderr: '' });
    assert.deepEqual(await run('health', '--json'), { code: 0, stdout: '{"status":"ok"}\n', stderr: '' });
  });

  it('nobody answers: exit code 3 and where to look', async () => {
    const env = {
      MINTMARK_SOCKET: join(place.directory, 'run', 'none.sock'),
      MINTMARK_ADMIN: '/nowhere/a.sock',
    };
    const asking = [
      ['token', '--aud', AUDIENCE],
      ['explain', '--aud', AUDIENCE],
      ['health'],
      ['keys'],
      ['jwks'],
      ['ca'],
    ];
    for (const { code, stdout, stderr } of await Promise.all(asking.map((args) => mintmark(args, { env })))) {
      assert.deepEqual([code, stdout], [3, '']);
      assert.match(stderr, /no issuer answers at \/\S+ \(ENOENT\): is `mintmark serve` running\?/);
    }
  });

  it('check prints the effective configuration, and tells every mistake at once', async () => {
    const good = await run('check', '--config', place.config, '--json');
    assert.equal(good.code, 0, good.stderr);
    const effective = JSON.parse(good.stdout);
    assert.deepEqual([effective.rules[0].ttl, effective.stopWithin], ['10m', '10s']);
    const bad = join(place.directory, 'bad.yaml');
    writeFileSync(bad, BAD_CONFIG);
    for (const command of ['check', 'serve']) {
      const { code, stdout, stderr } = await run(command, '--config', bad);
      assert.deepEqual([code, stdout], [2, '']);
      for (const mistake of BAD_CONFIG_MISTAKES) assert.match(stderr, mistake);
    }
  });

  it('check finds what only the rules as a whole tell', async () => {
    const bad = join(place.directory, 'bad-rules.yaml');
    writeFileSync(bad, BAD_RULES);
    const { code, stderr } = await run('check', '--config', bad);
    assert.equal(code, 2);
    assert.equal((await run('serve', '--config', bad)).stderr, stderr);
    for (const mistake of [
      /rules\[0\]\.match\[0\].*no attestor proves unix:color/,
      /rules\[1\]\.subject/,
      /public\.tls\.certificate: .*ENOENT/,
      /public\.tls\.key: .*ENOENT/,
    ])
      assert.match(stderr, mistake);
    writeFileSync(
      bad,
      `${BAD_RULES}tokens: [{ path: /t, audience: x, owner: no-such-user }]\nsocket: { group: no-such-group }\n`,
    );
    const more = await run('check', '--config', bad);
    for (const mistake of [
      /rules\[0\]/,
      /rules\[1\]/,
      /tokens\[0\]\.owner: there is no user/,
      /socket\.group: there is no group/,
    ])
      assert.match(more.stderr, mistake);
  });

  it('serve without a file listens on loopback only', async () => {
    const { code, stderr } = await run('serve', '--listen', '0.0.0.0:1');
    assert.equal(code, 2);
    assert.match(stderr, /--listen 0\.0\.0\.0:1: without a file it is 127\.0\.0\.1:PORT/);
  });

  it('bash loads its completion script and completes commands, words and options', async (t) => {
    if (isMissing(t, has('bash'), 'there is no bash')) return;
    const script = join(place.directory, 'completion.bash');
    writeFileSync(script, (await run('completion', 'bash')).stdout);
    const complete = (...words: string[]) =>
      execFileSync(
        'bash',
        [
          ...['--norc', '-ec'],
          `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mintmark; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p mintmark`,
          ...[script, ...words],
        ],
        { encoding: 'utf8' },
      ).split('\n');
    assert.deepEqual(complete('mintmark', 'ke').slice(0, 1), ['keys']);
    assert.deepEqual(complete('mintmark', 'keys', 'r').slice(0, 2), ['rotate', 'revoke']);
    assert.ok(complete('mintmark', 'token', '--').includes('--principal-tags'));
    assert.ok(complete('mintmark', '').includes('complete -o default -F _mintmark mintmark'));
  });

  it('serve answered all of this, and stops with exit code 0', async () => {
    assert.equal(await server.stop(), 0);
    assert.doesNotMatch(server.output(), /"level":"error"/);
  });
});

const BAD_CONFIG = `
issuer: https://id.example.com/
sockett: /run/x.sock
public: { listen: ":8443" }
keys: { store: memory, rotateEvery: 7, publishAtLeast: 8d }
rules:
  - { name: one, match: [], subject: "a:{host}", audience: [x] }
  - { name: one, match: ["unix:uid:1"], subject: "a:{hosst}", ttl: 1h, maxTtl: 10m }
tokens:
  - { path: token, audience: x, owner: web, mode: 0400 }
`;

const BAD_CONFIG_MISTAKES = [
  /issuer.*must not end in a slash/,
  /sockett.*did you mean.*socket/,
  /public\.listen.*127\.0\.0\.1:8443/,
  /keys\.rotateEvery.*7 has no unit: write 7s/,
  /rules\[0\]\.match/,
  /rules\[0\]\.audience.*did you mean.*audiences/,
  /rules\[1\]\.name.*is the name of rules\[0\] too/,
  /rules\[1\]\.maxTtl.*is shorter than ttl/,
  /rules\[1\]\.subject.*nothing is known as \{hosst\}/,
  /tokens\[0\]\.path.*absolute/,
  /tokens\[0\]\.mode.*must be quoted/,
];

const BAD_RULES = `
issuer: https://id.example.com
public: { listen: 127.0.0.1:1, tls: { certificate: /nowhere/tls.crt, key: /nowhere/tls.key } }
keys: { store: memory }
rules:
  - { name: one, match: ["unix:color:red"], subject: "a:{host}", audiences: [x] }
  - { name: two, match: ["unix:uid:1"], subject: "a:{unix.color}", audiences: [x] }
`;

function has(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function startSleeper(t: TestContext, uid: number): number {
  const sleeper = spawn('sleep', ['60'], { uid, gid: uid, stdio: 'ignore' });
  t.after(() => sleeper.kill());
  return sleeper.pid ?? 0;
}
