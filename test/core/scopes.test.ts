/** What a token of a client is for, and how long it may live. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideScopes } from '../../src/core/scopes.ts';

test('a resource bounds the life of its tokens, whatever the client has', () => {
  const resources = [
    { audience: 'https://a.example', scopes: ['a'], ttlSeconds: 300 },
    { audience: 'https://b.example', scopes: ['b'] },
  ];
  const ttlOf = (accessTokenTtlSeconds: number | undefined, scopes: readonly string[]) => {
    const scoped = decideScopes(
      { scopes: ['a', 'b'], accessTokenTtlSeconds },
      { scopes, audience: [], isPerson: false },
      { issuer: 'https://id.example', resources, ttlSeconds: 3600 },
    );
    assert.ok('ttlSeconds' in scoped);
    return scoped.ttlSeconds;
  };
  assert.equal(ttlOf(7200, ['a']), 300);
  assert.equal(ttlOf(7200, ['a', 'b']), 300);
  assert.equal(ttlOf(7200, ['b']), 7200, 'a client may have a longer life than the others');
  assert.equal(ttlOf(60, ['a']), 60);
  assert.equal(ttlOf(undefined, ['a']), 300);
});
