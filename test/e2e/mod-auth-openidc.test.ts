/**
 * A relying party of the real world: Apache with mod_auth_openidc before an application that has no login of
 * its own. Somebody signs in by our pages, the application sees who it is, and signs out everywhere.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openBrowser } from '../oauth/browser.ts';
import { adminPost } from '../oauth/people.ts';
import { hashOf, startOAuth } from '../oauth/server.ts';
import { isMissing } from '../stores/requires.ts';
import { createPlace, defer, type Place, until } from '../system/start.ts';

const APACHE = '/usr/sbin/apache2';
const MODULES = '/usr/lib/apache2/modules';
const LOADED = 'mpm_event authn_core authz_core authz_user proxy proxy_http auth_openidc'.split(' ');
const SECRET = 'a-secret-that-apache-knows-as-well';
const ADA = {
  username: 'ada',
  password: 'correct horse battery staple',
  claims: { name: 'Ada Lovelace', email: 'ada@example.com' },
};
/** Every address is opened. */
const NOWHERE = 'https://nowhere.invalid/';

test('mod_auth_openidc signs somebody in, names them to the application, and out again', async (t) => {
  const isThere = existsSync(APACHE) && existsSync(join(MODULES, 'mod_auth_openidc.so'));
  if (isMissing(t, isThere, 'there is no apache2 with mod_auth_openidc')) return;
  const place = await createPlace(t);
  const site = `http://127.0.0.1:${place.port}`;
  const server = await startOAuth(t, {
    clients: [
      {
        id: 'apache',
        name: 'The intranet',
        secrets: [hashOf(SECRET)],
        grants: ['authorization_code', 'refresh_token'],
        scopes: ['openid', 'profile', 'email'],
        redirectUris: [`${site}/protected/callback`],
        postLogoutRedirectUris: [`${site}/goodbye`],
      },
    ],
    people: { passwords: { cost: 10 } },
  });
  assert.equal(await adminPost(server.admin, '/v1/users/add', ADA), 200);
  const log = await startApache(t, place, server.issuer, await startApplication(t));
  await until(() => isUp(`${site}/goodbye`), log);

  const browser = openBrowser(NOWHERE);
  let page = await browser.open(`${site}/protected/page`);
  assert.ok(page.url.startsWith(server.issuer), page.url + page.html + log());
  page = await browser.submit(page, /\/login$/, { username: ADA.username, password: ADA.password });
  assert.match(page.html, /The intranet/);
  page = await browser.submit(page, /\/consent$/, { decision: 'allow' });
  assert.equal(page.status, 200, page.html + log());
  const { url, headers } = JSON.parse(page.html);
  assert.equal(url, '/protected/page');
  assert.equal(headers.oidc_claim_name, ADA.claims.name);
  assert.equal(headers.oidc_claim_email, ADA.claims.email);
  assert.equal(headers.oidc_claim_iss, server.issuer);
  assert.equal(headers.oidc_claim_aud, 'apache');
  assert.match(headers.oidc_access_token, /^eyJ/);
  assert.equal(headers['x-remote-user'], headers.oidc_claim_sub);

  const again = await browser.open(`${site}/protected/page`);
  assert.equal(JSON.parse(again.html).headers.oidc_claim_sub, headers.oidc_claim_sub, 'Apache has a session');
  const out = encodeURIComponent(`${site}/goodbye`);
  page = await browser.open(`${site}/protected/callback?logout=${out}`);
  assert.ok(page.url.startsWith(`${server.issuer}/connect/endsession`), page.url + log());
  page = await browser.submit(page, /endsession\/confirm$/, { logout: 'yes' });
  assert.equal(page.url, `${site}/goodbye`);
  page = await browser.open(`${site}/protected/page`);
  assert.match(page.html, /type="password"/, 'neither Apache nor the issuer knows the person any more');
});

/** Answers with what it was sent. */
async function startApplication(t: TestContext): Promise<number> {
  const application = createServer(({ url, headers }, response) =>
    response.end(JSON.stringify({ url, headers })),
  ).listen(0, '127.0.0.1');
  await once(application, 'listening');
  defer(t, () => {
    application.closeAllConnections();
    application.close();
  });
  return (application.address() as AddressInfo).port;
}

/** Resolves to what reads its log. */
async function startApache(
  t: TestContext,
  place: Place,
  issuer: string,
  application: number,
): Promise<() => string> {
  const file = join(place.directory, 'apache.conf');
  writeFileSync(file, configurationOf(place, issuer, application));
  chmodSync(join(place.directory, 'run'), 0o777);
  const child = spawn(APACHE, ['-f', file, '-D', 'FOREGROUND'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  const ended = once(child, 'exit');
  defer(t, () => {
    child.kill('SIGTERM');
    return ended;
  });
  const log = join(place.directory, 'error.log');
  return () => errors + (existsSync(log) ? readFileSync(log, 'utf8') : '');
}

function configurationOf({ directory, port }: Place, issuer: string, application: number): string {
  const site = `http://127.0.0.1:${port}`;
  const isRoot = process.getuid?.() === 0;
  return `
ServerRoot ${directory}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${directory}/apache.pid
DefaultRuntimeDir ${directory}/run
ErrorLog ${directory}/error.log
${isRoot ? 'User www-data\nGroup www-data' : ''}
${LOADED.map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
LogLevel warn auth_openidc:info
StartServers 1

OIDCProviderMetadataURL ${issuer}/.well-known/openid-configuration
OIDCClientID apache
OIDCClientSecret ${SECRET}
OIDCRedirectURI ${site}/protected/callback
OIDCCryptoPassphrase a-passphrase-for-this-test-alone
OIDCScope "openid profile email"
OIDCPKCEMethod S256
OIDCRemoteUserClaim sub
OIDCAuthNHeader X-Remote-User

ProxyPass / http://127.0.0.1:${application}/
<Location /protected>
  AuthType openid-connect
  Require valid-user
</Location>
`;
}

async function isUp(url: string): Promise<boolean> {
  return (await fetch(url).catch(() => undefined))?.status === 200;
}
