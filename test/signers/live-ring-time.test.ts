/** How long a replica signs with what it knows, and what time it goes by. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { STALE_AFTER_SECONDS } from '../../src/signers/live-ring.ts';
import { refusal } from '../conformance/key-store.ts';
import { FAIL_BEFORE, LOSE_ANSWER } from '../fakes/key-store.ts';
import { DAY, emptyBackend, idOf, replicaOn } from '../fakes/replica.ts';

suite('what a replica may sign with', () => {
  const stale = refusal('temporarily_unavailable', /could not be read/);

  test('a shared store must have been read within 900 s', async () => {
    const { plans, pass, open } = replicaOn(emptyBackend());
    const live = await open();
    pass(STALE_AFTER_SECONDS);
    live.assertFresh();
    pass(1);
    assert.throws(() => live.assertFresh(), stale);
    plans.push(FAIL_BEFORE);
    await live.tick();
    assert.throws(() => live.assertFresh(), stale);
    await live.tick();
    live.assertFresh();
  });

  test('an answer is as old as its question', async () => {
    const { plans, pass, open } = replicaOn(emptyBackend());
    const live = await open();
    plans.push({ effectAfter: 0, answerAfter: 2000, isLost: false });
    const tick = live.tick();
    await new Promise(setImmediate);
    pass(2000);
    await tick;
    assert.throws(() => live.assertFresh(), stale);
  });

  test('a ring that cannot be decoded counts as not read', async () => {
    const backend = emptyBackend();
    const { pass, faults, open } = replicaOn(backend, {
      decode: () => {
        throw new IssuerError('server_error', 'of another format');
      },
    });
    const live = await open();
    backend.stored = { ...backend.stored!, version: 'newer' };
    pass(STALE_AFTER_SECONDS + 1);
    await live.tick();
    assert.throws(() => live.assertFresh(), stale);
    assert.deepEqual(faults, ['read server_error']);
  });

  test('a store of its own need not be read again', async () => {
    const { pass, open } = replicaOn(emptyBackend(), {}, false);
    const live = await open();
    pass(30 * DAY);
    live.assertFresh();
  });

  test('after a write of unknown outcome its own store must be read within 900 s', async () => {
    const { plans, pass, open } = replicaOn(emptyBackend(), {}, false);
    const live = await open();
    pass(30 * DAY);
    plans.push(LOSE_ANSWER, FAIL_BEFORE);
    await live.tick();
    pass(STALE_AFTER_SECONDS);
    live.assertFresh(); // the old key goes on
    pass(1);
    await live.tick();
    assert.throws(() => live.assertFresh(), stale);
    await live.tick();
    live.assertFresh();
  });
});

suite("the ring's time", () => {
  test('jumps of the wall clock rotate nothing and keep nothing', async () => {
    for (const jump of [-50 * 365 * DAY, 50 * 365 * DAY]) {
      const { clock, pass, open } = replicaOn(emptyBackend());
      const live = await open();
      const first = idOf(live.current);
      const startedAt = live.now();
      clock.jump(jump);
      pass(7 * DAY - 1);
      await live.tick();
      assert.equal(idOf(live.current), first);
      pass(1);
      await live.tick();
      assert.notEqual(idOf(live.current), first);
      assert.equal(live.now(), startedAt + 7 * DAY);
    }
  });

  test('a replica whose clock is behind follows what is stored', async () => {
    const backend = emptyBackend();
    const ahead = await replicaOn(backend).open();
    const behind = replicaOn(backend);
    behind.clock.jump(-3600);
    const live = await behind.open();
    assert.equal(live.now(), ahead.now());
    behind.pass(10);
    assert.equal(live.now(), ahead.now() + 10);
  });
});
