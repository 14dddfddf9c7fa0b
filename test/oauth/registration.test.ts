/** RFC 7591: clients that register themselves get no more than the configuration lets them. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { createPlace, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { basic, post, RESOURCES } from './server.ts';

const TOKEN = 'an-initial-access-token';
const SOUND = {
  client_name: 'New',
  grant_types: ['client_credentials'],
  response_types: [],
  redirect_uris: [],
};

suite('dynamic registration', () => {
  const scope = scopeOf();
  let issuer = '';
  before(async () => {
    const place = await createPlace(scope);
    const accessTokenFile = join(place.directory, 'registration-token');
    writeFileSync(accessTokenFile, `${TOKEN}\n`);
    const registration = { accessTokenFile, scopes: ['orders.read'] };
    writeConfig(place, { doors: { fly: {}, oauth: { resources: RESOURCES, registration } } });
    await start(scope, place);
    issuer = place.issuer;
  });

  async function register(metadata: object, token = TOKEN) {
    const response = await fetch(`${issuer}/connect/register`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, Accept: 'text/html' },
      body: JSON.stringify(metadata),
    });
    return { status: response.status, body: (await response.json()) as Record<string, string> };
  }

  test('a registered client gets tokens of the scopes that may be registered', async () => {
    const { status, body } = await register(SOUND);
    assert.equal(status, 201, JSON.stringify(body));
    const { client_id: id = '', client_secret: secret = '' } = body;
    const form = { grant_type: 'client_credentials' };
    const answer = await post(`${issuer}/connect/token`, form, basic(id, secret));
    assert.equal(answer.body.scope, 'orders.read', JSON.stringify(answer.body));
    const more = { ...form, scope: 'orders.write' };
    const refused = await post(`${issuer}/connect/token`, more, basic(id, secret));
    assert.equal(refused.body.error, 'invalid_scope');
    assert.equal((await post(`${issuer}/connect/token`, form, basic(id, 'x'))).status, 401);
  });

  test('nobody registers without the token', async () => {
    assert.equal((await register(SOUND, 'another')).status, 401);
  });

  for (const [name, more] of Object.entries({
    'a scope of others': { scope: 'orders.write' },
    'a scope that nobody knows': { scope: 'nonsense' },
    'its own scopes': { allowed_scopes: ['orders.write'] },
    'no consent': { require_consent: false },
    'a long life': { access_token_ttl: 86_400 },
    origins: { cors_origins: ['https://evil.example'] },
    'the password grant': { grant_types: ['password'] },
    'token exchange': { grant_types: ['urn:ietf:params:oauth:grant-type:token-exchange'] },
    'an address that we would fetch': {
      token_endpoint_auth_method: 'private_key_jwt',
      jwks_uri: 'https://169.254.169.254/keys',
    },
    attestation: {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_uri: 'mintmark:client:shop',
    },
  }))
    test(`a client cannot say: ${name}`, async () => {
      const { status, body } = await register({ ...SOUND, ...more });
      assert.equal(status, 400);
      assert.equal(body.error, 'invalid_client_metadata', JSON.stringify(body));
    });
});
