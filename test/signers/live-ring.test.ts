import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { type KeyRing, type RingSettings, revoke, rotate } from '../../src/core/key-ring.ts';
import { refusal } from '../conformance/key-store.ts';
import { FAIL_BEFORE, LOSE_ANSWER, PROMPT } from '../fakes/key-store.ts';
import { decodeFakeRing, encodeFakeRing } from '../fakes/keys.ts';
import { DAY, emptyBackend, force, idOf, replicaOn, SETTINGS } from '../fakes/replica.ts';

suite('the live ring', () => {
  test('makes keys where there are none, and none where there are some', async () => {
    const backend = emptyBackend();
    const first = await replicaOn(backend).open();
    const again = await replicaOn(backend).open();
    assert.deepEqual(
      first.current.keys.map(({ state }) => state),
      ['active', 'next'],
    );
    assert.deepEqual(again.current, JSON.parse(JSON.stringify(first.current)));
    assert.equal(backend.commits, 1);
  });

  test('nothing takes effect before the store says that it is durable', async () => {
    const replica = replicaOn(emptyBackend());
    const live = await replica.open();
    const before = live.current;
    replica.plans.push(PROMPT, { effectAfter: 0, answerAfter: 20, isLost: false });
    const change = live.change(force);
    await new Promise(setImmediate);
    assert.equal(live.current, before);
    assert.equal(replica.rings.at(-1), before);
    replica.pass(20);
    assert.notEqual(idOf(await change), idOf(before));
    assert.equal(replica.rings.at(-1), live.current);
  });

  test('a write that fails leaves the ring in effect, and the next tick finds out what became of it', async () => {
    for (const [plan, isWritten] of [
      [FAIL_BEFORE, false],
      [LOSE_ANSWER, true],
    ] as const) {
      for (const shared of [true, false]) {
        const replica = replicaOn(emptyBackend(), {}, shared);
        const live = await replica.open();
        const before = live.current;
        replica.plans.push(...(shared ? [PROMPT] : []), plan);
        await assert.rejects(live.change(force), refusal('temporarily_unavailable'));
        assert.equal(live.current, before);
        assert.deepEqual(replica.faults, ['write temporarily_unavailable']);
        await live.tick();
        assert.equal(idOf(live.current) !== idOf(before), isWritten);
      }
    }
  });

  test('of two replicas that rotate at once one wins, and the other takes up what it wrote', async () => {
    const backend = emptyBackend();
    const replicas = [replicaOn(backend), replicaOn(backend)];
    const rings = await Promise.all(replicas.map(({ open }) => open()));
    for (const { pass } of replicas) pass(7 * DAY);
    await Promise.all(rings.map((live) => live.tick()));
    assert.equal(backend.commits, 2);
    assert.equal(idOf(rings[0]!.current), idOf(rings[1]!.current));
  });

  test('a replica that always loses gives up', async () => {
    const backend = emptyBackend();
    const { open } = replicaOn(backend);
    const live = await open();
    const meddle = (ring: KeyRing, now: number, settings: RingSettings) => {
      backend.stored = { ...backend.stored!, version: `${backend.stored!.version}0` };
      return force(ring, now, settings);
    };
    await assert.rejects(live.change(meddle), refusal('temporarily_unavailable', /changed by others/));
  });

  test('a store that fails at the start stops the start; a later fault is told and stays without effect', async () => {
    const { plans, faults, open } = replicaOn(emptyBackend());
    plans.push(FAIL_BEFORE);
    await assert.rejects(open(), refusal('temporarily_unavailable'));
    plans.push(PROMPT, FAIL_BEFORE);
    await assert.rejects(open(), refusal('temporarily_unavailable'));
    const live = await open();
    plans.push(FAIL_BEFORE);
    await live.tick();
    assert.deepEqual(
      faults.map((fault) => fault.split(' ')[0]),
      ['read', 'write', 'read'],
    );
  });

  test('a document that is gone is a fault and not written anew', async () => {
    const backend = emptyBackend();
    const { faults, open } = replicaOn(backend);
    const live = await open();
    backend.stored = undefined;
    await assert.rejects(live.change(force), refusal('server_error', /gone/));
    assert.deepEqual(faults, ['read server_error']);
    assert.equal(backend.stored, undefined);
  });

  test('a refused command writes nothing', async () => {
    const backend = emptyBackend();
    const { faults, open } = replicaOn(backend);
    const live = await open();
    const early = (ring: KeyRing, now: number) => rotate(ring, 'ES256', false, now, SETTINGS);
    await assert.rejects(live.change(early), refusal('conflict', /published/));
    await assert.rejects(
      live.change((ring, now) => revoke(ring, 'nobody', now, SETTINGS)),
      refusal('not_found'),
    );
    assert.equal(backend.commits, 1);
    assert.deepEqual(faults, []);
  });

  test('commands in one process follow one another', async () => {
    const backend = emptyBackend();
    const { open } = replicaOn(backend);
    const live = await open();
    const before = idOf(live.current);
    const [first, second] = await Promise.all([live.change(force), live.change(force)]);
    assert.equal(new Set([before, idOf(first), idOf(second)]).size, 3);
    assert.equal(live.current, second);
  });

  test('what was encoded and decoded is wiped, also where it was of no use', async () => {
    const backend = emptyBackend();
    const seen: Buffer[] = [];
    let isForeign = false;
    const { store, open } = replicaOn(backend, {
      encode(ring) {
        seen.push(encodeFakeRing(ring));
        return seen.at(-1)!;
      },
      decode(bytes) {
        if (isForeign) throw new IssuerError('server_error', 'of another format');
        return decodeFakeRing(bytes);
      },
    });
    const { read } = store;
    store.read = async (name) => {
      const found = await read(name);
      if (found !== undefined) seen.push(found.bytes as Buffer);
      return found;
    };
    const live = await open();
    await live.tick(); // the version that it has
    isForeign = true;
    backend.stored = { ...backend.stored!, version: 'newer' };
    await live.tick();
    assert.equal(seen.length, 3);
    for (const bytes of seen) assert.ok(bytes.length > 0 && bytes.every((byte) => byte === 0));
  });
});
