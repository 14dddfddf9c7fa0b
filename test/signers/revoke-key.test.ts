import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { activeKey, rotate } from '../../src/core/key-ring.ts';
import { ALGORITHMS, type Algorithm } from '../../src/core/ports.ts';
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

const isTold = (keyId: string) => (error: unknown) =>
  error instanceof IssuerError &&
  error.code === 'temporarily_unavailable' &&
  error.shown?.reason === `key ${keyId} is revoked, and no ES256 key signs in its place yet`;

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

  for (const hasRetired of [true, false])
    test(`in a full ring makes room for it before an algorithm that waits (${hasRetired})`, async () => {
      let algorithms: readonly Algorithm[] = ['ES256', 'RS256', 'EdDSA', 'ES384'];
      const { open } = replicaOn(emptyBackend(), { settings: () => ({ ...SETTINGS, algorithms }) });
      const live = await open();
      // ES256 has retired keys, RS256 next to nothing.
      for (let times = 0; times < 3; times++)
        await live.change((ring, now, own) => rotate(ring, 'ES256', true, now, own));
      assert.equal(live.current.keys.length, 10);
      algorithms = ['PS256', ...algorithms];
      await live.tick();
      const revoked: Algorithm = hasRetired ? 'ES256' : 'RS256';
      const inState = (state: string) =>
        live.current.keys.find((key) => key.algorithm === revoked && key.state === state)?.keyId ?? '';
      if (!hasRetired)
        await live.change((ring) => ({
          ...ring,
          keys: [
            ...ring.keys.filter((key) => key.keyId !== inState('next')),
            { ...ring.keys.find(({ state }) => state === 'retired')!, keyId: 'one more' },
          ],
        }));
      await revokeKey(live, inState('active'));
      assert.notEqual(inState('active'), '');
      assert.equal(activeKey(live.current, 'PS256'), undefined);
    });

  test('a store that fails in between leaves the key revoked, and nothing signs that was not published', async () => {
    const { live, plans, keyId } = await fullRing();
    plans.push(PROMPT, PROMPT, FAIL_BEFORE);
    await assert.rejects(revokeKey(live, keyId), isTold(keyId));
    assert.equal(activeKey(live.current, 'ES256'), undefined);
    assert.ok(live.current.keys.every((key) => key.keyId !== keyId));
  });
  test('a second step that is refused is not told as a refusal of the first', async () => {
    const { live, keyId } = await fullRing();
    let changes = 0;
    const change: typeof live.change = async (wanted) => {
      if (changes++ > 0) throw new IssuerError('conflict', 'there is no next ES256 key');
      return live.change(wanted);
    };
    await assert.rejects(revokeKey({ change }, keyId), isTold(keyId));
  });
});
