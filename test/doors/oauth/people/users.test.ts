import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { TOTP } from 'otpauth';
import { IssuerError } from '../../../../src/core/errors.ts';
import { createAttempts, networkOf } from '../../../../src/doors/oauth/people/attempts.ts';
import { createPasswords } from '../../../../src/doors/oauth/people/passwords.ts';
import { enrol, openSecret, sealSecret, stepOf } from '../../../../src/doors/oauth/people/totp.ts';
import { createUsers, normalizeUsername } from '../../../../src/doors/oauth/people/users.ts';
import { fakeClock } from '../../../fakes/clock.ts';
import { PASSWORD, serveIdentity } from '../../../fakes/people.ts';
import { fakeRecords } from '../../../fakes/records.ts';

const refused = (code: string) => (error: unknown) => error instanceof IssuerError && error.code === code;

const SECRET = Buffer.alloc(32, 7);
const isClient = async (id: string) => id === 'shop';

function world() {
  const clock = fakeClock();
  const records = fakeRecords();
  const passwords = createPasswords({ cost: 10 });
  return {
    clock,
    records,
    users: createUsers({ records, realm: 'r', clock, passwords, secret: SECRET, isClient }),
  };
}

suite('users', () => {
  test('are found by name and sub, once each, in one realm', async () => {
    const { users, records, clock } = world();
    const ada = await users.add({ username: ' Ada ', password: PASSWORD, claims: { name: 'Ada' } });
    assert.equal(ada.username, 'ada');
    assert.match(ada.sub, /^[\w-]{22}$/);
    assert.deepEqual(await users.find('ADA'), ada);
    assert.deepEqual(await users.findBySub(ada.sub), ada);
    await assert.rejects(users.add({ username: 'ada' }), refused('conflict'));
    await assert.rejects(users.add({ username: 'bob', sub: ada.sub }), refused('conflict'));
    const other = createUsers({
      records,
      realm: 's',
      clock,
      passwords: createPasswords({ cost: 10 }),
      secret: SECRET,
      isClient,
    });
    assert.equal(await other.find('ada'), undefined);
    await users.remove('ada');
    assert.equal(await users.findBySub(ada.sub), undefined);
    await assert.rejects(users.remove('ada'), refused('not_found'));
  });

  test('claims are of their kinds, and nobody is a client', async () => {
    const { users } = world();
    const right = {
      ...{ name: 'Ada', email_verified: true, updated_at: 1_700_000_000 },
      address: { country: 'GB' },
    };
    await users.add({ username: 'ada', claims: right });
    for (const claims of [
      { address: 'x' },
      { address: { country: 1 } },
      { updated_at: 'abc' },
      { updated_at: 1.5 },
      { email_verified: 'true' },
      { name: true },
      { zoneinfo: null },
    ])
      await assert.rejects(users.add({ username: 'bob', claims }), refused('invalid_request'));
    await assert.rejects(users.add({ username: 'bob', sub: 'shop' }), refused('invalid_request'));
  });

  test('names that look alike are one', () => {
    assert.equal(normalizeUsername('ＡＤＡ'), 'ada');
    assert.equal(normalizeUsername('Ada@Example.COM'), 'ada@example.com');
    for (const none of ['', '  ', 'a\0b', 'a\u200bb', 'x'.repeat(129)])
      assert.equal(normalizeUsername(none), undefined);
  });

  test('only claims that people have', async () => {
    const { users } = world();
    for (const claims of [{ sub: 'x' }, { idp: 'corp' }, { admin: true }])
      await assert.rejects(users.add({ username: 'ada', claims }), refused('invalid_request'));
  });

  test('a password: neither short nor endless, any characters, of one form', async () => {
    const { users } = world();
    for (const password of ['short', 'x'.repeat(1025)])
      await assert.rejects(users.add({ username: 'ada', password }), refused('invalid_request'));
    await users.add({ username: 'ada', password: 'pässwörd ①' });
    assert.ok(await users.withPassword('ada', 'pa\u0308sswo\u0308rd 1'));
    for (const wrong of ['', 'passw', 'x'.repeat(100_000)])
      assert.equal(await users.withPassword('ada', wrong), undefined);
    await users.add({ username: 'no-password' });
    assert.equal(await users.withPassword('no-password', ''), undefined);
  });

  test('a hash by older parameters is renewed at the next login', async () => {
    const { users, records, clock } = world();
    await users.add({ username: 'ada', password: PASSWORD });
    const passwords = createPasswords({ cost: 11 });
    const dearer = createUsers({ records, realm: 'r', clock, passwords, secret: SECRET, isClient });
    assert.ok(await dearer.withPassword('ada', PASSWORD));
    assert.match((await users.find('ada'))?.passwordHash ?? '', /^\$scrypt\$ln=11,r=8,p=1\$/);
    assert.ok(await users.withPassword('ada', PASSWORD));
  });

  test('two changes at once are both made', async () => {
    const { users } = world();
    await users.add({ username: 'ada', password: PASSWORD });
    await Promise.all([users.enrolTotp('ada', 'x'), users.setPassword('ada', 'another password')]);
    const user = await users.find('ada');
    assert.ok(user?.totpSecret);
    assert.ok(await users.withPassword('ada', 'another password'));
  });
});

suite('passwords', () => {
  test('by default as dear as OWASP asks: 128 MiB each, and an unknown user as dear', async () => {
    const passwords = createPasswords({});
    assert.match(await passwords.hash(PASSWORD), /^\$scrypt\$ln=17,r=8,p=1\$/);
    const cheap = createPasswords({ cost: 14 });
    const stored = await cheap.hash(PASSWORD);
    const timeOf = async (hash: string | undefined) => {
      const began = performance.now();
      for (let i = 0; i < 5; i++) await cheap.verify('wrong password', hash);
      return performance.now() - began;
    };
    const [known, unknown] = [await timeOf(stored), await timeOf(undefined)];
    assert.ok(known / unknown < 3 && unknown / known < 3, `${known} ms and ${unknown} ms`);
  });

  test('so many at once, so many wait, the rest is turned away', async () => {
    const passwords = createPasswords({ cost: 10, parallel: 1 });
    const results = await Promise.allSettled(Array.from({ length: 140 }, () => passwords.hash(PASSWORD)));
    const turnedAway = results.filter((result) => result.status === 'rejected');
    assert.equal(turnedAway.length, 140 - 1 - 128);
    assert.ok(turnedAway.every(({ reason }) => refused('temporarily_unavailable')(reason)));
    assert.ok(await passwords.hash(PASSWORD));
  });
});

suite('attempts', () => {
  test('are counted by user and by address, in every replica', async () => {
    const clock = fakeClock();
    const records = fakeRecords();
    const limits = { perUser: 3, perAddress: 5, windowSeconds: 60 };
    const [a, b] = [createAttempts(records, 'r', clock, limits), createAttempts(records, 'r', clock, limits)];
    await a.take('ada', '192.0.2.1');
    await b.take(' ADA', '192.0.2.2');
    await a.take('ada', '192.0.2.3');
    await assert.rejects(b.take('ada', '192.0.2.4'), refused('too_many_requests'));
    await a.forgive('ada');
    await b.take('ada', '192.0.2.4');
    for (const name of ['1', '2', '3', '4', '5']) await a.take(name, '192.0.2.9');
    await assert.rejects(a.take('6', '192.0.2.9'), refused('too_many_requests'));
    clock.advance(60);
    await a.take('6', '192.0.2.9');
  });
});

test('an IPv6 address counts as its network', () => {
  assert.equal(networkOf('192.0.2.1'), '192.0.2.1');
  assert.equal(networkOf('::ffff:192.0.2.1'), '192.0.2.1');
  for (const address of ['2001:db8:0:1::5', '2001:DB8::1:a:b:c:d', '2001:db8:0:1:2:3:4:5'])
    assert.equal(networkOf(address), '2001:db8:0:1');
  assert.equal(networkOf('::1'), '0:0:0:0');
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0');
  assert.equal(networkOf('unknown'), 'unknown');
});

suite('one-time codes', () => {
  test('are taken one step early and late, and not further', () => {
    const { secret, uri } = enrol('id.example.com', 'ada');
    assert.match(
      uri,
      /^otpauth:\/\/totp\/id\.example\.com:ada\?issuer=id\.example\.com&secret=[A-Z2-7]{32}&/,
    );
    const now = 1_800_000_015;
    const codeAt = (seconds: number) => new TOTP({ secret }).generate({ timestamp: (now + seconds) * 1000 });
    const step = Math.floor(now / 30);
    assert.equal(stepOf(secret, codeAt(0), now), step);
    assert.equal(stepOf(secret, codeAt(-30), now), step - 1);
    assert.equal(stepOf(secret, codeAt(30), now), step + 1);
    assert.equal(stepOf(secret, codeAt(-60), now), undefined);
    for (const wrong of ['', '12345', '1234567', 'abcdef'])
      assert.equal(stepOf(secret, wrong, now), undefined);
  });

  test('are made from secrets that are kept sealed, for one user of one realm', async () => {
    const { users, records, clock } = world();
    const ada = await users.add({ username: 'ada' });
    const { secret } = await users.enrolTotp('ada', 'x');
    const stored = await records.find({ realm: 'r', model: 'User', id: 'ada' }, clock.now());
    assert.doesNotMatch(JSON.stringify(stored), /[A-Z2-7]{32}/);
    const user = (await users.find('ada')) ?? assert.fail();
    const code = new TOTP({ secret }).generate({ timestamp: clock.now() * 1000 });
    assert.equal(await users.useCode(user, code), true);
    assert.equal(await users.useCode(user, code), false, 'once');
    const sealer = { realm: 'r', secret: SECRET };
    const sealed = sealSecret(secret, sealer, ada);
    assert.notEqual(sealed, sealSecret(secret, sealer, ada));
    assert.equal(openSecret(sealed, sealer, ada), secret);
    const wrong = [
      () => openSecret(sealed, { ...sealer, realm: 's' }, ada),
      () => openSecret(sealed, { ...sealer, secret: Buffer.alloc(32, 8) }, ada),
      () => openSecret(sealed, sealer, { ...ada, sub: 'other' }),
      () => openSecret(sealed, sealer, { ...ada, username: 'bob' }),
      () => openSecret(secret, sealer, ada),
      () => openSecret('', sealer, ada),
    ];
    for (const open of wrong) assert.throws(open, refused('server_error'));
  });

  test('RFC 6238’s own, appendix B', () => {
    const secret = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';
    assert.equal(stepOf(secret, '287082', 59), 1);
    assert.equal(stepOf(secret, '081804', 1_111_111_109), 37_037_036);
  });

  test('each is good once, also for two at once', async () => {
    const { users, clock } = world();
    await users.add({ username: 'ada', password: PASSWORD });
    const { secret } = await users.enrolTotp('ada', 'x');
    const user = (await users.find('ada'))!;
    const code = new TOTP({ secret }).generate({ timestamp: clock.now() * 1000 });
    const used = await Promise.all(Array.from({ length: 8 }, () => users.useCode(user, code)));
    assert.equal(used.filter(Boolean).length, 1);
  });
});

suite('the password grant’s check', () => {
  test('says who it is, with tenant and second factor', async (t) => {
    const { people, addUser, admin } = await serveIdentity(t);
    const sub = await addUser('ada', { tenants: ['acme'], claims: { name: 'Ada' } });
    const check = (acrValues?: string, otp?: string) =>
      people.passwords.check('ada', PASSWORD, { address: '192.0.2.1', acrValues, otp });
    const found = (await check('tenant:acme idp:local'))!;
    assert.equal(found.sub, sub);
    const source = { accountId: sub, sessionUid: found.sessionUid, authTime: found.authTime, amr: found.amr };
    const { tenant, idp, amr } = await people.loginOf(source);
    assert.deepEqual({ tenant, idp, amr }, { tenant: 'acme', idp: 'local', amr: ['pwd'] });
    assert.equal(await check('tenant:umbrella'), undefined);
    assert.equal(await check('idp:corp'), undefined);
    const { secret } = await admin('/v1/users/totp', { username: 'ada' });
    assert.equal(await check(), undefined);
    const code = new TOTP({ secret: String(secret) }).generate();
    assert.deepEqual((await check(undefined, code))?.amr, ['pwd', 'otp', 'mfa']);
    assert.equal(await check(undefined, code), undefined);
  });

  test('the tenant stays with refresh tokens that live on for years', async (t) => {
    const { people, addUser, advance } = await serveIdentity(t);
    await addUser('ada', { tenants: ['acme'] });
    const found = await people.passwords.check('ada', PASSWORD, {
      address: '192.0.2.1',
      acrValues: 'tenant:acme',
    });
    const { sub, sessionUid, authTime } = found ?? assert.fail();
    for (let year = 0; year < 3; year++) {
      advance(365 * 24 * 3600);
      assert.equal((await people.loginOf({ accountId: sub, sessionUid, authTime })).tenant, 'acme');
    }
  });

  test('is limited as the pages are', async (t) => {
    const { people, addUser } = await serveIdentity(t, { config: { logins: { perUser: 2 } } });
    await addUser('ada');
    const check = (password: string) => people.passwords.check('ada', password, { address: '192.0.2.1' });
    assert.equal(await check('wrong password'), undefined);
    assert.equal(await check('wrong password'), undefined);
    await assert.rejects(check(PASSWORD), refused('too_many_requests'));
  });
});

suite('users by the admin socket', () => {
  test('are listed without hash or secret, page by page', async (t) => {
    const { admin, addUser } = await serveIdentity(t);
    await addUser('ada', { claims: { name: 'Ada' }, tenants: ['acme'] });
    await admin('/v1/users/totp', { username: 'ada' });
    const { users } = (await admin('/v1/users')) as unknown as { users: Record<string, unknown>[] };
    const [{ sub, createdAt, ...ada } = {}] = users;
    assert.equal(typeof sub, 'string');
    assert.equal(typeof createdAt, 'number');
    assert.deepEqual(ada, {
      ...{ username: 'ada', claims: { name: 'Ada' }, tenants: ['acme'], hasPassword: true, hasTotp: true },
    });
    assert.deepEqual((await admin('/v1/users?after=ada')).users, []);
    const without = await admin('/v1/users/totp', { username: 'ada', remove: true });
    assert.equal(without.hasTotp, false);
  });

  test('what is wrong is said', async (t) => {
    const { admin, addUser } = await serveIdentity(t);
    await addUser('ada');
    const tries: readonly [string, object, number, RegExp][] = [
      ['add', { username: 'ada' }, 409, /there is such a user/],
      ['add', { username: 'bob', password: 'short' }, 400, /at least 8/],
      ['add', { username: 'bob', claims: [] }, 400, /no object/],
      ['add', { username: 'bob', claims: { admin: true } }, 400, /no claim admin/],
      ['add', { username: 'bob', tenants: ['a b'] }, 400, /tenants/],
      ['add', { username: 'bob', role: 'x' }, 400, /known fields/],
      ['remove', {}, 400, /username is missing/],
      ['remove', { username: 'bob' }, 404, /no such user/],
      ['password', { username: 'bob', password: PASSWORD }, 404, /no such user/],
      ['totp', { username: 'bob' }, 404, /no such user/],
    ];
    for (const [path, fields, status, reason] of tries) {
      const answer = await admin(`/v1/users/${path}`, fields);
      assert.equal(answer.status, status, JSON.stringify(answer));
      assert.match(String(answer.reason), reason);
    }
  });
});
