/**
 * Rotation while everybody is at work: clients mint without pause, verifiers keep
 * the JWKS for as long as its Cache-Control says and never ask again sooner, and
 * the keys rotate ten times, each as soon as it may. Nobody notices.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { ask, askToken, decode } from '../system/ask.ts';
import { AUDIENCE, createPlace, OWN_UID, ruleFor, start, writeConfig } from '../system/start.ts';

const CLIENTS = 16;
const VERIFIERS = 4;
const ROTATIONS = 10;
/** The ring holds ten keys at most, so the last rotations wait until the first key's tokens have expired. */
const PATIENCE_MS = 180_000;
/** Every so many tokens one is kept, and verified again and again until it expires. */
const KEPT = 200;

type Verify = (token: string) => Promise<void>;

/** A relying party with an HTTP cache, and no mercy for a key that it does not know. */
function createVerifier(issuer: string): Verify {
  let cached: { readonly keys: ReturnType<typeof createLocalJWKSet>; readonly until: number } | undefined;
  let fetching: Promise<typeof cached> | undefined;
  const fetchKeys = async () => {
    const { headers, json } = await ask(issuer, '/.well-known/jwks');
    const maxAge = Number(/max-age=(\d+)/.exec(headers['cache-control'] ?? '')?.[1]);
    return { keys: createLocalJWKSet(json()), until: performance.now() + maxAge * 1000 };
  };
  return async (token) => {
    if (cached === undefined || performance.now() >= cached.until) {
      fetching ??= fetchKeys().finally(() => {
        fetching = undefined;
      });
      cached = await fetching;
    }
    assert.ok(cached);
    await jwtVerify(token, cached.keys, { issuer, audience: AUDIENCE, algorithms: ['RS256'] });
  };
}

it('ten rotations under load: no minting fails, no verification fails', async (t) => {
  const place = await createPlace(t);
  const path = join(place.directory, 'token');
  writeConfig(place, {
    keys: { store: 'memory', rotateEvery: '2s' },
    rules: [ruleFor({ ttl: '1m' })],
    tokens: [{ path, audience: AUDIENCE, owner: OWN_UID }],
  });
  const server = await start(t, place);
  const verifiers = Array.from({ length: VERIFIERS }, () => createVerifier(place.issuer));
  const agent = new Agent({ keepAlive: true, maxSockets: CLIENTS });
  t.after(() => agent.destroy());

  const failures: string[] = [];
  const kids = new Set<unknown>();
  const kept = new Map<string, number>();
  const files = new Set<string>();
  let minted = 0;
  let isOver = false;

  const verify = async (token: string, what: string) => {
    const verifier = verifiers[minted % VERIFIERS] ?? assert.fail();
    await verifier(token).catch((error) => failures.push(`${what}: ${error.message}`));
  };
  const mintOn = async () => {
    while (!isOver) {
      const answer = await askToken(place.socket, { aud: AUDIENCE }, { agent }).catch(String);
      minted += 1;
      if (typeof answer === 'string' || answer.status !== 200) {
        failures.push(`minting: ${typeof answer === 'string' ? answer : answer.text}`);
        continue;
      }
      const { header, claims } = decode(answer.text);
      kids.add(header.kid);
      if (minted % KEPT === 0) kept.set(answer.text, claims.exp);
      await verify(answer.text, 'a fresh token');
    }
  };
  const verifyKept = async () => {
    while (!isOver) {
      for (const [token, exp] of kept) {
        if (exp - 1 < Date.now() / 1000) kept.delete(token);
        else await verify(token, `a token with ${exp - Math.floor(Date.now() / 1000)} s to live`);
      }
      const file = readFileSync(path, 'utf8');
      files.add(file);
      await verify(file, 'the token file');
      await sleep(200);
    }
  };
  const watch = async () => {
    const deadline = performance.now() + PATIENCE_MS;
    while (kids.size <= ROTATIONS && failures.length === 0 && performance.now() < deadline) await sleep(100);
    isOver = true;
  };
  await Promise.all([watch(), verifyKept(), ...Array.from({ length: CLIENTS }, mintOn)]);

  t.diagnostic(`${minted} tokens, ${kids.size - 1} rotations, ${files.size} tokens in the file`);
  assert.deepEqual(failures.slice(0, 5), []);
  assert.ok(kids.size > ROTATIONS, `only ${kids.size - 1} rotations`);
  assert.ok(files.size > 1, 'the token file was not refreshed');
  assert.equal(await server.stop(), 0);
});
