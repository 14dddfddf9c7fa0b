/** A flow whose requests may be cut off by the end of a replica: what is then allowed to be. */
import assert from 'node:assert/strict';
import { authorization, codeForm, isActive, refreshForm, token } from '../oauth/flows.ts';
import type { Answer } from '../oauth/server.ts';
import { PASSWORD, type Site } from '../oauth/site.ts';

const REFRESHES = 6;
/** What the balancer says of a replica that ended in the middle of an answer. */
const CUT_OFF = 502;

/** Signs in and refreshes as fast as it can; begins again where it was cut off before it had tokens. */
export async function playHurried(site: Site, outcomes: string[]): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const begun = await begin(site);
    if (begun === undefined) outcomes.push('began again');
    if (begun !== undefined) return outlive(site, begun, outcomes);
    assert.ok(attempt < 5, 'it cannot be begun again');
  }
}

type Form = Readonly<Record<string, string>>;

/** The form that redeems a code; undefined where a page was cut off. */
async function begin(site: Site): Promise<Form | undefined> {
  const { username } = await addUser(site);
  const { url, verifier } = authorization(site, 'trusted');
  const browser = site.browser();
  const asked = await browser.open(url);
  if (asked.status === CUT_OFF) return undefined;
  const page = await browser.submit(asked, /\/login$/, { username, password: PASSWORD });
  if (page.status === CUT_OFF) return undefined;
  return codeForm(page, verifier);
}

/** On a socket of a replica, which may be ending. */
async function addUser(site: Site): ReturnType<Site['addUser']> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await site.addUser();
    } catch (error) {
      if (attempt >= 50) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

async function outlive(site: Site, code: Form, outcomes: string[]): Promise<void> {
  let form = code;
  let last: Answer['body'] | undefined;
  for (let n = 0; n <= REFRESHES; n++) {
    const answer = await token(site, form, 'trusted');
    if (answer.status === CUT_OFF) return goOn(site, form, last, outcomes);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    last = answer.body;
    form = refreshForm(last as Form);
  }
  outcomes.push('untouched');
}

/** Nobody knows whether it was redeemed: if so, the next use ends the family; if not, it goes on. */
async function goOn(site: Site, form: Form, last: Answer['body'] | undefined, outcomes: string[]) {
  const again = await token(site, form, 'trusted');
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

export function outcomeOf(outcomes: readonly string[]): string {
  const count = (what: string) => outcomes.filter((each) => each === what).length;
  return [...new Set(outcomes)].map((what) => `${what}: ${count(what)}`).join(', ');
}

/** How many came through. */
export function hurried(outcomes: readonly string[]): number {
  return outcomes.filter((each) => each === 'untouched' || each === 'went on').length;
}
