import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { CommandError, type Io, Values } from '../../src/commands/command.ts';
import { command } from '../../src/commands/users.ts';
import { createFrame } from '../../src/doors/door.ts';
import { createAccounts } from '../../src/doors/oauth/people/accounts.ts';
import { createUserRoutes } from '../../src/doors/oauth/people/admin.ts';
import { createPasswords } from '../../src/doors/oauth/people/passwords.ts';
import { createUsers } from '../../src/doors/oauth/people/users.ts';
import { open } from '../../src/stores/sqlite.ts';
import { fakeClock } from '../fakes/clock.ts';
import { collectingRecorder } from '../fakes/recorder.ts';
import { storeContext } from '../stores/context.ts';
import { isMissing } from '../stores/requires.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const PASSWORD = 'correct horse battery';

/** An admin socket with users behind it, and the command as cli.ts calls it. */
async function world(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), 'mintmark-'));
  t.after(() => rm(directory, { recursive: true }));
  const [records, realm, clock] = [await open(':memory:', storeContext()), 'r', fakeClock()];
  t.after(() => records.close());
  const users = createUsers({
    ...{ records, realm, clock },
    passwords: createPasswords({ cost: 10 }),
    secret: Buffer.alloc(32),
    isClient: async () => false,
  });
  const accounts = createAccounts({ records, realm, clock, users });
  const frame = createFrame({
    ...{ surface: 'admin', version: '0', recorder: collectingRecorder(), peerOf: () => undefined },
    doors: [{ name: 'oauth', surface: 'admin', routes: createUserRoutes(users, accounts, 'id.example.com') }],
  });
  const socket = join(directory, 'admin.sock');
  const server = createServer(frame).listen(socket);
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const file = join(directory, 'password');
  await writeFile(file, `${PASSWORD}\n`);
  async function run(line: readonly string[], typed: string | readonly string[] = '') {
    const out = { stdout: '', stderr: '' };
    const answers = typeof typed === 'string' ? [] : [...typed];
    const io = {
      env: { MINTMARK_ADMIN: socket },
      canAsk: typeof typed !== 'string',
      askSecret: async () => answers.shift(),
      readInput: async () => Buffer.from(typed as string),
      write: (text: string) => {
        out.stdout += text;
      },
      writeError: (text: string) => {
        out.stderr += text;
      },
    } as unknown as Io;
    const options = { ...command.options } as never;
    const { values, positionals } = parseArgs({ args: [...line], options, allowPositionals: true });
    assert.equal(await command.run({ io, values: new Values(values), words: positionals }), 0);
    return out;
  }
  return { run, users, accounts, records, file, socket };
}

suite('mintmark users', () => {
  test('adds, lists, changes and removes', async (t) => {
    const { run, users, file } = await world(t);
    const options = [
      '--name',
      'Ada Lovelace',
      '--claim',
      'email_verified=true',
      '--tenant',
      'acme',
      '--sub',
      'u1',
    ];
    const { stdout } = await run(['add', 'ada', ...options], `${PASSWORD}\n`);
    assert.match(
      stdout,
      /^user {11}ada\nsub {12}u1\nname {11}Ada Lovelace\nemail_verified true\ntenants {8}acme\n/,
    );
    assert.doesNotMatch(stdout, /scrypt|horse/);
    assert.ok(await users.withPassword('ada', PASSWORD));
    assert.match((await run(['list'])).stdout, /^USER .*\nada {18}- {13}u1\n$/);
    await run(['passwd', 'ada', '--password', '-'], 'another password');
    assert.ok(await users.withPassword('ada', 'another password'));
    await run(['passwd', 'ada', '--password', file]);
    assert.ok(await users.withPassword('ada', PASSWORD));
    const { stdout: bob } = await run(['add', 'bob', '--no-password', '--claim', 'address={"country":"GB"}']);
    assert.match(bob, /^address {8}\{"country":"GB"\}$/m);
    assert.equal((await users.find('bob'))?.passwordHash, undefined);
    assert.equal((await run(['remove', 'bob'])).stdout, 'removed bob\n');
    assert.equal(await users.find('bob'), undefined);
  });

  test('claims and tenants are changed by name, and the rest of the user stays', async (t) => {
    const { run, users } = await world(t);
    const options = ['--name', 'Ada', '--email', 'ada@example.com', '--tenant', 'acme', '--sub', 'u1'];
    await run(['add', 'ada', ...options], PASSWORD);
    await run(['totp', 'ada']);
    const before = await users.find('ada');
    const change = ['--name', 'Ada King', '--claim', 'email_verified=true', '--remove-claim', 'email'];
    const { stdout } = await run(['set', 'ADA', ...change, '--tenant', 'b', '--tenant', 'c']);
    assert.match(stdout, /^name {11}Ada King\nemail_verified true\ntenants {8}b c\n/m);
    const claims = { name: 'Ada King', email_verified: true };
    assert.deepEqual(await users.find('ada'), { ...before, claims, tenants: ['b', 'c'] });
    assert.equal(JSON.parse((await run(['set', 'ada', '--any-tenant', '--json'])).stdout).tenants, undefined);
    const { tenants: _, ...rest } = before ?? {};
    assert.deepEqual(await users.find('ada'), { ...rest, claims });
  });

  test('people of other identity providers are listed, and forgotten with all that is theirs', async (t) => {
    const { run, accounts, records } = await world(t);
    const person = { idp: 'corp', issuer: 'https://login.example.com', claims: { name: 'Bob\u001b' } };
    const sub = await accounts.keepUpstream({ ...person, subject: 'b-1' });
    const other = await accounts.keepUpstream({ ...person, subject: 'b-2' });
    const key = (model: string, id: string) => ({ realm: 'r', model, id });
    for (const id of [sub, other]) {
      await records.upsert(key('Session', `s-${id}`), { payload: { accountId: id } });
      await records.upsert(key('Grant', `g-${id}`), { payload: { accountId: id } });
      await records.upsert(key('RefreshToken', `t-${id}`), { payload: {}, family: `g-${id}` });
    }
    const listed = (await run(['list', '--upstream'])).stdout;
    assert.match(listed, new RegExp(`^${sub} corp {17}b-1 {2}Bob\\\\u\\{1b\\}$`, 'm'));
    assert.equal(JSON.parse((await run(['list', '--upstream', '--json'])).stdout).users.length, 2);
    // Broken off in the middle: what is left is ended by the next call.
    t.mock.method(records, 'removeFamily', () => Promise.reject(new Error('the disk is away')), { times: 1 });
    await assert.rejects(run(['forget', sub]));
    assert.match((await run(['list', '--upstream'])).stdout, new RegExp(sub));
    assert.equal((await run(['forget', sub])).stdout, `forgot ${sub}\n`);
    const left = async (id: string) => {
      const places = [key('Account', id), key('Session', `s-${id}`), key('Grant', `g-${id}`)];
      const found = [...places, key('RefreshToken', `t-${id}`)].map((place) => records.find(place, 0));
      return (await Promise.all(found)).filter((record) => record !== undefined).length;
    };
    assert.deepEqual([await left(sub), await left(other)], [0, 4]);
    assert.doesNotMatch((await run(['list', '--upstream'])).stdout, new RegExp(sub));
    await assert.rejects(run(['forget', sub]), /no person of an identity provider has this sub/);
  });

  test('a second factor is shown once, and can be taken away', async (t) => {
    const { run, users } = await world(t);
    await run(['add', 'ada'], PASSWORD);
    const { stdout, stderr } = await run(['totp', 'ada']);
    assert.match(stdout, /^otpauth:\/\/totp\/id\.example\.com:ada\?.*\nsecret [A-Z2-7]{32}\n$/);
    assert.match(stderr, /not shown again/);
    assert.match((await run(['list'])).stdout, /ada {18}totp/);
    await run(['totp', 'ada', '--off']);
    assert.equal((await users.find('ada'))?.totpSecret, undefined);
    assert.equal(JSON.parse((await run(['list', '--json'])).stdout).users[0].hasTotp, false);
  });

  test('a long list comes in pages', async (t) => {
    const { run, users } = await world(t);
    for (let i = 0; i < 401; i++) await users.add({ username: `user${i}` });
    assert.equal((await run(['list'])).stdout.split('\n').length, 403);
  });

  test('a password that is typed is typed twice', async (t) => {
    const { run, users } = await world(t);
    await run(['add', 'ada'], [PASSWORD, PASSWORD]);
    assert.ok(await users.withPassword('ada', PASSWORD));
    await assert.rejects(run(['passwd', 'ada'], [PASSWORD, 'other']), /the two passwords differ/);
  });

  test('what is wrong is said', async (t) => {
    const { run } = await world(t);
    const tries: readonly [readonly string[], string, RegExp, number][] = [
      [['grow', 'ada'], '', /has no "grow"/, 2],
      [['add'], '', /needs a NAME/, 2],
      [['add', 'ada', 'bob'], '', /takes no "bob"/, 2],
      [['add', 'ada'], '', /no password/, 2],
      [['add', 'ada', '--claim', 'x'], PASSWORD, /KEY=VALUE/, 2],
      [['add', 'ada', '--claim', 'x=y'], PASSWORD, /a user has no claim x/, 1],
      [['add', 'ada'], 'short', /at least 8 characters/, 1],
      [['set', 'ada'], '', /needs a claim or tenants/, 2],
      [['set', 'ada', '--tenant', 'a', '--any-tenant'], '', /contradict/, 2],
      [['set', 'ada', '--name', 'x'], '', /there is no such user/, 1],
      [['set', 'ada', '--name', 'x', '--remove-claim', 'name'], '', /contradict/, 2],
      [['set', 'ada', '--phone', '1', '--remove-claim', 'phone_number'], '', /contradict/, 2],
      [['forget'], '', /needs a SUB/, 2],
      [['passwd', 'ada'], PASSWORD, /there is no such user/, 1],
      [['passwd', 'ada', '--password', '/nowhere'], '', /cannot read \/nowhere: ENOENT/, 1],
    ];
    for (const [line, typed, message, exitCode] of tries)
      await assert.rejects(run(line, typed), (error) => {
        assert.ok(error instanceof CommandError, String(error));
        assert.match(error.message, message);
        assert.equal(error.exitCode, exitCode);
        return true;
      });
  });

  test('on a terminal the password is asked for and not shown', async (t) => {
    if (isMissing(t, existsSync('/usr/bin/script'), 'script (util-linux, bsdutils) is not there')) return;
    const { users, socket } = await world(t);
    const line = `'${process.execPath}' '${MAIN}' users add ada --admin '${socket}'`;
    const terminal = spawn('/usr/bin/script', ['-qec', line, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let shown = '';
    const typing = [`${PASSWORD}x\x7f\r`, `${PASSWORD}\r`];
    terminal.stdout.on('data', (chunk: Buffer) => {
      shown += chunk;
      if (/(Password|Again): $/.test(shown)) terminal.stdin.write(typing.shift() ?? '');
    });
    const code = await new Promise((resolve) => terminal.on('close', resolve));
    assert.equal(code, 0, shown);
    assert.doesNotMatch(shown, /horse/);
    assert.ok(await users.withPassword('ada', PASSWORD));
  });
});
