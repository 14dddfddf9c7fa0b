/** People whose requests may be cut off by the end of a replica: what is then allowed to be. */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { authorization, codeForm, isActive, refreshForm, token } from '../oauth/flows.ts';
import type { Answer } from '../oauth/server.ts';
import { PASSWORD, type Site } from '../oauth/site.ts';
import { until } from '../system/start.ts';

const PEOPLE = 3;
const WITHIN_MS = 500;
/** What the balancer says where no replica answers to the end. */
const CUT_OFF = 502;

type Form = Readonly<Record<string, string>>;

/** What became of each: a replica was killed in every round, while all of them asked as fast as they could. */
export async function killAtRandom(site: Site, rounds: number): Promise<string> {
  const outcomes: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const over = new AbortController();
    const people = Array.from({ length: PEOPLE }, () => live(site, outcomes, over.signal));
    await sleep(Math.random() * WITHIN_MS);
    await site.restart(round % site.replicas.length);
    over.abort();
    await Promise.all(people);
  }
  await site.verifyTokens();
  const count = (what: string) => outcomes.filter((each) => each === what).length;
  assert.ok(count('went on') + count('ended') > 0, 'nobody was cut off');
  return [...new Set(outcomes)].map((what) => `${what}: ${count(what)}`).join(', ');
}

/** Signs in and refreshes until it is over; begins again where it was cut off before it had a code. */
async function live(site: Site, outcomes: string[], over: AbortSignal): Promise<void> {
  const { username } = await addUser(site);
  const code = await until(async () => {
    const begun = await begin(site, username);
    if (begun === undefined) outcomes.push('began again');
    return begun;
  }, 'a code');
  let form: Form = code;
  let last: Answer['body'] | undefined;
  do {
    const answer = await token(site, form, 'trusted');
    if (answer.status === CUT_OFF) return goOn(site, form, last, outcomes);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    last = answer.body;
    form = refreshForm(last as Form);
  } while (!over.aborted);
  outcomes.push('untouched');
}

/** On a socket of a replica, which may be ending. */
function addUser(site: Site): ReturnType<Site['addUser']> {
  return until(() => site.addUser().catch(() => undefined), 'a user');
}

/** The form that redeems a code; undefined where a page was cut off. */
async function begin(site: Site, username: string): Promise<Form | undefined> {
  const { url, verifier } = authorization(site, 'trusted');
  const browser = site.browser();
  const asked = await browser.open(url);
  if (asked.status === CUT_OFF) return undefined;
  const page = await browser.submit(asked, /\/login$/, { username, password: PASSWORD });
  return page.status === CUT_OFF ? undefined : codeForm(page, verifier);
}

/** Nobody knows whether it was redeemed: if so, the next use ends the family; if not, it goes on. */
async function goOn(site: Site, form: Form, last: Answer['body'] | undefined, outcomes: string[]) {
  const again = await until(async () => {
    const answer = await token(site, form, 'trusted');
    return answer.status === CUT_OFF ? undefined : answer;
  }, 'an answer');
  if (again.status === 200) {
    outcomes.push('went on');
    assert.equal(await isActive(site, String(again.body.access_token)), true);
    assert.equal((await token(site, form, 'trusted')).body.error, 'invalid_grant', 'redeemed twice');
    assert.equal(await isActive(site, String(again.body.access_token)), false, 'half of a family lives');
    return;
  }
  assert.equal(again.body.error, 'invalid_grant', JSON.stringify(again.body));
  outcomes.push('ended');
  if (last !== undefined)
    assert.equal(await isActive(site, String(last.access_token)), false, 'half of a family lives');
}
