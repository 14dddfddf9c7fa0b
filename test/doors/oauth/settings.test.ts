import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { config } from '../../../src/doors/oauth/settings.ts';

const CLIENT = {
  id: 'shop',
  match: ['unix:user:web'],
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};

const BOUND = { dpop: true, grants: ['client_credentials', 'token_exchange', 'jwt_bearer'] };

const REFUSED: Readonly<Record<string, object>> = {
  'two ways to prove itself': { secretFile: '/etc/x' },
  'no way to prove itself': { match: undefined },
  'client_credentials for everybody': { match: undefined, public: true },
  'a code and nowhere to send it': { grants: ['authorization_code'] },
  'an unknown grant': { grants: ['implicit'] },
};

test('a client that is right', () => {
  assert.ok(v.safeParse(config, { clients: [CLIENT, { ...CLIENT, id: 'other', ...BOUND }] }).success);
});

for (const [name, change] of Object.entries(REFUSED))
  test(`a client with ${name} is refused`, () => {
    assert.equal(v.safeParse(config, { clients: [{ ...CLIENT, ...change }] }).success, false);
  });
