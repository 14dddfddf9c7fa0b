/** A registered client's keys, given or fetched from a server of its own. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportJWK } from 'jose';
import { buildCertificate } from '../../src/net/certificate.ts';
import { createPlace, defer, type Place, type Scope, start, writeConfig } from '../system/start.ts';
import { assertionForm, assertionOf } from './assertions.ts';
import { type Answer, post, RESOURCES } from './server.ts';

const TOKEN = 'an-initial-access-token-long-enough';
const METADATA = {
  grant_types: ['client_credentials'],
  scope: 'orders.read',
  token_endpoint_auth_method: 'private_key_jwt',
};

test('keys that are given, and keys that are fetched: bounded, over TLS, without a detour', async (t) => {
  const place = await createPlace(t);
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keys = { keys: [{ ...(await exportJWK(publicKey)), kid: 'one' }] };
  const { at, ca, asked } = await serveKeys(t, keys);
  const files = { ca: join(place.directory, 'ca.pem'), token: join(place.directory, 'registration') };
  writeFileSync(files.ca, ca);
  writeFileSync(files.token, TOKEN);
  const registration = {
    accessTokenFile: files.token,
    scopes: ['orders.read'],
    grants: ['client_credentials'],
  };
  writeConfig(place, { doors: { oauth: { resources: RESOURCES, registration } } });
  await start(t, place, { env: { NODE_EXTRA_CA_CERTS: files.ca } });
  const ask = async (more: object): Promise<Answer> => {
    const id = await register(place, more);
    const assertion = await assertionOf({ id, audience: place.issuer, key: privateKey });
    return post(`${place.issuer}/connect/token`, assertionForm(assertion));
  };
  for (const more of [{ jwks: keys }, { jwks_uri: `${at}/jwks` }]) {
    const answer = await ask(more);
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  }
  for (const path of ['/moved', '/large', '/broken', '/error', '/empty']) {
    const answer = await ask({ jwks_uri: `${at}${path}` });
    assert.deepEqual([answer.status, answer.body.error], [401, 'invalid_client'], path);
  }
  assert.deepEqual([...new Set(asked)].sort(), ['/broken', '/empty', '/error', '/jwks', '/large', '/moved']);
});

async function register({ issuer }: Place, more: object): Promise<string> {
  const response = await fetch(`${issuer}/connect/register`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...METADATA, ...more }),
  });
  const body = (await response.json()) as { readonly client_id: string; readonly client_secret?: string };
  assert.equal(response.status, 201, JSON.stringify(body));
  assert.equal(body.client_secret, undefined);
  return body.client_id;
}

async function serveKeys(scope: Scope, keys: object) {
  const [authority, own] = [1, 2].map(() => generateKeyPairSync('ec', { namedCurve: 'P-256' }));
  assert.ok(authority && own);
  const now = Math.floor(Date.now() / 1000);
  const common = {
    issuer: 'CA',
    issuerPublicKey: authority.publicKey,
    issuerPrivateKey: authority.privateKey,
    notBefore: now - 60,
    notAfter: now + 3600,
    names: ['localhost', '127.0.0.1'],
  };
  const ca = buildCertificate({ ...common, subject: 'CA', publicKey: authority.publicKey, role: 'ca' });
  const leaf = buildCertificate({ ...common, subject: 'Keys', publicKey: own.publicKey, role: 'server' });
  const bodies: Readonly<Record<string, string>> = {
    '/jwks': JSON.stringify(keys),
    '/large': JSON.stringify({ ...keys, more: 'x'.repeat(70_000) }),
    '/broken': '{"keys":',
    '/empty': '{"keys":[]}',
  };
  const asked: string[] = [];
  const key = own.privateKey.export({ type: 'pkcs8', format: 'pem' });
  const server = createServer({ key, cert: leaf.toString() }, ({ url = '' }, response) => {
    asked.push(url);
    const body = bodies[url];
    if (url === '/moved') response.writeHead(302, { Location: '/jwks' });
    else if (body === undefined) response.writeHead(500);
    response.end(body);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(scope, () => {
    server.closeAllConnections();
    server.close();
  });
  return { at: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, ca: ca.toString(), asked };
}
