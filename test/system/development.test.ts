/** `mintmark serve` without a file: an issuer for its own user, on loopback, that says what it is. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { isMissing } from '../stores/requires.ts';
import { ask, askToken } from './ask.ts';
import {
  createPlace,
  defer,
  launch,
  mintmark,
  OTHER_UID,
  OWN_UID,
  type Place,
  type StartOptions,
  start,
  writeConfig,
} from './start.ts';

const ANY_PORT = { MINTMARK_STATUS_LISTEN: '127.0.0.1:0' };

/** Only what must not be shared is named: the run-time directory and the port. */
function bare({ directory, port }: Place): StartOptions & { readonly env: Record<string, string> } {
  return { args: ['--listen', `127.0.0.1:${port}`], env: { ...ANY_PORT, XDG_RUNTIME_DIR: directory } };
}

const modeOf = (path: string) => statSync(path).mode & 0o7777;

describe('serve without a file', { concurrency: true }, () => {
  it('gives this user a token that verifies by the published documents, and says what it is', async (t) => {
    const place = await createPlace(t);
    const options = bare(place);
    const server = await start(t, place, options);
    assert.match(server.output(), /THIS IS A DEVELOPMENT ISSUER\. http:\/\/127\.0\.0\.1:\d+ is plain http/);
    const { code, stdout } = await mintmark(['token', '--aud', 'urn:anything'], { env: options.env });
    assert.equal(code, 0);
    const metadata = (await ask(place.issuer, '/.well-known/openid-configuration')).json<{
      jwks_uri: string;
    }>();
    const keys = createRemoteJWKSet(new URL(metadata.jwks_uri));
    const { payload } = await jwtVerify(stdout.trim(), keys, {
      issuer: place.issuer,
      audience: 'urn:anything',
    });
    assert.match(payload.sub ?? '', /^dev:[^:]+:[^:]+$/);
    const directory = join(place.directory, 'mintmark');
    assert.deepEqual(
      [directory, join(directory, 'api.sock'), join(directory, 'admin.sock')].map(modeOf),
      [0o700, 0o600, 0o600],
    );
  });

  it('the lines that it prints for trying it out work as they stand', async (t) => {
    const place = await createPlace(t);
    const server = await start(t, place, bare(place));
    const lines = server
      .output()
      .split('\n')
      .filter((line) => line.startsWith('    curl '));
    assert.equal(lines.length, 2);
    const [token = '', metadata = ''] = lines.map((line) =>
      execFileSync('sh', ['-c', line.replace('curl', 'curl -sSf')], { encoding: 'utf8' }),
    );
    assert.match(token, /^eyJ/);
    assert.equal(JSON.parse(metadata).issuer, place.issuer);
  });

  it('with a file it says no more than what is true of any rules', async (t) => {
    const place = await createPlace(t);
    writeConfig(place);
    const output = (await start(t, place)).output();
    assert.match(output, /THIS IS A DEVELOPMENT ISSUER\. http:\S+ is plain http/);
    assert.doesNotMatch(output, /any audience|curl|--config/);
  });

  it('another user cannot open the socket, and is told why', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'being another user takes root') || isUnreadable(t)) return;
    const place = await createPlace(t);
    const { env } = bare(place);
    await start(t, place, bare(place));
    const { code, stdout, stderr } = await mintmark(['token', '--aud', 'x'], { env, uid: OTHER_UID });
    assert.deepEqual([code, stdout], [1, '']);
    assert.match(stderr, /you may not open .*socket\.group/);
  });

  it('root can open the socket of a user, and is refused with an explanation', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'being another user takes root') || isUnreadable(t)) return;
    const place = await createPlace(t);
    chownSync(place.directory, OTHER_UID, OTHER_UID);
    const options = { ...bare(place), uid: OTHER_UID };
    const server = await start(t, place, options);
    const socket = join(place.directory, 'mintmark', 'api.sock');
    const refused = await askToken(socket, { aud: 'x' });
    assert.equal(refused.status, 403);
    const { error, nearest } = refused.json<{ error: string; nearest: { fails: unknown[] }[] }>();
    assert.equal(error, 'access_denied');
    assert.deepEqual(nearest[0]?.fails, [{ selector: `unix:uid:${OTHER_UID}`, instead: '0' }]);
    const { code, stderr } = await mintmark(['token', '--aud', 'x'], { env: options.env });
    assert.equal(code, 1);
    assert.match(stderr, new RegExp(`unix:uid:${OTHER_UID} does not \\(0\\)`));
    const audit = await server.line('refused');
    assert.deepEqual((audit.peer as { uid: number }).uid, 0);
  });

  it('takes no directory that others may write to', async (t) => {
    const place = await createPlace(t);
    const open = join(place.directory, 'open');
    mkdirSync(open);
    execFileSync('chmod', ['0777', open]);
    const server = launch(t, place, {
      args: ['--socket', join(open, 'api.sock'), '--listen', `127.0.0.1:${place.port}`],
      env: ANY_PORT,
    });
    assert.equal(await server.ended, 1);
    assert.match(server.output(), /writable by its group or by everybody/);
  });

  it('lies below /tmp where there is no run-time directory, and not where somebody else was first', async (t) => {
    if (isMissing(t, OWN_UID === 0, 'only root can run it as a stranger') || isUnreadable(t)) return;
    const place = await createPlace(t);
    const uid = 60_000 + Math.floor(Math.random() * 5_000);
    const directory = `/tmp/mintmark-${uid}`;
    defer(t, () => rmSync(directory, { recursive: true, force: true }));
    const options = { ...bare(place), uid, env: { ...ANY_PORT, XDG_RUNTIME_DIR: undefined } };
    mkdirSync(directory);
    chownSync(directory, OTHER_UID, OTHER_UID);
    const refused = launch(t, place, options);
    assert.equal(await refused.ended, 1);
    assert.match(refused.output(), new RegExp(`${directory} belongs to uid ${OTHER_UID}`));
    rmSync(directory, { recursive: true });
    const server = await start(t, place, options);
    assert.equal(modeOf(directory), 0o700);
    assert.equal((await server.line('ready')).workload, `unix:${directory}/api.sock`);
    assert.equal(await server.stop(), 0);
  });

  it('a port that is taken and one that is not known are told', async (t) => {
    const place = await createPlace(t);
    const taken = await start(t, place, bare(place));
    const second = launch(t, place, {
      ...bare(place),
      env: { ...ANY_PORT, XDG_RUNTIME_DIR: join(place.directory, 'run') },
    });
    assert.equal(await second.ended, 1);
    assert.match(second.output(), new RegExp(`127\\.0\\.0\\.1:${place.port} is taken`));
    assert.equal(await taken.stop(), 0);
    const unknown = launch(t, place, { ...bare(place), args: ['--listen', '127.0.0.1:0'] });
    assert.equal(await unknown.ended, 2);
    assert.match(unknown.output(), /without a file it is 127\.0\.0\.1:PORT/);
  });
});

/** Where the program lies below a home directory that others may not enter. */
function isUnreadable(t: TestContext): boolean {
  const program = new URL('../../package.json', import.meta.url).pathname;
  const reading = { uid: OTHER_UID, gid: OTHER_UID };
  const isReadable = [process.execPath, program].every(
    (path) => spawnSync('test', ['-r', path], reading).status === 0,
  );
  return isMissing(t, isReadable, 'other users may not read the program');
}
