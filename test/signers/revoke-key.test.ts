import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { activeKey } from '../../src/core/key-ring.ts';
import { ALGORITHMS } from '../../src/core/ports.ts';
import { revokeKey } from '../../src/signers/revoke-key.ts';
import { refusal } from '../conformance/key-store.ts';
import { FAIL_BEFORE, PROMPT } from '../fakes/key-store.ts';
import { DAY, emptyBackend, replicaOn, SETTINGS } from '../fakes/replica.ts';

const settings = () => ({ ...SETTINGS, algorithms: ALGORITHMS });

/** Ten keys: what signed until now is retired, and there is no room for next ones. */
async function fullRing() {
  const replica = replicaOn(emptyBackend(), { settings });
  const live = await replica.open();
  replica.pass(7 * DAY);
  await live.tick();
  assert.equal(live.current.keys.filter(({ state }) => state === 'next').length, 0);
  return { ...replica, live, keyId: activeKey(live.current, 'ES256')?.keyId ?? '' };
}

suite('to revoke a key', () => {
  test('lets the next one sign, in one step', async () => {
    const { open, rings } = replicaOn(emptyBackend());
    const live = await open();
    const [active, next] = live.current.keys.map(({ keyId }) => keyId);
    await revokeKey(live, active!);
    assert.equal(activeKey(live.current, 'ES256')?.keyId, next);
    assert.equal(rings.length, 2);
    await assert.rejects(revokeKey(live, active!), refusal('not_found'));
  });

  test('in a full ring publishes the key that signs from then on before it signs', async () => {
    const { live, rings, keyId } = await fullRing();
    await revokeKey(live, keyId);
    const [published, signing] = rings.slice(-2);
    const key = activeKey(signing!, 'ES256');
    assert.equal(activeKey(published!, 'ES256'), undefined);
    assert.equal(published!.keys.find((each) => each.keyId === key?.keyId)?.state, 'next');
    assert.ok([published, signing].every((ring) => ring!.keys.every((each) => each.keyId !== keyId)));
    assert.equal(signing!.keys.length, 10);
  });

  test('a store that fails in between leaves the key revoked, and nothing signs that was not published', async () => {
    const { live, plans, keyId } = await fullRing();
    plans.push(PROMPT, PROMPT, FAIL_BEFORE);
    await assert.rejects(revokeKey(live, keyId), refusal('temporarily_unavailable'));
    assert.equal(activeKey(live.current, 'ES256'), undefined);
    assert.ok(live.current.keys.every((key) => key.keyId !== keyId));
  });
});
