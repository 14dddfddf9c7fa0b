/** Two replicas over one PostgreSQL: every flow goes on whichever of them answers, and when one is killed. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { FLOWS, type Flow, playAll, refused, token } from '../oauth/flows.ts';
import { PASSWORD } from '../oauth/site.ts';
import { ask } from '../system/ask.ts';
import { type Server, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { type SharedSite, startSharedSite } from './oauth-site.ts';
import { killAtRandom } from './oauth-victims.ts';
import { postgresMissing, startPostgres } from './postgres-server.ts';

const ALL = Object.values(FLOWS);
const KILLS = 16;
/** What stands for an id that is stored as a hash: as good as the id. */
const STAND_IN = /~[\w-]{43}\.[\w-]{43}/;

suite('two replicas over one PostgreSQL', { skip: postgresMissing(), concurrency: 1 }, () => {
  const scope = scopeOf();
  let site: SharedSite;
  before(async () => {
    site = await startSharedSite(scope, await startPostgres(scope), 2);
  });

  test('every flow goes on whichever of them answers', async (t) => {
    const { answered } = site.balancer;
    for (const [name, flow] of Object.entries(FLOWS)) {
      answered.clear();
      // Each request to the next; then, besides, each step begun at the other one.
      await playAll(site, [flow], async () => undefined);
      await playAll(site, [flow], async () => void site.balancer.ports.reverse());
      t.diagnostic(`${name}: ${[...answered.values()].join(' and ')} requests`);
      assert.equal(answered.size, 2);
    }
    await site.verifyTokens();
  });

  test('a user that was added on one is known on the other, and gone at once', async () => {
    const { username } = await site.addUser();
    for (const { admin } of site.replicas) {
      const { users } = (await ask(admin, '/v1/users?limit=1000')).json<{ users: { username: string }[] }>();
      assert.ok(users.some((user) => user.username === username));
    }
    const form = { grant_type: 'password', username, password: PASSWORD };
    const tries = [1, 2].map(() => token(site, form, 'legacy'));
    assert.deepEqual(
      (await Promise.all(tries)).map(({ status }) => status),
      [200, 200],
    );
    const [{ admin }] = site.replicas as [Server];
    const body = JSON.stringify({ username });
    assert.equal((await ask(admin, '/v1/users/remove', { method: 'POST', body })).status, 200);
    for (let n = 0; n < 2; n++) await refused(site, form, 'legacy');
  });

  for (const [name, rest] of [
    ['odd', 1],
    ['even', 0],
  ] as const)
    test(`the signing key is rotated on either of them after each ${name} step`, async () => {
      await site.revokeRetired();
      site.tokens.clear();
      await playAll(site, ALL, async (step) => (step % 2 === rest ? await site.rotate() : undefined));
      await site.verifyTokens();
    });

  test('one is killed at any moment: the flow goes on, or can be begun again', async (t) => {
    await site.revokeRetired();
    site.tokens.clear();
    t.diagnostic(await killAtRandom(site, KILLS));
  });

  test('every flow goes on when one is killed between two steps', async () => {
    let next = 0;
    await playAll(site, ALL, () => site.restart(next++ % 2));
    await site.verifyTokens();
  });

  test('nothing that was handed out is in the tables or in the logs', async (t) => {
    let rows = await site.rows();
    // After each step, since what has ended is removed.
    await playAll(site, ALL, async () => {
      rows += await site.rows();
    });
    const output = site.replicas.map((replica) => replica.output()).join();
    t.diagnostic(`${site.handed.size} values, ${rows.length} characters`);
    assert.ok(site.handed.size > 50 && rows.includes('RefreshToken'));
    const found = [...site.handed].filter(([value]) => rows.includes(value) || output.includes(value));
    assert.deepEqual(new Set(found.map(([, what]) => what)), new Set());
    assert.doesNotMatch(rows, STAND_IN);
    assert.ok([...site.handed.values()].includes('totp secret'));
  });

  test('the signing key is revoked on either of them after each step', async () => {
    await site.revokeRetired();
    site.oldTokensAreGone = true;
    await playAll(site, ALL as readonly Flow[], () => site.revokeActive());
    await until(async () => (await fetch(`${site.issuer}/.well-known/jwks`)).ok, 'the keys');
  });
});
