/** Rings of issuers that a door has made, where nobody's timer ticks. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { type HostingParts, openHostedIssuers } from '../../src/compose/hosted-issuers.ts';
import { openUntended, type RingParts } from '../../src/compose/keys.ts';
import type { KeyStore } from '../../src/core/key-ports.ts';
import type { HostedSpec, HostHooks } from '../../src/doors/vultr/parts.ts';
import { describeKey } from '../../src/signers/key-material.ts';
import { open as openMemory } from '../../src/stores/memory.ts';
import { refusal } from '../conformance/key-store.ts';
import { fakeClock } from '../fakes/clock.ts';
import { fakeRecords } from '../fakes/records.ts';
import { until } from '../system/start.ts';

const SPEC: HostedSpec = { ring: 'r1', identifier: 'https://id.example.com/v2/oidc/issuer/r1' };
const MAIN = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
const config = {
  issuer: 'https://id.example.com',
  keys: { rotateEverySeconds: 604_800, publishAtLeastSeconds: 86_400, store: { name: 'postgres' } },
} as RingParts['config'];

/** Documents that others write too, who tell of it. */
async function sharedStore() {
  const watches = new Map<string, () => void>();
  const store: KeyStore = {
    ...(await openMemory()),
    shared: true,
    watch(name, onChange) {
      watches.set(name, onChange);
      return () => watches.delete(name);
    },
  };
  return { store, watches };
}

async function open(
  t: TestContext,
  store: KeyStore,
  hooks: Partial<HostHooks> = {},
  clock = fakeClock(),
  onFault: HostingParts['onFault'] = () => undefined,
) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const parts = {
    ...{ config, store, clock, block: { accessTokenTtl: 3600, resources: [], spareKeys: 0 } },
    ...{ records: fakeRecords(), warn: () => undefined, onFault, ringChanged: () => undefined },
    attestor: { own: { identifier: config.issuer, keys: () => [describeKey(MAIN, 'RS256')] } },
  };
  const all = { exists: async () => true, all: async () => [], tidy: async () => undefined, ...hooks };
  const host = await openHostedIssuers(parts as unknown as HostingParts, all as unknown as HostHooks);
  t.after(() => host.close());
  return host;
}

test('what another replica changes in a ring in memory is taken over as soon as it is told', async (t) => {
  const { store, watches } = await sharedStore();
  const host = await open(t, store);
  await host.make(SPEC, undefined);
  const { keys } = (await host.documents(SPEC)).jwks;
  const other = await openUntended({
    ...{ identifier: SPEC.identifier, document: 'issuer-r1', store, config, clock: fakeClock() },
    policy: () => ({ algorithms: [], longestTtlSeconds: 600 }) as never,
    demands: { metadata: {}, longestTtlSeconds: 3600, algorithms: [] },
    ...{ onFault: () => undefined, onRing: () => undefined, mustExist: true },
  });
  await other.revoke(String(keys[0]?.kid));
  watches.get('issuer-r1')?.();
  await until(
    async () => !(await host.documents(SPEC)).jwks.keys.some(({ kid }) => kid === keys[0]?.kid) || undefined,
    () => 'the revoked key to leave',
  );
  await host.remove(SPEC);
  assert.equal(watches.size, 0);
});

test('one that is only looked at is not kept', async (t) => {
  const { store, watches } = await sharedStore();
  await (await open(t, store)).make(SPEC, undefined);
  const host = await openHostedIssuers(
    {
      ...{ config, store, clock: fakeClock(), block: { accessTokenTtl: 3600, resources: [], spareKeys: 0 } },
    } as never,
    {} as HostHooks,
  );
  t.after(() => host.close());
  watches.clear();
  assert.equal((await host.look(SPEC)).jwks.keys.length, 2);
  assert.equal(host.kept('issuer', SPEC.ring), undefined);
  await host.documents(SPEC);
  await host.look(SPEC);
  assert.deepEqual(host.kept('issuer', SPEC.ring), SPEC);
  assert.equal(watches.size, 1);
});

test('a key of the main issuer is no key of another', async (t) => {
  const { store } = await sharedStore();
  const host = await open(t, store);
  await assert.rejects(host.make(SPEC, MAIN), refusal('conflict'));
});

const HOUR = 3_600;

test('one that another replica has removed is dropped as soon as it is told, however much it is used', async (t) => {
  const { store, watches } = await sharedStore();
  await (await open(t, store)).make(SPEC, undefined);
  t.mock.timers.reset();
  watches.clear();
  const host = await open(t, store, { exists: async () => false });
  await host.documents(SPEC);
  assert.deepEqual(host.kept('issuer', SPEC.ring), SPEC);
  watches.get('issuer-r1')?.();
  await until(
    () => host.kept('issuer', SPEC.ring) === undefined || undefined,
    () => 'it to be dropped',
  );
});

test('one that is being made here stays, though its record is not ready, and no longer than that takes', async (t) => {
  const { store, watches } = await sharedStore();
  const clock = fakeClock();
  let asked = 0;
  const exists = async () => {
    asked++;
    return false;
  };
  const host = await open(t, store, { exists }, clock);
  await host.make(SPEC, undefined);
  const tell = async () => {
    const before = asked;
    watches.get('issuer-r1')?.();
    await until(
      () => asked > before || undefined,
      () => 'the look at it',
    );
    await new Promise(setImmediate);
  };
  await tell();
  assert.deepEqual(host.kept('issuer', SPEC.ring), SPEC);
  clock.advance(HOUR);
  await host.documents(SPEC);
  await tell();
  assert.equal(host.kept('issuer', SPEC.ring), undefined);
});

test('one whose ring became that of a provider while it was looked for does not end it there', async (t) => {
  const { store, watches } = await sharedStore();
  await (await open(t, store)).make(SPEC, undefined);
  t.mock.timers.reset();
  const [asked, answer] = [Promise.withResolvers<void>(), Promise.withResolvers<boolean>()];
  const exists = async () => {
    asked.resolve();
    return answer.promise;
  };
  const host = await open(t, store, { exists });
  await host.documents(SPEC);
  watches.get('issuer-r1')?.();
  await asked.promise;
  const taken = { ...SPEC, identifier: 'https://id.example.com/v2/oidc/provider/p1' };
  await host.documents(taken);
  answer.resolve(false);
  await new Promise(setImmediate);
  assert.deepEqual(host.kept('issuer', SPEC.ring), taken);
});

test('one whose ring is gone was removed where its record is gone too, and else has lost it', async (t) => {
  let isThere = true;
  const { store } = await sharedStore();
  const faults: string[] = [];
  const onFault = (operation: string, error: unknown) =>
    faults.push(`${operation} ${(error as Error).message}`);
  const host = await open(t, store, { exists: async () => isThere }, fakeClock(), onFault);
  for (const ask of [host.documents, host.look]) {
    isThere = false;
    await assert.rejects(ask.call(host, SPEC), refusal('not_found'));
    await new Promise(setImmediate);
    assert.deepEqual(faults.splice(0), []);
    isThere = true;
    await assert.rejects(ask.call(host, SPEC), refusal('server_error'));
    await new Promise(setImmediate);
    assert.match(faults.splice(0).join(), /^read [^,]*the stored key ring is gone$/);
  }
});
