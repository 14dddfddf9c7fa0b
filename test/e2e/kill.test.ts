/** kill -9 at random points of rotations and of first starts: no start fails, and no key that somebody needs is lost. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from 'jose';
import { ask, decode, mint } from '../system/ask.ts';
import { AUDIENCE, createPlace, launch, type Place, ruleFor, start, writeConfig } from '../system/start.ts';

const ROTATIONS = 100;
/** A rotation takes some 10 ms, so that a process is killed within its first few. */
const KILL_WITHIN_MS = 60;
const FIRST_STARTS = 15;
/** Longer than it takes to make the first keys. */
const FIRST_START_MS = 500;
const MAX_KEYS = 10;
const RSA_AUDIENCE = 'https://rsa.example.com';

type Key = {
  readonly keyId: string;
  readonly algorithm: string;
  readonly state: string;
  readonly retiredAt?: number;
};
type Ring = { readonly keys: readonly Key[] };

/** What the world has seen, and may rely on. */
class Memory {
  readonly published = new Set<string>();
  readonly tokens = new Map<string, string>();
  /** Asked to be revoked, whether we heard of it or not. */
  readonly revoked = new Set<string>();
  rotations = 0;
}

function writeKept(place: Place): void {
  writeConfig(place, {
    keys: { store: { file: place.state } },
    rules: [
      ruleFor({ algorithm: 'ES256', ttl: '1h', maxTtl: '1h' }),
      ruleFor({ name: 'rsa', audiences: [RSA_AUDIENCE], ttl: '1h', maxTtl: '1h' }),
    ],
  });
}

const post = async (place: Place, path: string, fields: unknown): Promise<Ring> => {
  const answer = await ask(place.admin, path, { method: 'POST', body: JSON.stringify(fields) });
  assert.equal(answer.status, 200, answer.text);
  return answer.json();
};

/** Rotates as fast as it can until the connection breaks, and remembers what it saw. */
async function rotateOn(place: Place, memory: Memory): Promise<void> {
  for (let round = 0; ; round++) {
    let { keys } = (await ask(place.admin, '/v1/keys')).json<Ring>();
    const oldest = keys
      .filter(({ state }) => state === 'retired')
      .sort((a, b) => (a.retiredAt ?? 0) - (b.retiredAt ?? 0))[0];
    if (keys.length >= MAX_KEYS && oldest !== undefined) {
      memory.revoked.add(oldest.keyId);
      ({ keys } = await post(place, '/v1/keys/revoke', { keyId: oldest.keyId }));
    }
    const algorithm = round % 4 === 3 ? 'RS256' : 'ES256';
    memory.rotations += 1;
    await post(place, '/v1/keys/rotate', { algorithm, force: true });
    await remember(place, memory);
  }
}

async function remember(place: Place, memory: Memory): Promise<void> {
  const jwks = (await ask(place.issuer, '/.well-known/jwks')).json<{ keys: { kid: string }[] }>();
  for (const { kid } of jwks.keys) memory.published.add(kid);
  for (const aud of [AUDIENCE, RSA_AUDIENCE]) {
    const token = await mint(place.socket, { aud });
    memory.tokens.set(String(decode(token).header.kid), token);
  }
}

async function assertNothingLost(place: Place, memory: Memory): Promise<void> {
  const { keys } = (await ask(place.admin, '/v1/keys')).json<Ring>();
  const active = keys.filter(({ state }) => state === 'active').map(({ algorithm }) => algorithm);
  assert.deepEqual(active.sort(), ['ES256', 'RS256']);
  assert.ok(keys.length <= MAX_KEYS);
  const jwks = (await ask(place.issuer, '/.well-known/jwks')).json<JSONWebKeySet>();
  const kids = jwks.keys.map(({ kid }) => String(kid));
  assert.deepEqual(
    kids,
    keys.map(({ keyId }) => keyId),
  );
  const verifier = createLocalJWKSet(jwks);
  for (const kid of memory.published)
    if (!memory.revoked.has(kid)) assert.ok(kids.includes(kid), `${kid} is lost`);
  for (const [kid, token] of memory.tokens)
    if (!memory.revoked.has(kid)) await jwtVerify(token, verifier, { issuer: place.issuer });
}

it('a hundred rotations, killed at random', async (t) => {
  const place = await createPlace(t);
  writeKept(place);
  const memory = new Memory();
  let starts = 0;
  while (memory.rotations < ROTATIONS) {
    const server = await start(t, place);
    starts += 1;
    await assertNothingLost(place, memory);
    await remember(place, memory);
    // What breaks off when the process is killed is no failure; what it refuses before is.
    const rotating = rotateOn(place, memory).catch((error) => error);
    await sleep(Math.random() * KILL_WITHIN_MS);
    server.signal('SIGKILL');
    await server.ended;
    const error = await rotating;
    assert.match(error.code ?? '', /^E[A-Z]+$/, error);
  }
  const server = await start(t, place);
  await assertNothingLost(place, memory);
  assert.equal(await server.stop(), 0);
  t.diagnostic(
    `${memory.rotations} rotations, ${starts} kills, ${memory.published.size} keys, ${memory.revoked.size} revoked`,
  );
});

it('first starts, killed at random', async (t) => {
  let unfinished = 0;
  for (let round = 0; round < FIRST_STARTS; round++) {
    const place = await createPlace(t);
    writeKept(place);
    const first = launch(t, place);
    await sleep((FIRST_START_MS * (round + Math.random())) / FIRST_STARTS);
    first.signal('SIGKILL');
    await first.ended;
    if (!first.output().includes('"ready"')) unfinished += 1;
    const server = await start(t, place);
    await assertNothingLost(place, new Memory());
    await remember(place, new Memory());
    assert.equal(await server.stop(), 0);
  }
  t.diagnostic(`${unfinished} of ${FIRST_STARTS} were killed before they were ready`);
});
