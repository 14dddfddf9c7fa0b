/** `mintmark keys` against a running issuer of the kind that verifiers rely on: https, and a day's notice of a key. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { ALGORITHMS } from '../../src/core/ports.ts';
import { decode } from './ask.ts';
import { AUDIENCE, createPlace, mintmark, type Place, ruleFor, start, writeConfig } from './start.ts';
import { scopeOf } from './suite.ts';

type Key = { readonly keyId: string; readonly algorithm: string; readonly state: string };

describe('mintmark keys', () => {
  const scope = scopeOf();
  let place: Place;

  before(async () => {
    place = await createPlace(scope);
    writeConfig(place, {
      issuer: 'https://id.example.com',
      public: { listen: `127.0.0.1:${place.port}` },
      rules: [
        ruleFor(),
        ruleFor({ name: 'elliptic', audiences: ['https://ec.example.com'], algorithm: 'ES256' }),
      ],
    });
    await start(scope, place);
  });

  const run = (...args: string[]) => mintmark(args, { env: { MINTMARK_SOCKET: place.socket } });
  const keys = async (...args: string[]) => {
    const { code, stdout, stderr } = await run('keys', ...args, '--json');
    assert.equal(code, 0, stderr);
    return (JSON.parse(stdout) as { readonly keys: readonly Key[] }).keys;
  };
  const keyOf = (all: readonly Key[], state: string, algorithm = 'RS256') =>
    all.find((key) => key.state === state && key.algorithm === algorithm)?.keyId ?? '';

  it('rotate is refused while verifiers may not know the next key, --force says what breaks', async () => {
    const fresh = await keys('list');
    assert.deepEqual(
      fresh.map(({ algorithm, state }) => `${algorithm} ${state}`),
      ['RS256 active', 'RS256 next', 'ES256 active', 'ES256 next'],
    );
    const refused = await run('keys', 'rotate');
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /must stay published for 8\d{4} s more before it signs/);
    assert.deepEqual(await keys('list'), fresh);
    const forced = await run('keys', 'rotate', '--algorithm', 'RS256', '--force');
    assert.equal(forced.code, 0, forced.stderr);
    assert.match(
      forced.stderr,
      /^too early: RS256 \S+ has been published for .* refuse new tokens until they do/,
    );
    const rotated = await keys('list');
    assert.equal(keyOf(rotated, 'active'), keyOf(fresh, 'next'));
    assert.equal(keyOf(rotated, 'retired'), keyOf(fresh, 'active'));
    assert.equal(keyOf(rotated, 'active', 'ES256'), keyOf(fresh, 'active', 'ES256'));
    const { stdout } = await run('token', '--aud', AUDIENCE);
    assert.equal(decode(stdout).header.kid, keyOf(rotated, 'active'));
  });

  it('revoke takes a key out of the JWKS at once', async () => {
    const retired = keyOf(await keys('list'), 'retired');
    const left = await keys('revoke', retired);
    assert.ok(!left.some(({ keyId }) => keyId === retired));
    assert.ok(!(await run('jwks')).stdout.includes(retired));
    const again = await run('keys', 'revoke', retired);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /is in the ring/);
  });

  it('revoke takes several keys, and none where one is not there', async () => {
    await keys('rotate', '--force');
    const before = await keys('list');
    const retired = before.filter(({ state }) => state === 'retired').map(({ keyId }) => keyId);
    assert.equal(retired.length, 2);
    const refused = await run('keys', 'revoke', ...retired, 'nobody');
    assert.deepEqual(
      [refused.code, refused.stderr],
      [1, 'mintmark: not_found: no key nobody is in the ring\n'],
    );
    assert.deepEqual(await keys('list'), before);
    const revoked = await run('keys', 'revoke', ...retired, retired[0]!, '--json');
    assert.equal(revoked.code, 0, revoked.stderr);
    for (const keyId of retired) {
      assert.match(revoked.stderr, new RegExp(`^revoked: tokens of \\S+ ${keyId} `, 'm'));
      assert.ok(!revoked.stdout.includes(keyId));
    }
  });

  it('revoke takes key ids as they come: one in 64 begins with a dash', async () => {
    for (const keyId of [`-${'a'.repeat(42)}`, `--${'a'.repeat(41)}`])
      for (const words of [[keyId], [keyId, '--json'], ['--', keyId]]) {
        const { code, stderr } = await run('keys', 'revoke', ...words);
        assert.deepEqual([code, stderr], [1, `mintmark: not_found: no key ${keyId} is in the ring\n`]);
      }
  });

  it('import brings a PEM along, from a file or from standard input', async () => {
    const pem = join(place.directory, 'ec.pem');
    openssl('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', pem);
    const imported = keyOf(await keys('import', pem), 'next', 'ES256');
    assert.notEqual(imported, '');
    const twice = await run('keys', 'import', pem);
    assert.equal(twice.code, 1);
    assert.match(twice.stderr, /is in the ring already/);
    const piped = await mintmark(['keys', 'import', '-', '--json'], {
      env: { MINTMARK_SOCKET: place.socket },
      input: openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'),
    });
    assert.equal(piped.code, 0, piped.stderr);
    assert.ok(
      (JSON.parse(piped.stdout) as { keys: Key[] }).keys.some(({ algorithm }) => algorithm === 'RS256'),
    );
  });

  it('import brings a PKCS#12 along, and a wrong passphrase changes nothing', async () => {
    const { p12, passphrase } = createPkcs12(place);
    const before = await keys('list');
    writeFileSync(join(place.directory, 'wrong'), 'wrong\n');
    const refused = await run('keys', 'import', p12, '--passphrase', join(place.directory, 'wrong'));
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /passphrase/);
    const without = await run('keys', 'import', p12);
    assert.match(without.stderr, /passphrase is wrong.* \(--passphrase FILE gives one\)$/m);
    const weak = join(place.directory, 'weak.pem');
    openssl('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024', '-out', weak);
    assert.match(
      (await run('keys', 'import', weak)).stderr,
      /rsa 1024 bits: RSA from 2048 bits.* are taken$/m,
    );
    assert.deepEqual(await keys('list'), before);
    const after = await keys('import', p12, '--passphrase', passphrase);
    assert.notEqual(keyOf(after, 'next'), keyOf(before, 'next'));
    assert.equal(keyOf(after, 'active'), keyOf(before, 'active'));
  });
});

describe('mintmark keys, with all five algorithms', () => {
  const scope = scopeOf();
  let place: Place;

  before(async () => {
    place = await createPlace(scope);
    const rules = ALGORITHMS.map((algorithm) => ruleFor({ name: algorithm, algorithm }));
    writeConfig(place, { issuer: 'https://id.example.com', rules });
    await start(scope, place);
  });

  it('in a full ring an active key is revoked too: its successor is published first, and what that breaks is told', async () => {
    const run = (...args: string[]) => mintmark(['keys', ...args, '--admin', place.admin]);
    const kid = (list: string, state: string) =>
      new RegExp(`^RS256 +${state} +(\\S+)`, 'm').exec(list)?.[1] ?? '';
    const { stdout: full } = await run('rotate', '--algorithm', 'RS256', '--force');
    const active = kid(full, 'active');
    assert.equal(kid(full, 'next'), '');
    const refused = await run('rotate', '--algorithm', 'RS256', '--force');
    assert.deepEqual([refused.code, refused.stdout], [1, '']);
    assert.match(
      refused.stderr,
      /^mintmark: conflict: there is no next RS256 key .* revoking a retired one makes room$/m,
    );
    const revoked = await run('revoke', active);
    assert.equal(revoked.code, 0, revoked.stderr);
    assert.match(revoked.stderr, new RegExp(`^revoked: tokens of RS256 ${active} .*\\ntoo early: RS256 `));
    assert.doesNotMatch(revoked.stdout, new RegExp(active));
    assert.notEqual(kid(revoked.stdout, 'active'), '');
  });
});

describe('mintmark keys, of an algorithm that no rule asks for any more', () => {
  it('says until when they stay, revokes them, and makes no new ones', async (t) => {
    const place = await createPlace(t);
    const rules = [ruleFor(), ruleFor({ name: 'elliptic', algorithm: 'ES256' })];
    writeConfig(place, { issuer: 'https://id.example.com', rules });
    const server = await start(t, place);
    const run = (...args: string[]) => mintmark(['keys', ...args, '--admin', place.admin]);
    writeConfig(place, { issuer: 'https://id.example.com', rules: [ruleFor()] });
    server.signal('SIGHUP');
    await server.line(/^the configuration was read again/);
    const { stdout: list } = await run('list');
    assert.match(list, /^RS256 +active +\S+ +signs; rotates /m);
    assert.match(list, /^ES256 +next +\S+ +no rule asks for it; leaves \S+ \(in (?:7 d|6 d 23 h)[^)]*\)$/m);
    const active =
      /^ES256 +active +(\S+) +no rule asks for it; retires \S+ \(in (?:7 d|6 d 23 h)[^)]*\)$/m.exec(
        list,
      )?.[1];
    const next = /^ES256 +next +(\S+)/m.exec(list)?.[1];
    const { code, stdout, stderr } = await run('revoke', active ?? '', next ?? '');
    assert.equal(code, 0, stderr);
    assert.doesNotMatch(stdout, /ES256/);
    assert.doesNotMatch(stderr, /too early/);
    assert.match((await run('rotate', '--algorithm', 'ES256', '--force')).stderr, /no rule asks for ES256/);
  });
});

function openssl(...args: string[]): Buffer {
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
}

function createPkcs12({ directory }: Place): { readonly p12: string; readonly passphrase: string } {
  const [key, certificate, p12, passphrase] = ['k.pem', 'c.pem', 'k.p12', 'passphrase'].map((name) =>
    join(directory, name),
  ) as [string, string, string, string];
  writeFileSync(passphrase, 'correct horse\n');
  openssl(
    ...'req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=key -keyout'.split(' '),
    key,
    '-out',
    certificate,
  );
  openssl(
    'pkcs12',
    '-export',
    '-inkey',
    key,
    '-in',
    certificate,
    '-passout',
    `file:${passphrase}`,
    '-out',
    p12,
  );
  return { p12, passphrase };
}
