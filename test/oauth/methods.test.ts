/** Every endpoint says in JSON which methods it takes (RFC 9110 section 15.5.6), and what is no endpoint too. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { createPlace, start, writeConfig } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { MACHINE, RESOURCES } from './server.ts';

const WRONG: readonly (readonly [path: string, methods: readonly string[]])[] = [
  ['/connect/authorize', ['PUT', 'DELETE', 'PATCH']],
  ['/connect/authorize/uid', ['POST', 'PUT']],
  ['/connect/token', ['GET', 'PUT', 'DELETE']],
  ['/connect/deviceauthorization', ['GET']],
  ['/connect/introspect', ['GET']],
  ['/connect/revocation', ['GET']],
  ['/connect/userinfo', ['PUT']],
  ['/connect/endsession', ['PUT']],
  ['/connect/endsession/confirm', ['GET']],
  ['/connect/endsession/success', ['POST']],
  ['/connect/par', ['GET']],
  ['/connect/register', ['GET', 'PUT', 'DELETE']],
  ['/connect/register/id', ['POST']],
  ['/device', ['PUT']],
  ['/device/uid', ['POST']],
  ['/.well-known/openid-configuration/jwks', ['POST']],
];
const NOTHING = ['/connect', '/connect/', '/connect/token/', '/connect/token/x', '/connect/authorize/a/b'];

suite('methods', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let issuer = '';
  before(async () => {
    const place = await createPlace(scope);
    ({ issuer } = place);
    const accessTokenFile = join(place.directory, 'registration');
    writeFileSync(accessTokenFile, 'an-initial-access-token-long-enough');
    const oauth = { clients: [MACHINE], resources: RESOURCES, registration: { accessTokenFile } };
    writeConfig(place, { doors: { oauth } });
    await start(scope, place);
  });

  for (const [path, methods] of WRONG)
    test(`${path} takes no ${methods.join(', ')}`, async () => {
      for (const method of methods) {
        const answer = await fetch(`${issuer}${path}`, { method });
        assert.equal(answer.status, 405, method);
        const { error } = (await answer.json()) as { readonly error?: unknown };
        assert.equal(error, 'method_not_allowed');
        assert.doesNotMatch(answer.headers.get('allow') ?? '', new RegExp(`\\b${method}\\b`));
        assert.notEqual(answer.headers.get('allow'), null);
      }
    });

  test('there is nothing elsewhere, in JSON', async () => {
    for (const path of NOTHING)
      for (const method of ['GET', 'POST']) {
        const answer = await fetch(`${issuer}${path}`, { method });
        assert.equal(answer.status, 404, `${method} ${path}`);
        const { error } = (await answer.json()) as { readonly error?: unknown };
        assert.equal(error, 'not_found');
      }
  });

  test('OPTIONS of a program that is in no browser', async () => {
    const answer = await fetch(`${issuer}/connect/token`, { method: 'OPTIONS' });
    assert.equal(answer.status, 204);
  });
});
