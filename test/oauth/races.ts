/** A hundred at once use what is good once: one of them wins, and what they lost with is what RFC 6749 says. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { ruleFor, type Settings } from '../system/start.ts';
import { authorization, codeForm, DEVICE, granted, isActive, refreshForm, token } from './flows.ts';
import { type Answer, hashOf } from './server.ts';
import { CLIENTS, PASSWORD, type Site } from './site.ts';

const RACERS = 100;
const FORGE = 'https://forge.example.com';
const CLOUD = 'sts.amazonaws.com';
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'f', alg: 'ES256' }] };

/** What the site needs beside its own. */
export const RACE_OAUTH: Settings = {
  clients: [
    ...CLIENTS,
    { id: 'signed', jwks, grants: ['client_credentials'], scopes: ['orders.read'] },
    { id: 'gate', secrets: [hashOf('gate')], grants: ['jwt_bearer'], scopes: [] },
  ],
};
export const RACE_SETTINGS: Settings = {
  attestors: { unix: {}, jwt: { issuers: { forge: { issuer: FORGE, jwks } } } },
  rules: [
    ruleFor(),
    { name: 'builds', match: ['jwt:issuer:forge'], subject: 'build:{jwt.subject}', audiences: [CLOUD] },
  ],
};

const sign = ({ issuer }: Site, by: string, sub: string) =>
  new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', kid: 'f' })
    .setIssuer(by)
    .setSubject(sub)
    .setAudience(issuer)
    .setJti(randomUUID())
    .setIssuedAt()
    .setExpirationTime('2m')
    .sign(pair.privateKey);

type Form = Readonly<Record<string, string>>;

/** The one answer that won. */
async function race(site: Site, form: Form, id: string | undefined, error: string): Promise<Form> {
  const answers = await Promise.all(Array.from({ length: RACERS }, () => token(site, form, id)));
  const won = answers.filter(({ status }) => status === 200);
  const said = (all: readonly Answer[]) =>
    JSON.stringify([...new Set(all.map(({ status, body }) => `${status} ${body.error}`))]);
  assert.equal(won.length, 1, said(answers));
  const lost = answers.filter(({ status }) => status !== 200);
  assert.ok(
    lost.every(({ body }) => body.error === error),
    said(lost),
  );
  return won[0]?.body as Form;
}

/** Reuse ended the family of what was won. */
async function assertEnded(site: Site, won: Form, form: Form, id?: string): Promise<void> {
  assert.equal((await token(site, { ...refreshForm(won), ...form }, id)).body.error, 'invalid_grant');
  assert.equal(await isActive(site, won.access_token), false, 'half of a family lives');
}

async function signedIn(site: Site): Promise<Form> {
  const { username } = await site.addUser();
  const { url, verifier } = authorization(site, 'trusted');
  const browser = site.browser();
  const page = await browser.open(url);
  return codeForm(await browser.submit(page, /\/login$/, { username, password: PASSWORD }), verifier);
}

async function approvedDevice(site: Site): Promise<Form> {
  const { username } = await site.addUser();
  const asked = await site.post('/connect/deviceauthorization', { client_id: 'tv' });
  const browser = site.browser();
  let page = await browser.open(String(asked.body.verification_uri_complete));
  page = await browser.submit(page, /\/device$/, { confirm: 'yes' });
  page = await browser.submit(page, /\/login$/, { username, password: PASSWORD });
  await browser.submit(page, /\/consent$/, { decision: 'allow' });
  return { grant_type: DEVICE, device_code: String(asked.body.device_code), client_id: 'tv' };
}

/** To be called inside of a suite whose `site` is there by the time that its tests run. */
export function raceTests(site: () => Site): void {
  test('a code', async () => {
    const won = await race(site(), await signedIn(site()), 'trusted', 'invalid_grant');
    await assertEnded(site(), won, {}, 'trusted');
  });

  test('a refresh token', async () => {
    const first = await granted(site(), await signedIn(site()), 'trusted');
    const won = await race(site(), refreshForm(first), 'trusted', 'invalid_grant');
    await assertEnded(site(), won, {}, 'trusted');
    assert.equal(await isActive(site(), first.access_token), false);
  });

  test('a device code', async () => {
    const form = await approvedDevice(site());
    const won = await race(site(), form, undefined, 'invalid_grant');
    await token(site(), form); // polls at the same moment are no reuse: this one is
    await assertEnded(site(), won, { client_id: 'tv' });
  });

  test("a client's assertion", async () => {
    const assertion = await sign(site(), 'signed', 'signed');
    const type = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
    const form = {
      grant_type: 'client_credentials',
      client_assertion_type: type,
      client_assertion: assertion,
    };
    await race(site(), form, undefined, 'invalid_client');
  });

  test('an assertion as the grant', async () => {
    const assertion = await sign(site(), FORGE, 'repo-7');
    const type = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
    await race(site(), { grant_type: type, assertion, audience: CLOUD }, 'gate', 'invalid_grant');
  });

  test('a one-time code', async () => {
    const { username, code } = await site().addUser(true);
    const form = { grant_type: 'password', username, password: PASSWORD, otp: code() };
    await race(site(), form, 'legacy', 'invalid_grant');
  });
}
