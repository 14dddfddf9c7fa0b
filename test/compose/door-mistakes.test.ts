/** What keeps `serve` from starting is told by `check`, all at once and each where it stands. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { attestors } from '../../src/attestors/index.ts';
import { checkMeaning } from '../../src/compose/check.ts';
import { type ConfigError, loadConfig } from '../../src/config.ts';
import { doors } from '../../src/doors/index.ts';
import { stores } from '../../src/stores/index.ts';
import { recordStores } from '../../src/stores/records.ts';
import { createPlace, mintmark, writeConfig } from '../system/start.ts';

const SECRETS = ['sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU'];
const MACHINE = { secrets: SECRETS, grants: ['client_credentials'] };
const WEB = { id: 'web', secrets: SECRETS, grants: ['authorization_code'], scopes: ['openid'] };
const PRIVATE = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
const { d: _d, ...PUBLIC } = PRIVATE;
const JWT = { issuers: { forge: { issuer: 'https://forge.example.com' } } };

/** With the warnings, where nothing is wrong. */
async function mistakesOf(oauth: object, settings: object = {}): Promise<readonly string[]> {
  const whole = {
    issuer: 'https://id.example.com',
    public: { listen: '127.0.0.1:8443', tls: { bootstrap: {} } },
    keys: { store: 'memory' },
    doors: { oauth },
    ...settings,
  };
  const tables = { attestors, doors, stores, records: recordStores };
  const loaded = await loadConfig({ text: JSON.stringify(whole), env: {}, tables });
  return checkMeaning(loaded, {}).then(
    (warnings) => warnings,
    ({ problems }: ConfigError) => problems.map(({ path, message }) => `${path}: ${message}`),
  );
}

suite('mistakes in doors.oauth', () => {
  test('what is right', async () => {
    const clients = [
      { ...MACHINE, id: 'gate', grants: ['token_exchange'], scopes: ['of.a.rule'] },
      {
        id: 'job',
        federated: { issuer: 'forge', subject: 'x' },
        grants: ['client_credentials'],
        scopes: ['read'],
      },
      { ...MACHINE, id: 'uid', secrets: undefined, match: ['unix:uid:1000'], scopes: ['read'] },
      { ...WEB, redirectUris: ['https://a.example/cb'], identityProviders: ['local', 'corp'] },
    ];
    const resources = [{ audience: 'https://a.example', scopes: ['read'], introspectedBy: ['gate'] }];
    const corp = { issuer: 'https://corp.example', clientId: 'x' };
    const people = { identityProviders: { corp } };
    const found = await mistakesOf({ clients, resources, people }, { attestors: { unix: {}, jwt: JWT } });
    assert.deepEqual(found, []);
  });

  test('all at once', async () => {
    const clients = [
      { ...MACHINE, id: 'a', secrets: undefined, match: ['unix:uid:1', 'foo:bar:x'] },
      { ...WEB, redirectUris: ['javascript:alert(1)'] },
      { ...MACHINE, id: 'key', secrets: undefined, jwks: { keys: [PRIVATE] } },
      { ...MACHINE, id: 'file', secrets: undefined, secretFile: '/nonexistent' },
      { ...MACHINE, id: 'job', secrets: undefined, federated: { issuer: 'nope', subject: 'x' } },
      { ...WEB, id: 'web2', redirectUris: ['https://a.example/cb'], identityProviders: ['local', 'nope'] },
      { ...MACHINE, id: 'scope', scopes: ['typo'] },
      { ...MACHINE, id: 'gate', grants: ['client_credentials', 'token_exchange', 'jwt_bearer'] },
    ];
    const resources = [{ audience: 'https://a.example', scopes: ['read'], introspectedBy: ['a', 'nobody'] }];
    const registration = { accessTokenFile: '/nonexistent' };
    const wanted = [
      /^doors\.oauth\.clients\[0\]\.match\[1\]: no attestor proves foo:bar$/,
      /^doors\.oauth\.clients\[3\]\.secretFile: cannot be read: ENOENT$/,
      /^doors\.oauth\.clients\[4\]\.federated\.issuer: no attestor proves jwt:issuer$/,
      /^doors\.oauth\.clients\[5\]\.identityProviders\[1\]: there is no such identity provider; known: local$/,
      /^doors\.oauth\.clients\[6\]\.scopes\[0\]: is a scope of no resource$/,
      /^doors\.oauth\.clients\[7\]\.grants\[1\]: needs attestors\.jwt/,
      /^doors\.oauth\.clients\[7\]\.grants\[2\]: needs attestors\.jwt/,
      /^doors\.oauth\.resources\[0\]\.introspectedBy\[1\]: there is no such client$/,
      /^doors\.oauth\.clients\[1\]: redirect_uris/,
      /^doors\.oauth\.clients\[2\]: client JSON Web Key Set is invalid/,
    ];
    const found = await mistakesOf({ clients, resources });
    assert.equal(found.length, wanted.length, found.join('\n'));
    for (const [index, pattern] of wanted.entries()) assert.match(found[index] ?? '', pattern);
    const registering = await mistakesOf({ resources, registration });
    assert.deepEqual(registering, ['doors.oauth.registration.accessTokenFile: cannot be read: ENOENT']);
  });

  test('addresses that look like more than they are', async () => {
    const web = {
      ...WEB,
      redirectUris: ['https://u:p@a.example/cb', 'https://*.example/cb', 'https://a.example/cb'],
      postLogoutRedirectUris: ['https://u@a.example/'],
    };
    assert.deepEqual(await mistakesOf({ clients: [web] }), [
      'doors.oauth.clients[0].redirectUris[0]: must name no user',
      'doors.oauth.clients[0].redirectUris[1]: must have no *: it counts as it is written',
      'doors.oauth.clients[0].postLogoutRedirectUris[0]: must name no user',
    ]);
  });

  test('what nobody can have, or be', async () => {
    const prod = { trustDomain: 'prod.example.org', jwks: { keys: [{ ...PUBLIC, use: 'jwt-svid' }] } };
    const jwt = { issuers: { ...JWT.issuers, prod } };
    const of = (subject: string) => ({
      ...MACHINE,
      ...{ id: subject, secrets: undefined, federated: { issuer: 'prod', subject } },
    });
    const clients = [
      { ...MACHINE, id: 'a', secrets: undefined, match: ['jwt:issuer:forge', 'oauth:client:b'] },
      of('spiffe://prod.example.org/web'),
      of('spiffe://other/web'),
      {
        ...MACHINE,
        id: 'c',
        corsOrigins: ['https://a.example/x', 'https://a.example', 'https://B.example/'],
      },
    ];
    assert.deepEqual(await mistakesOf({ clients }, { attestors: { unix: {}, jwt } }), [
      'doors.oauth.clients[0].match[0]: is of tokens, and no caller of the socket has it',
      'doors.oauth.clients[0].match[1]: is of tokens, and no caller of the socket has it',
      "doors.oauth.clients[2].federated.subject: is no SPIFFE ID of prod's trust domain: spiffe://prod.example.org/…",
      'doors.oauth.clients[3].corsOrigins[0]: is no origin: https://a.example is',
      'doors.oauth.clients[3].corsOrigins[2]: is no origin: https://b.example is',
    ]);
  });

  test('identity providers, and scopes of those who register', async () => {
    const corp = { issuer: 'https://corp.example', clientId: 'x', clientSecretFile: '/nonexistent' };
    const local = { issuer: 'https://corp.example', clientId: 'x' };
    const registration = { accessTokenFile: import.meta.filename, scopes: ['openid', 'read', 'nope'] };
    const resources = [{ audience: 'https://a.example', scopes: ['read'] }];
    const people = { identityProviders: { corp, local } };
    assert.deepEqual(await mistakesOf({ people, registration, resources }), [
      'doors.oauth.people.identityProviders.corp.clientSecretFile: cannot be read: ENOENT',
      'doors.oauth.people.identityProviders.local: is the name of the password form: give it another',
      'doors.oauth.registration.scopes[2]: is a scope of no resource',
    ]);
  });

  test('files with secrets and keys', async (t) => {
    const { directory } = await createPlace(t);
    const file = (name: string, text: string) => {
      writeFileSync(join(directory, name), text);
      return join(directory, name);
    };
    const secrets = [
      file('empty', '\n'),
      file('short', 'fifteen letters\n'),
      file('good', '16 letters of it\n'),
    ];
    const clients = secrets.map((secretFile, id) => ({
      ...MACHINE,
      id: `${id}`,
      secrets: undefined,
      secretFile,
    }));
    const corp = { issuer: 'https://corp.example', clientId: 'x', clientSecretFile: secrets[0] };
    assert.deepEqual(await mistakesOf({ clients, people: { identityProviders: { corp } } }), [
      'doors.oauth.clients[0].secretFile: is empty',
      'doors.oauth.clients[1].secretFile: has fewer than 16 characters: take what `mintmark secret` prints',
      'doors.oauth.people.identityProviders.corp.clientSecretFile: is empty',
    ]);
    const issuers = {
      gone: { issuer: 'https://gone.example', jwksFile: '/nonexistent' },
      torn: { issuer: 'https://torn.example', jwksFile: file('torn', '{') },
    };
    assert.deepEqual(await mistakesOf({}, { attestors: { jwt: { issuers } } }), [
      'attestors.jwt.issuers.gone.jwksFile: cannot be read: ENOENT',
      'attestors.jwt.issuers.torn.jwksFile: is no JSON',
    ]);
    const jwksFile = file('plain', JSON.stringify({ keys: [PUBLIC] }));
    const svid = file('svid', JSON.stringify({ keys: [{ ...PUBLIC, use: 'jwt-svid' }] }));
    const domains = {
      plain: { trustDomain: 'plain.example', jwksFile },
      svid: { trustDomain: 'svid.example', jwksFile: svid },
      forge: { issuer: 'https://forge.example', jwksFile },
    };
    const [warning, ...others] = await mistakesOf({}, { attestors: { jwt: { issuers: domains } } });
    assert.match(warning ?? '', /^attestors\.jwt\.issuers\.plain: no key has use: jwt-svid/);
    assert.deepEqual(others, []);
  });

  test('an issuer that is not among the trusted, and a further issuer', async () => {
    const job = { id: 'job', federated: { issuer: 'nope', subject: 'x' }, grants: ['client_credentials'] };
    const settings = { attestors: { jwt: JWT }, issuers: { acme: { oauth: { clients: [job] } } } };
    assert.deepEqual(await mistakesOf({}, settings), [
      'issuers.acme.oauth.clients[0].federated.issuer: there is no such issuer; known: forge',
    ]);
  });

  test('serve ends with the same words and code 2', async (t) => {
    const place = await createPlace(t);
    const file = { ...MACHINE, id: 'file', secrets: undefined, secretFile: '/nonexistent' };
    writeConfig(place, { doors: { oauth: { clients: [file, { ...MACHINE, id: 's', scopes: ['typo'] }] } } });
    for (const command of ['check', 'serve']) {
      const { code, stderr } = await mintmark([command, '--config', place.config]);
      assert.equal(code, 2, stderr);
      assert.match(
        stderr,
        /clients\[0\]\.secretFile: cannot be read: ENOENT\n.*clients\[1\]\.scopes\[0\]: is/,
      );
    }
  });
});
