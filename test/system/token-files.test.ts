/** Token files for programs that read one, and what Fly's init does where AWS_ROLE_ARN is set. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { ask, decode, mint } from './ask.ts';
import {
  createPlace,
  launch,
  mintmark,
  OTHER_UID,
  OWN_UID,
  type Place,
  ruleFor,
  start,
  until,
  writeConfig,
} from './start.ts';

const AWS = 'sts.amazonaws.com';
const ROLE = 'arn:aws:iam::123456789012:role/web';
/** Only root can give a file to somebody else. */
const OWNER = OWN_UID === 0 ? OTHER_UID : OWN_UID;
const RULES = [
  ruleFor({ match: [`unix:uid:${OWNER}`], audiences: [AWS], principalTags: { team: 'payments' } }),
];

const tokenFile = (place: Place, more = {}) => ({
  path: join(place.directory, 'tokens', 'aws'),
  audience: AWS,
  owner: OWNER,
  mode: '0440',
  ...more,
});

describe('token files', { concurrency: true }, () => {
  it('have their directory made where it is right below the socket’s, and nowhere else', async (t) => {
    const place = await createPlace(t);
    const run = join(place.directory, 'run');
    const paths = [
      join(run, 'tokens', 'aws'),
      join(run, 'a', 'b', 'aws'),
      join(place.directory, 'else', 'aws'),
    ];
    writeConfig(place, { rules: RULES, tokens: paths.map((path) => tokenFile(place, { path })) });
    const server = launch(t, place, { wrapper: ['sh', '-c', 'umask 77; exec "$@"', 'sh'] });
    const isTried = () =>
      existsSync(paths[0]!) && paths.slice(1).every((path) => server.output().includes(path));
    await until(isTried, server.output);
    assert.equal(statSync(join(run, 'tokens')).mode & 0o777, 0o755);
    assert.equal(statSync(paths[0]!).uid, OWNER);
    assert.deepEqual([existsSync(join(run, 'a')), existsSync(join(place.directory, 'else'))], [false, false]);
  });

  it('are there when it is ready, with owner, mode and a token that verifies', async (t) => {
    const place = await createPlace(t);
    const file = tokenFile(place, { principalTags: true });
    mkdirSync(join(place.directory, 'tokens'));
    writeConfig(place, { rules: RULES, tokens: [file] });
    const server = await start(t, place);
    const { uid, mode } = statSync(file.path);
    assert.deepEqual([uid, mode & 0o7777], [OWNER, 0o440]);
    const jwks = createRemoteJWKSet(new URL(`${place.issuer}/.well-known/jwks`));
    const { payload } = await jwtVerify(readFileSync(file.path, 'utf8'), jwks, {
      issuer: place.issuer,
      audience: AWS,
    });
    assert.equal(payload.sub, 'acme:web:web-1');
    assert.ok(payload['https://aws.amazon.com/tags']);
    assert.equal((await server.line('issued')).jti, payload.jti);
  });

  it('stay as they are where a second start with the same configuration fails', async (t) => {
    const place = await createPlace(t);
    const file = tokenFile(place);
    mkdirSync(join(place.directory, 'tokens'));
    writeConfig(place, { rules: RULES, tokens: [file] });
    await start(t, place);
    const token = readFileSync(file.path, 'utf8');
    const second = launch(t, place);
    assert.equal(await second.ended, 1);
    assert.match(second.output(), /another Mintmark serves/);
    // On sockets of its own it stops at the port.
    const [socket, admin] = [
      join(place.directory, 'run', 'b.sock'),
      join(place.directory, 'run', 'b-admin.sock'),
    ];
    writeConfig(place, { rules: RULES, tokens: [file], socket, admin: { path: admin } });
    const third = launch(t, place);
    assert.equal(await third.ended, 1);
    assert.match(third.output(), new RegExp(`127\\.0\\.0\\.1:${place.port} is taken`));
    assert.equal(readFileSync(file.path, 'utf8'), token);
  });

  it('are replaced as a whole: whoever reads one meanwhile has the old token to its end', async (t) => {
    const place = await createPlace(t);
    const file = tokenFile(place);
    mkdirSync(join(place.directory, 'tokens'));
    writeConfig(place, { rules: RULES, tokens: [file] });
    const server = await start(t, place);
    const open = openSync(file.path, 'r');
    const { jti } = decode(readFileSync(file.path, 'utf8')).claims;
    server.signal('SIGHUP');
    await until(() => decode(readFileSync(file.path, 'utf8')).claims.jti !== jti, 'another token');
    assert.equal(decode(readFileSync(open, 'utf8')).claims.jti, jti);
    closeSync(open);
    assert.deepEqual(readdirSync(join(place.directory, 'tokens')), ['aws']);
  });

  it('have another token as soon as the key of the old one is revoked', async (t) => {
    const place = await createPlace(t);
    const file = tokenFile(place);
    mkdirSync(join(place.directory, 'tokens'));
    writeConfig(place, { rules: RULES, tokens: [file] });
    await start(t, place);
    const kidOf = () => decode(readFileSync(file.path, 'utf8')).header.kid as string;
    const kid = kidOf();
    assert.equal((await mintmark(['keys', 'revoke', kid, '--admin', place.admin])).code, 0);
    await until(() => kidOf() !== kid, 'a token of the next key');
  });

  it('that cannot be written keep it from being ready, and say which', async (t) => {
    const place = await createPlace(t);
    const file = tokenFile(place);
    writeConfig(place, { rules: RULES, tokens: [file] });
    const server = await start(t, place);
    const ready = await ask(server.status, '/readyz');
    assert.deepEqual([ready.status, ready.json().reasons], [503, [`no token in ${file.path} yet`]]);
    const health = await mintmark(['health', '--admin', place.admin]);
    assert.deepEqual([health.code, health.stdout], [1, `not ready\n  no token in ${file.path} yet\n`]);
    mkdirSync(join(place.directory, 'tokens'));
    server.signal('SIGHUP');
    await until(async () => (await ask(server.status, '/readyz')).status === 200, 'the token file');
    assert.equal(decode(readFileSync(file.path, 'utf8')).claims.aud, AWS);
  });

  it('that no rule grants, or whose owner does not exist, stop the start with every mistake', async (t) => {
    const place = await createPlace(t);
    const tokens = [
      tokenFile(place, { audience: 'other' }),
      tokenFile(place, { path: '/run/x', owner: 'nobody-has-this-name' }),
    ];
    writeConfig(place, { rules: RULES, tokens });
    const server = launch(t, place);
    assert.equal(await server.ended, 2);
    assert.match(server.output(), /tokens\[0\]\.audience: no rule allows other to \d+/);
    assert.match(server.output(), /tokens\[1\]\.owner: there is no user nobody-has-this-name/);
    const { code, stderr } = await mintmark(['check', '--config', place.config]);
    assert.equal(code, 2);
    assert.match(stderr, /tokens\[0\]\.audience[\s\S]*tokens\[1\]\.owner/);
  });
});

describe('AWS_ROLE_ARN', { concurrency: true }, () => {
  it('makes a token file for AWS and the variables that a process needs to use it', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    await start(t, place, { env: { AWS_ROLE_ARN: ROLE } });
    const token = join(place.directory, 'run', 'oidc_token');
    const { uid, mode } = statSync(token);
    assert.deepEqual([uid, mode & 0o7777], [OWNER, 0o400]);
    assert.equal(decode(readFileSync(token, 'utf8')).claims.aud, AWS);
    assert.deepEqual(readFileSync(join(place.directory, 'run', 'aws.env'), 'utf8').split('\n'), [
      `AWS_ROLE_ARN=${ROLE}`,
      `AWS_WEB_IDENTITY_TOKEN_FILE=${token}`,
      'AWS_ROLE_SESSION_NAME=web-1',
      '',
    ]);
  });

  it('writes its variables into no file that somebody else has put a link to', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    const other = join(place.directory, 'other');
    writeFileSync(other, 'as it was');
    const variables = join(place.directory, 'run', 'aws.env');
    symlinkSync(other, variables);
    await start(t, place, { env: { AWS_ROLE_ARN: ROLE } });
    assert.equal(readFileSync(other, 'utf8'), 'as it was');
    assert.deepEqual([lstatSync(variables).isFile(), lstatSync(variables).mode & 0o7777], [true, 0o644]);
  });

  it('whose variables cannot be written ends the start, and costs a reload nothing but a warning', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    const variables = join(place.directory, 'run', 'aws.env');
    mkdirSync(variables);
    const options = { env: { AWS_ROLE_ARN: ROLE } };
    const refused = launch(t, place, options);
    assert.equal(await Promise.race([refused.ended, sleep(15_000, 'still runs', { ref: false })]), 1);
    assert.match(refused.output(), /^mintmark: EISDIR/m);
    assert.ok(refused.output().includes(`-> '${variables}'`) && !refused.output().includes('/proc/'));
    rmdirSync(variables);
    const server = await start(t, place, options);
    rmSync(variables);
    mkdirSync(variables);
    const own = { match: [`unix:uid:${OWN_UID}`], name: 'own', audiences: ['https://new.example.com'] };
    writeConfig(place, { rules: [...RULES, ruleFor(own)] });
    server.signal('SIGHUP');
    await server.line('the configuration was read again and holds from now on');
    assert.match((await server.line(/^the old aws\.env stays: /)).msg, /EISDIR/);
    await mint(place.socket, { aud: 'https://new.example.com' });
  });

  it('goes where AWS_WEB_IDENTITY_TOKEN_FILE says', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    const path = join(place.directory, 'elsewhere');
    await start(t, place, { env: { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: path } });
    assert.equal(decode(readFileSync(path, 'utf8')).claims.aud, AWS);
  });

  it('takes the rule that allows AWS, whatever patterns stand above it', async (t) => {
    const place = await createPlace(t);
    const other = ruleFor({ match: [`unix:uid:${OWN_UID}`], name: 'other', audiences: [] });
    writeConfig(place, { rules: [{ ...other, audiencePatterns: ['https://*.example.com'] }, ...RULES] });
    await start(t, place, { env: { AWS_ROLE_ARN: ROLE } });
    assert.equal(statSync(join(place.directory, 'run', 'oidc_token')).uid, OWNER);
  });

  it('that is empty says nothing, nor does an empty path', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    await (await start(t, place, { env: { AWS_ROLE_ARN: '' } })).stop();
    writeConfig(place, { rules: RULES });
    await start(t, place, { env: { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: '' } });
    assert.equal(statSync(join(place.directory, 'run', 'oidc_token')).uid, OWNER);
  });

  it('with a path from nowhere in particular is a mistake, to check too', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    const env = { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: 'aws-token' };
    const server = launch(t, place, { env });
    assert.equal(await server.ended, 2);
    assert.match(server.output(), /AWS_WEB_IDENTITY_TOKEN_FILE is no absolute path/);
    const checked = await mintmark(['check', '--config', place.config], { env });
    assert.equal(checked.code, 2);
    assert.match(checked.stderr, /AWS_WEB_IDENTITY_TOKEN_FILE is no absolute path/);
  });

  it('with a path of what is kept is a mistake', async (t) => {
    const place = await createPlace(t);
    const kek = join(place.directory, 'kek');
    writeFileSync(kek, 'k'.repeat(32), { mode: 0o400 });
    const keys = { store: { file: join(place.directory, 'state') }, encryption: { file: kek } };
    writeConfig(place, { rules: RULES, keys });
    const env = { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: kek };
    const server = launch(t, place, { env });
    assert.equal(await server.ended, 2);
    assert.match(server.output(), /AWS_WEB_IDENTITY_TOKEN_FILE is a path of keys\.encryption\.file/);
    assert.equal(readFileSync(kek, 'utf8'), 'k'.repeat(32));
  });

  it('that is no role, or with what would be a second line of aws.env, is a mistake, to check too', async (t) => {
    const place = await createPlace(t);
    const own = tokenFile(place);
    for (const [env, mistake, tokens] of [
      [{ AWS_ROLE_ARN: `${ROLE}\nLD_PRELOAD=/tmp/x.so` }, /AWS_ROLE_ARN is no role/, []],
      [{ AWS_ROLE_ARN: `${ROLE}\nLD_PRELOAD=/tmp/x.so` }, /AWS_ROLE_ARN is no role/, [own]],
      [{ AWS_ROLE_ARN: 'web' }, /AWS_ROLE_ARN is no role \(such as arn:aws:iam::/, []],
      [{ AWS_ROLE_ARN: ROLE, AWS_ROLE_SESSION_NAME: 'a\nB=c' }, /AWS_ROLE_SESSION_NAME is not 2 to 64/, []],
      [{ AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: '/x\nB=c' }, /has a control character/, []],
      [{ AWS_ROLE_ARN: ROLE }, /has a control character/, [{ ...own, path: '/x\nB=c' }]],
    ] as const) {
      writeConfig(place, { rules: RULES, tokens });
      for (const command of ['check', 'serve']) {
        const { code, stderr } = await mintmark([command, '--config', place.config], { env });
        assert.equal(code, 2);
        assert.match(stderr, mistake);
      }
    }
  });

  it('with the path of the configuration itself is a mistake, to check too', async (t) => {
    const place = await createPlace(t);
    writeConfig(place, { rules: RULES });
    const before = readFileSync(place.config, 'utf8');
    const env = { AWS_ROLE_ARN: ROLE, AWS_WEB_IDENTITY_TOKEN_FILE: place.config };
    for (const command of ['check', 'serve']) {
      const { code, stderr } = await mintmark([command, '--config', place.config], { env });
      assert.equal(code, 2);
      assert.match(stderr, /AWS_WEB_IDENTITY_TOKEN_FILE is a path of the configuration/);
    }
    assert.equal(readFileSync(place.config, 'utf8'), before);
  });

  it('without a rule for AWS is a mistake in the configuration', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const server = launch(t, place, { env: { AWS_ROLE_ARN: ROLE } });
    assert.equal(await server.ended, 2);
    assert.match(server.output(), /AWS_ROLE_ARN is set, and no rule .* allows sts\.amazonaws\.com \(add one/);
  });
});
