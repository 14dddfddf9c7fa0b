import assert from 'node:assert/strict';
import {
  mkdir,
  mkdtemp,
  open as openFile,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { before, suite, type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { IssuerError } from '../../src/core/errors.ts';
import type { IssuerParts } from '../../src/core/issuer.ts';
import type { KeyRing } from '../../src/core/key-ring.ts';
import { codeOf, open, type TokenFile } from '../../src/doors/token-files.ts';
import { issuerOf } from '../fakes/issuer.ts';
import { policyOf } from '../fakes/policy.ts';
import { realRing } from '../fakes/rings.ts';
import { WEB } from '../fakes/workload.ts';
import { isMissing } from '../stores/requires.ts';

const [uid, gid] = [process.geteuid!(), process.getegid!()];
type Outcome = { readonly path: string; readonly error?: unknown; readonly expiresAt?: number };

suite('token files', () => {
  let ring: KeyRing;
  before(async () => {
    ring = await realRing(['ES256']);
  });

  async function scratch(t: TestContext): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'mintmark-tokens-'));
    t.after(() => rm(path, { recursive: true }));
    return path;
  }

  const fileAt = (path: string, more: Partial<TokenFile> = {}): TokenFile => ({
    path,
    audience: 'sts.amazonaws.com',
    uid,
    gid,
    mode: 0o400,
    principalTags: false,
    vouched: () => ({ workload: WEB, rule: undefined }),
    ...more,
  });

  /** Opens the files on timers that the test moves; `outcome` waits for the next refresh. */
  async function opened(
    t: TestContext,
    files: readonly TokenFile[],
    parts: Partial<IssuerParts> = {},
    random = 0,
    isPublished?: (keyId: string) => boolean,
  ) {
    t.mock.timers.reset();
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const policy = policyOf({ algorithm: 'ES256', principalTags: { team: 'x' } });
    const { issuer, clock } = issuerOf(ring, { policy: () => policy, ...parts });
    const outcomes: Outcome[] = [];
    let wake: () => void = () => undefined;
    const tokens = await open({
      files,
      issuer,
      now: clock.now,
      random: () => random,
      ...(isPublished && { isPublished }),
      onRefresh: ({ path }, result) => {
        outcomes.push({ path, ...result });
        wake();
      },
    });
    t.after(() => tokens.close());
    const outcome = async () => {
      while (outcomes.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      await new Promise(setImmediate); // the next timer is set after the report
      return outcomes.shift()!;
    };
    // In steps, since a timer that is set within a tick counts from the tick's end.
    const tick = (seconds: number) => {
      for (let left = seconds; left > 0; left -= 30) t.mock.timers.tick(Math.min(left, 30) * 1000);
    };
    return { tokens, outcomes, outcome, tick, clock };
  }

  const jtiOf = async (path: string) => decodeJwt(await readFile(path, 'utf8')).jti;

  test('hold a token with the mode asked for before anybody is told to go on', async (t) => {
    const directory = await scratch(t);
    const paths = [join(directory, 'a'), join(directory, 'b')];
    const files = [fileAt(paths[0]!), fileAt(paths[1]!, { mode: 0o640, principalTags: true })];
    const { tokens, outcomes, clock } = await opened(t, files);
    assert.deepEqual(tokens.missing(), []);
    assert.deepEqual(
      outcomes.map(({ expiresAt }) => expiresAt),
      [clock.now() + 600, clock.now() + 600],
    );
    const [a, b] = await Promise.all(paths.map(async (path) => decodeJwt(await readFile(path, 'utf8'))));
    assert.equal(a!.aud, 'sts.amazonaws.com');
    assert.equal(a!['https://aws.amazon.com/tags'], undefined);
    assert.ok(b!['https://aws.amazon.com/tags']);
    assert.deepEqual(
      await Promise.all(paths.map(async (path) => (await stat(path)).mode & 0o7777)),
      [0o400, 0o640],
    );
    assert.deepEqual((await readdir(directory)).sort(), ['a', 'b']);
  });

  test('belong to their owner', async (t) => {
    if (isMissing(t, uid === 0, 'only root gives files away')) return;
    const path = join(await scratch(t), 'token');
    await opened(t, [fileAt(path, { uid: 65_534, gid: 65_533 })]);
    const { uid: owner, gid: group, mode } = await stat(path);
    assert.deepEqual([owner, group, mode & 0o7777], [65_534, 65_533, 0o400]);
  });

  test('are refreshed at half life, some earlier than others', async (t) => {
    for (const [random, seconds] of [
      [0, 300],
      [0.5, 285],
      [0.999, 270.03],
    ] as const) {
      const path = join(await scratch(t), 'token');
      const { outcome, outcomes, tick } = await opened(t, [fileAt(path)], {}, random);
      await outcome();
      for (const jti of ['jti-2', 'jti-3']) {
        tick(seconds - 0.01);
        await new Promise(setImmediate);
        assert.equal(outcomes.length, 0);
        tick(0.02);
        await outcome();
        assert.equal(await jtiOf(path), jti);
      }
    }
  });

  test('are renewed soon after the clock was set back: what is in them is not valid yet', async (t) => {
    const path = join(await scratch(t), 'token');
    const { outcome, outcomes, tick, clock } = await opened(t, [fileAt(path)]);
    await outcome();
    clock.jump(-86_400);
    tick(30);
    await outcome();
    assert.equal(decodeJwt(await readFile(path, 'utf8')).iat, clock.now());
    tick(60);
    await new Promise(setImmediate);
    assert.equal(outcomes.length, 0);
  });

  test('are written a few at a time', async (t) => {
    const directory = await scratch(t);
    let [open, most] = [0, 0];
    const vouched = () => {
      open++;
      most = Math.max(most, open);
      setImmediate(() => open--);
      return { workload: WEB, rule: undefined };
    };
    const files = Array.from({ length: 100 }, (_, index) => fileAt(join(directory, `${index}`), { vouched }));
    const { tokens } = await opened(t, files);
    assert.deepEqual(tokens.missing(), []);
    assert.ok(most <= 16, `${most} at once`);
  });

  test('are replaced as a whole: who reads the old one goes on reading it', async (t) => {
    const path = join(await scratch(t), 'token');
    await writeFile(path, 'old', { mode: 0o644 });
    const reader = await openFile(path);
    t.after(() => reader.close());
    await opened(t, [fileAt(path)]);
    assert.equal(await reader.readFile('utf8'), 'old');
    assert.equal(await jtiOf(path), 'jti-1');
    assert.equal((await stat(path)).mode & 0o7777, 0o400);
  });

  test('in place of a symbolic link leave alone what it led to', async (t) => {
    const directory = await scratch(t);
    await writeFile(join(directory, 'precious'), 'precious');
    await symlink('precious', join(directory, 'token'));
    await opened(t, [fileAt(join(directory, 'token'))]);
    assert.equal(await readFile(join(directory, 'precious'), 'utf8'), 'precious');
    assert.equal(await jtiOf(join(directory, 'token')), 'jti-1');
  });

  test('keep the last good token while none can be had, and try again every 5 s', async (t) => {
    const path = join(await scratch(t), 'token');
    let policy = policyOf({ algorithm: 'ES256' });
    const { tokens, outcome, tick } = await opened(t, [fileAt(path)], { policy: () => policy });
    await outcome();
    policy = policyOf({ audiences: [] });
    tick(300);
    for (let attempt = 0; attempt < 3; attempt++) {
      assert.equal(codeOf((await outcome()).error), 'invalid_target');
      assert.equal(await jtiOf(path), 'jti-1');
      tick(5);
    }
    await outcome();
    policy = policyOf({ algorithm: 'ES256' });
    tick(5);
    assert.equal((await outcome()).error, undefined);
    assert.equal(await jtiOf(path), 'jti-2');
    assert.deepEqual(tokens.missing(), []);
  });

  test('that cannot be written are missing, and no piece of them stays', async (t) => {
    const directory = await scratch(t);
    const paths = ['absent/token', 'taken'].map((name) => join(directory, name));
    await mkdir(paths[1]!);
    const { tokens, outcome, tick } = await opened(
      t,
      paths.map((path) => fileAt(path)),
    );
    assert.deepEqual(tokens.missing(), paths);
    const errors = [await outcome(), await outcome()];
    assert.ok(errors.every(({ error }) => error instanceof Error));
    assert.deepEqual(await readdir(directory), ['taken']);
    await mkdir(dirname(paths[0]!));
    await rm(paths[1]!, { recursive: true });
    tick(5);
    for (const path of paths) assert.equal((await outcome()).error, undefined, path);
    assert.deepEqual(tokens.missing(), []);
  });

  test('go nowhere when a directory in their path becomes a symbolic link', async (t) => {
    const directory = await scratch(t);
    const [home, system] = [join(directory, 'home'), join(directory, 'system')];
    await mkdir(join(home, 'aws'), { recursive: true });
    await mkdir(join(system, 'aws'), { recursive: true });
    const path = join(home, 'aws', 'token');
    const { outcome, tick } = await opened(t, [fileAt(path)]);
    assert.equal((await outcome()).error, undefined);
    await rename(join(home, 'aws'), join(home, 'aside'));
    await symlink(join(system, 'aws'), join(home, 'aws'));
    tick(300);
    const { error } = await outcome();
    assert.ok(error instanceof IssuerError);
    assert.match(error.detail, /"aws" is no directory, or a symbolic link/);
    await rm(join(home, 'aws'));
    await rename(home, join(directory, 'gone'));
    await symlink(system, home);
    tick(5);
    assert.match(String((await outcome()).error), /"home" is no directory/);
    assert.deepEqual(await readdir(join(system, 'aws')), []);
    assert.equal(await jtiOf(join(directory, 'gone/aside/token')), 'jti-1');
  });

  test('are refreshed at once when their key is gone, those of other keys are not', async (t) => {
    const directory = await scratch(t);
    const paths = ['a', 'b'].map((name) => join(directory, name));
    const files = paths.map((path) => fileAt(path));
    let signed = 0;
    const signer = {
      sign: async () => ({ token: `token ${++signed}`, keyId: `key ${signed}` }),
      close: async () => undefined,
    };
    const gone = new Set<string>();
    const isPublished = (keyId: string) => !gone.has(keyId);
    const { tokens, outcome, outcomes, tick } = await opened(t, files, { signer }, 0, isPublished);
    await outcome();
    await outcome();
    const before = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
    gone.add(before[0]!.replace('token', 'key')).add('key 3');
    tokens.keysChanged();
    assert.equal((await outcome()).path, paths[0]);
    tokens.keysChanged(); // key 3 was revoked while it signed
    assert.equal((await outcome()).path, paths[0]);
    assert.deepEqual(await Promise.all(paths.map((path) => readFile(path, 'utf8'))), ['token 4', before[1]]);
    tick(299);
    assert.deepEqual(outcomes, []);
    tick(2);
    assert.deepEqual([(await outcome()).error, (await outcome()).error], [undefined, undefined]);
    await tokens.close();
    gone.add('key 5').add('key 6');
    tokens.keysChanged();
    assert.equal(signed, 6);
  });

  test('are left as they are after close, also by a refresh under way', async (t) => {
    const path = join(await scratch(t), 'token');
    const signing = Promise.withResolvers<void>();
    let signed = 0;
    const signer = {
      sign: async () => {
        if (signed++ > 0) await signing.promise;
        return { token: `token ${signed}`, keyId: 'k' };
      },
      close: async () => undefined,
    };
    const { tokens, outcome, outcomes, tick } = await opened(t, [fileAt(path)], { signer });
    await outcome();
    tick(300);
    tokens.close();
    signing.resolve();
    const other = await opened(t, [fileAt(`${path}-of-another`)]); // takes the steps that a late refresh would
    other.tokens.close();
    tick(100_000);
    assert.equal(await readFile(path, 'utf8'), 'token 1');
    assert.deepEqual(outcomes, []);
    assert.equal(signed, 2);
  });

  test('are at rest when close is done: what was being written is there', async (t) => {
    const path = join(await scratch(t), 'token');
    const signed = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    let count = 0;
    const signer = {
      sign: async () => {
        signed[count++]!.resolve();
        return { token: `token ${count}`, keyId: 'k' };
      },
      close: async () => undefined,
    };
    const { tokens, outcome, tick } = await opened(t, [fileAt(path)], { signer });
    await outcome();
    tick(300);
    await signed[1]!.promise;
    await new Promise(setImmediate); // the token is signed, and its file takes many steps
    await tokens.close();
    assert.equal(await readFile(path, 'utf8'), 'token 2');
    assert.deepEqual(await readdir(dirname(path)), ['token']);
  });

  test('faults have a code for logs and metrics', () => {
    assert.equal(codeOf(new IssuerError('key_not_ready', 'x')), 'key_not_ready');
    assert.equal(codeOf(new Error('x')), 'server_error');
  });
});
