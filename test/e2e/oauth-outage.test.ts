/** PostgreSQL away while clients ask: what needs it is refused clearly and undone, the rest and what comes after goes on. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { authorization, codeForm, granted, isActive, refreshForm, token } from '../oauth/flows.ts';
import { type Answer, basic } from '../oauth/server.ts';
import { PASSWORD, type Site } from '../oauth/site.ts';
import { until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { startSharedSite } from './oauth-site.ts';
import { type PostgresServer, postgresMissing, startPostgres } from './postgres-server.ts';

const CLIENTS = 16;
const MACHINE = { grant_type: 'client_credentials' };

type Form = Readonly<Record<string, string>>;

async function signIn(site: Site): Promise<Form> {
  const { username } = await site.addUser();
  const { url, verifier } = authorization(site, 'trusted');
  const browser = site.browser();
  const asked = await browser.open(url);
  const page = await browser.submit(asked, /\/login$/, { username, password: PASSWORD });
  return granted(site, codeForm(page, verifier), 'trusted');
}

function assertUnavailable({ status, body, headers }: Answer): void {
  assert.equal(status, 503, `${status} ${JSON.stringify(body)}`);
  assert.equal(body.error, 'temporarily_unavailable');
  assert.equal(headers.get('retry-after'), '1');
  assert.equal(headers.get('cache-control'), 'no-store');
}

suite('PostgreSQL away from two replicas', { skip: postgresMissing(), concurrency: 1 }, () => {
  const scope = scopeOf();
  let postgres: PostgresServer;
  let site: Site;
  before(async () => {
    postgres = await startPostgres(scope);
    site = await startSharedSite(scope, postgres, 2);
  });

  test('what is told at each endpoint, and that machines go on', async (t) => {
    const person = await signIn(site);
    const { access_token: machines = '' } = await granted(site, MACHINE, 'machine');
    const browser = site.browser();
    const login = await browser.open(authorization(site, 'trusted').url);
    const second = await browser.open(authorization(site, 'trusted').url);
    await postgres.stop('immediate');
    try {
      const begunAt = performance.now();
      for (let n = 0; n < 20; n++) await granted(site, MACHINE, 'machine');
      t.diagnostic(`20 client_credentials without PostgreSQL: ${Math.round(performance.now() - begunAt)} ms`);
      await site.verifyTokens();
      assertUnavailable(await token(site, refreshForm(person), 'trusted'));
      const forms = { token: machines };
      assertUnavailable(await site.post('/connect/introspect', forms, basic('machine', 'machine')));
      assertUnavailable(await site.post('/connect/revocation', forms, basic('machine', 'machine')));
      assertUnavailable(await site.post('/connect/deviceauthorization', { client_id: 'tv' }));
      const device = { grant_type: 'urn:ietf:params:oauth:grant-type:device_code', client_id: 'tv' };
      assertUnavailable(await token(site, { ...device, device_code: 'x' }));
      const password = { grant_type: 'password', username: 'x', password: PASSWORD };
      assertUnavailable(await token(site, password, 'legacy'));
      const headers = { Authorization: `Bearer ${person.access_token}` };
      assert.equal((await fetch(`${site.issuer}/connect/userinfo`, { headers })).status, 503);
      const back = await site.browser().open(authorization(site, 'trusted').url);
      assert.equal(new URL(back.url).searchParams.get('error'), 'temporarily_unavailable', back.html);
      const page = await browser.submit(login, /\/login$/, { username: 'x', password: PASSWORD });
      assert.equal(page.status, 503);
      assert.match(page.html, /Try again in a moment/);
      const shown = await browser.open(`${site.issuer}/device`);
      assert.ok([200, 503].includes(shown.status), `${shown.status} ${shown.html}`);
    } finally {
      await postgres.start();
    }
    const again = await granted(site, refreshForm(person), 'trusted');
    assert.equal(await isActive(site, again.access_token), true);
    const { username } = await site.addUser();
    const page = await browser.submit(second, /\/login$/, { username, password: PASSWORD });
    assert.ok(page.url.includes('code='), 'the page from before still works');
  });

  test('restarted and crashed under load: every client goes on by itself', async (t) => {
    const families = await Promise.all(Array.from({ length: CLIENTS }, () => signIn(site)));
    const seen = new Map<string, number>();
    const lost = new Map<number, string>();
    let isOver = false;
    const note = ({ status, body }: Answer) => {
      const what = `${status}${body.error === undefined ? '' : ` ${body.error}`}`;
      seen.set(what, (seen.get(what) ?? 0) + 1);
    };
    const work = async (n: number) => {
      while (!isOver) {
        note(await token(site, MACHINE, 'machine'));
        const answer = await token(site, refreshForm(families[n] ?? {}), 'trusted');
        note(answer);
        if (answer.status === 200) families[n] = answer.body as Form;
        else if (answer.status === 503) await sleep(50);
        else lost.set(n, JSON.stringify(answer.body));
        if (lost.has(n)) return;
      }
    };
    const working = families.map((_, n) => work(n));
    for (const mode of ['fast', 'immediate', 'fast', 'immediate'] as const) {
      await sleep(700);
      await postgres.stop(mode);
      await sleep(300);
      await postgres.start();
    }
    await sleep(1_000);
    isOver = true;
    await Promise.all(working);
    t.diagnostic([...seen].map(([what, count]) => `${what}: ${count}`).join(', '));
    t.diagnostic(`${lost.size} of ${CLIENTS} must sign in again`);
    const allowed = ['200', '503 temporarily_unavailable', '400 invalid_grant'];
    assert.deepEqual(
      [...seen.keys()].filter((what) => !allowed.includes(what)),
      [],
    );
    assert.ok((seen.get('503 temporarily_unavailable') ?? 0) > 0);
    for (const [n, family] of families.entries()) {
      const isLost = lost.has(n);
      // Whose answer was lost with the connection was redeemed: the next use has ended the family.
      assert.equal(await isActive(site, family.access_token), !isLost, `client ${n}: ${lost.get(n)}`);
      if (!isLost) await granted(site, refreshForm(family), 'trusted');
    }
    await until(async () => (await token(site, MACHINE, 'machine')).status === 200, 'client_credentials');
    await site.verifyTokens();
  });
});
