/** A rule for a further algorithm where the ring has its ten keys. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { createPlace, mintmark, ruleFor, start, writeConfig } from './start.ts';

describe('a full ring', () => {
  it('says that a further algorithm gets no key, and a revoked key still has its successor', async (t) => {
    const place = await createPlace(t);
    const write = (algorithms: readonly string[]) =>
      writeConfig(place, {
        keys: { store: 'memory', publishAtLeast: '1h' },
        rules: algorithms.map((algorithm) => ruleFor({ name: algorithm, algorithm })),
      });
    write(['ES256', 'RS256', 'EdDSA', 'ES384']);
    const server = await start(t, place);
    const keys = async (...args: string[]) => {
      const { code, stdout, stderr } = await mintmark(['keys', ...args, '--admin', place.admin, '--json']);
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout).keys as { keyId: string; algorithm: string; state: string }[];
    };
    for (let times = 0; times < 3; times++) await keys('rotate', '--algorithm', 'ES256', '--force');
    write(['PS256', 'ES256', 'RS256', 'EdDSA', 'ES384']);
    server.signal('SIGHUP');
    await server.line(/^the ring is full: no PS256 key until a retired one leaves or is revoked$/);
    const isActive = (key: { algorithm: string; state: string }) =>
      key.algorithm === 'ES256' && key.state === 'active';
    const before = (await keys('list')).find(isActive);
    const after = (await keys('revoke', before?.keyId ?? '')).find(isActive);
    assert.ok(after !== undefined && after.keyId !== before?.keyId);
  });
});
