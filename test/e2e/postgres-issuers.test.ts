/** Issuers without Kubernetes on one PostgreSQL: what one changes, the other publishes and signs with at once. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, type TestContext, test } from 'node:test';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { decode, mint } from '../system/ask.ts';
import {
  AUDIENCE,
  createPlace,
  launch,
  mintmark,
  type Place,
  type Server,
  start,
  until,
  writeConfig,
} from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type PostgresServer, postgresMissing, startPostgres } from './postgres-server.ts';

const ISSUER = 'https://id.example.com';
/** Its keys may change faster than a day. */
const DEVELOPMENT = 'http://127.0.0.1:9';
const KEK = randomBytes(32);

const kidOf = async ({ socket }: Place) => decode(await mint(socket, { aud: AUDIENCE })).header.kid;
const rotate = ({ admin }: Place) => mintmark(['keys', 'rotate', '--force', '--admin', admin]);

suite('issuers on one PostgreSQL', { skip: postgresMissing() }, () => {
  let server: PostgresServer;
  const scope = scopeOf();
  before(async () => {
    server = await startPostgres(scope);
  });

  async function place(
    t: TestContext,
    url: string,
    kek: Buffer | null = KEK,
    more = {},
    issuer = ISSUER,
  ): Promise<Place> {
    const made = await createPlace(t);
    const [kekFile, urlFile] = [join(made.directory, 'kek'), join(made.directory, 'url')];
    writeFileSync(urlFile, url, { mode: 0o400 });
    if (kek !== null) writeFileSync(kekFile, kek, { mode: 0o400 });
    const encryption = kek === null ? undefined : { file: kekFile };
    writeConfig(made, { issuer, keys: { store: { postgres: { urlFile } }, encryption, ...more } });
    return made;
  }

  const versionOf = async (url: string): Promise<number> => {
    const { rows } = await server.sql(
      'SELECT version FROM mintmark.documents',
      new URL(url).pathname.slice(1),
    );
    return Number(rows[0].version);
  };

  test('rotate one ring: one wins, the others follow within a second', async (t) => {
    const url = await server.createDatabase();
    const places = await Promise.all([1, 2, 3].map(() => place(t, url)));
    const issuers = await Promise.all(places.map((each) => start(t, each)));
    const kids = await Promise.all(issuers.map(kidOf));
    assert.equal(new Set(kids).size, 1, 'they have one ring from the start');
    const [first, ...others] = issuers as [Server, ...Server[]];
    // For the watches, which nobody waits for at the start.
    await until(
      async () =>
        (await server.sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")).rowCount === 3,
      'the watches',
    );
    const { code, stderr } = await rotate(first);
    assert.equal(code, 0, stderr);
    const rotatedAt = performance.now();
    const rotated = await kidOf(first);
    assert.notEqual(rotated, kids[0]);
    for (const other of others) await until(async () => (await kidOf(other)) === rotated, 'the other issuer');
    const followed = performance.now() - rotatedAt;
    t.diagnostic(`followed ${Math.round(followed)} ms after the command`);
    assert.ok(followed < 1_000);

    const had = await versionOf(url);
    const outcomes = await Promise.all(issuers.map(rotate));
    const rotations = outcomes.filter((outcome) => outcome.code === 0).length;
    assert.ok(rotations > 0, JSON.stringify(outcomes));
    assert.equal((await versionOf(url)) - had, rotations, 'one winner for each version');
    await until(async () => new Set(await Promise.all(issuers.map(kidOf))).size === 1, 'one ring again');
    for (const verifier of issuers) {
      const jwks = createRemoteJWKSet(new URL(`http://127.0.0.1:${verifier.port}/.well-known/jwks`));
      for (const minter of issuers) await jwtVerify(await mint(minter.socket, { aud: AUDIENCE }), jwks);
    }
  });

  test('rotate by time as one', async (t) => {
    const url = await server.createDatabase();
    const often = { rotateEvery: '3s', publishAtLeast: '2s' };
    const issuers = await Promise.all(
      [1, 2].map(async () => start(t, await place(t, url, KEK, often, DEVELOPMENT))),
    );
    const seen = issuers.map(() => new Set<unknown>());
    const begunAt = performance.now();
    await until(async () => {
      const kids = await Promise.all(issuers.map(kidOf));
      for (const [n, kid] of kids.entries()) seen[n]?.add(kid);
      return seen.every(({ size }) => size >= 4);
    }, 'three rotations');
    const seconds = (performance.now() - begunAt) / 1000;
    assert.ok(seconds > 7, `three rotations in ${seconds} s: each has rotated by itself`);
    assert.deepEqual([...(seen[0] ?? [])].slice(0, 4), [...(seen[1] ?? [])].slice(0, 4));
  });

  test('go on signing while PostgreSQL is away, and rotate again when it is back', async (t) => {
    const url = await server.createDatabase();
    const issuer = await start(t, await place(t, url));
    const kid = await kidOf(issuer);
    await server.stop('immediate');
    assert.equal(await kidOf(issuer), kid);
    const refused = await rotate(issuer);
    assert.notEqual(refused.code, 0);
    await server.start();
    await until(async () => (await rotate(issuer)).code === 0, 'a rotation');
    assert.notEqual(await kidOf(issuer), kid);
    assert.equal(await issuer.stop(), 0);
    assert.doesNotMatch(issuer.output(), /p%25ss|p%ss/, 'the password is in no log line');
  });

  test('keep the ring sealed, and want a key-encryption key that is given', async (t) => {
    const url = await server.createDatabase();
    const failed = launch(t, await place(t, url, null));
    assert.notEqual(await failed.ended, 0);
    assert.match(failed.output(), /keys\.encryption must name the key-encryption key/);
    await (await start(t, await place(t, url))).stop();
    const { rows } = await server.sql('SELECT bytes FROM mintmark.documents', new URL(url).pathname.slice(1));
    assert.equal(rows.length, 1);
    assert.ok(!rows[0].bytes.includes('PRIVATE') && !rows[0].bytes.includes('"d"'));
    const foreign = launch(t, await place(t, url, randomBytes(32)));
    assert.notEqual(await foreign.ended, 0);
    assert.match(foreign.output(), /sealed with another key-encryption key/);
  });

  test('are checked without a word of the password', async (t) => {
    const { config: file } = await place(t, 'postgres://me:pass-word@127.0.0.1:1/mintmark');
    const check = (url: string) =>
      mintmark(['check', '--config', file], {
        env: { MINTMARK_KEYS_STORE: `{ postgres: { url: '${url}' } }` },
      });
    const right = await check('postgres://me:pass-word@127.0.0.1:1/mintmark');
    assert.equal(right.code, 0, right.stderr);
    assert.match(right.stdout, /url: postgres:\/\/me:\.\.\.@127\.0\.0\.1:1\/mintmark/);
    const wrong = await check('postgres://me:pass-word@127.0.0.1:1');
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /must name a user, a host and a database/);
    for (const { stdout, stderr } of [right, wrong]) assert.doesNotMatch(stdout + stderr, /pass-word/);
  });

  test('do not start where PostgreSQL is not, and say so without the password', async (t) => {
    const failed = launch(t, await place(t, 'postgres://me:pass-word@127.0.0.1:1/mintmark'));
    assert.notEqual(await failed.ended, 0);
    assert.match(failed.output(), /PostgreSQL 127\.0\.0\.1:1\/mintmark: connect ECONNREFUSED/);
    assert.doesNotMatch(failed.output(), /pass-word/);
  });
});
