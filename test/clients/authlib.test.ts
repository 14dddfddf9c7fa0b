/** Authlib, a client library that shares no code with us: code with PKCE, refresh, device, client credentials. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { exportJWK } from 'jose';
import { adminPost } from '../oauth/people.ts';
import { API, hashOf, startOAuth } from '../oauth/server.ts';
import { isMissing } from '../stores/requires.ts';
import { hasProgram, pythonPrograms } from './cache.ts';

const PROGRAM = fileURLToPath(new URL('python/oauth_client.py', import.meta.url));
const REDIRECT = 'https://shop.example.com/callback';
const SCOPES = ['openid', 'profile', 'offline_access', 'orders.read'];
const PASSWORD = 'correct horse battery staple';

const WEB = {
  id: 'web',
  secrets: [hashOf('web-secret')],
  grants: ['authorization_code', 'refresh_token'],
  scopes: SCOPES,
  redirectUris: [REDIRECT],
};
const TV = { id: 'tv', public: true, grants: ['device_code', 'refresh_token'], scopes: SCOPES };
const MACHINE = {
  id: 'machine',
  secrets: [hashOf('machine-secret')],
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};

test('Authlib (Python): code, refresh, userinfo, device, client credentials', async (t) => {
  if (isMissing(t, hasProgram('python3'), 'there is no python3')) return;
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signer = {
    id: 'signer',
    jwks: { keys: [{ ...(await exportJWK(publicKey)), alg: 'RS256' }] },
    grants: ['client_credentials'],
    scopes: ['orders.read'],
    tokenUrlAudience: true, // which is what Authlib says
  };
  const server = await startOAuth(t, {
    clients: [WEB, TV, MACHINE, signer],
    people: { passwords: { cost: 10 } },
    deviceInterval: '1s',
  });
  const ada = { username: 'ada', password: PASSWORD, claims: { name: 'Ada' } };
  assert.equal(await adminPost(server.admin, '/v1/users/add', ada), 200);
  const scope = SCOPES.join(' ');
  const seen = await ask({
    issuer: server.issuer,
    api: API,
    redirect_uri: REDIRECT,
    username: ada.username,
    password: PASSWORD,
    web: { id: 'web', secret: 'web-secret', scope },
    tv: { id: 'tv', scope },
    machine: { id: 'machine', secret: 'machine-secret' },
    signer: { id: 'signer', key: privateKey.export({ type: 'pkcs8', format: 'pem' }) },
  });
  assert.equal(seen.code.name, 'Ada');
  assert.deepEqual(seen.code.active, [true, false]);
  assert.equal(seen.code.claims.idp, 'local');
  assert.deepEqual([...(seen.code.claims.scope as string[])].sort(), [...SCOPES].sort());
  assert.equal(seen.device.before, 'authorization_pending');
  assert.equal(seen.device.claims.client_id, 'tv');
  assert.equal(seen.device.claims.sub, seen.code.claims.sub);
  assert.deepEqual(seen.machine, {
    client_secret_basic: 'machine',
    client_secret_post: 'machine',
    private_key_jwt: 'signer',
  });
});

type Claims = Readonly<Record<string, unknown>>;
type Seen = {
  readonly code: { readonly name: string; readonly claims: Claims; readonly active: readonly boolean[] };
  readonly device: { readonly before: string; readonly claims: Claims };
  readonly machine: Claims;
};

async function ask(question: object): Promise<Seen> {
  const python = join(pythonPrograms('requirements-oauth.txt'), 'python');
  const child = spawn(python, [PROGRAM, JSON.stringify(question)], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, AUTHLIB_INSECURE_TRANSPORT: '1' },
  });
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ]);
  assert.equal(code, 0, errors);
  return JSON.parse(output);
}
