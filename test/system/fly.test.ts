/** A program made for a Fly Machine, and its curl calls as Fly documents them. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { ask, askToken, decode, mint, TOKENS } from './ask.ts';
import { createPlace, OWN_UID, type Place, start, writeConfig } from './start.ts';
import { scopeOf } from './suite.ts';

const run = promisify(execFile);
const URL_AS_DOCUMENTED = 'http://localhost/v1/tokens/oidc';

describe('the Fly door', () => {
  const scope = scopeOf();
  let socket: string;
  let place: Place;
  let issuer: string;

  before(async () => {
    place = await createPlace(scope);
    mkdirSync(join(place.directory, '.fly'));
    socket = join(place.directory, '.fly', 'api');
    issuer = `${place.issuer}/acme`;
    writeConfig(place, {
      issuer,
      socket: { path: socket, mode: '0666' },
      doors: {
        fly: {
          audience: 'https://fly.io/acme',
          ...{ org: 'acme', orgId: '29873298', app: 'web', appId: '84398', region: 'iad' },
          ...{ machine: '148e21ea7e6389', machineName: 'small-dew-1', machineVersion: '01HC' },
          ...{ image: 'registry.fly.io/web:v1', imageDigest: 'sha256:abc' },
        },
      },
      rules: [
        {
          name: 'the machine',
          match: [`unix:uid:${OWN_UID}`],
          subject: '{fly.org}:{fly.app}:{fly.machine}',
          audiences: ['https://fly.io/acme', 'sts.amazonaws.com'],
          principalTags: { team: 'payments' },
          transitiveTags: ['team'],
        },
      ],
    });
    await start(scope, place);
  });

  const curl = async (...args: string[]) =>
    (await run('curl', ['-sS', '--fail-with-body', '--unix-socket', socket, ...args])).stdout;

  it("answers Fly's documented curl call with the raw token and all of its claims", async () => {
    const token = await curl('-X', 'POST', URL_AS_DOCUMENTED, '--data', '{"aud":"sts.amazonaws.com"}');
    assert.match(token, /^[\w-]+\.[\w-]+\.[\w-]+$/);
    const jwks = createRemoteJWKSet(new URL(`${issuer}/.well-known/jwks`));
    const { payload, protectedHeader } = await jwtVerify(token, jwks, {
      issuer,
      audience: 'sts.amazonaws.com',
    });
    const { iat = 0, exp = 0, nbf = 0, jti, ...claims } = payload;
    assert.deepEqual([protectedHeader.alg, exp - iat, iat - nbf, typeof jti], ['RS256', 600, 60, 'string']);
    assert.deepEqual(claims, {
      iss: issuer,
      aud: 'sts.amazonaws.com',
      sub: 'acme:web:148e21ea7e6389',
      app_id: '84398',
      app_name: 'web',
      image: 'registry.fly.io/web:v1',
      image_digest: 'sha256:abc',
      machine_id: '148e21ea7e6389',
      machine_name: 'small-dew-1',
      machine_version: '01HC',
      org_id: '29873298',
      org_name: 'acme',
      region: 'iad',
    });
  });

  it('takes every form of the call that is in use', async () => {
    const json = ['-H', 'Content-Type: application/json'];
    const aud = ['-d', '{"aud":"sts.amazonaws.com"}'];
    const calls = [
      ['-d', ''],
      ['-X', 'POST'],
      [...json, ...aud],
      ['-H', 'Content-Type:', ...aud],
      ['-H', 'Authorization: Bearer fm2_something', ...aud],
      ['-H', 'Transfer-Encoding: chunked', ...aud],
      ['--http1.0', ...aud],
    ];
    const tokens = await Promise.all(calls.map((args) => curl(URL_AS_DOCUMENTED, ...args)));
    const expected = calls.map((args) => (args.includes(aud[1] ?? '') ? aud[1] : undefined));
    tokens.forEach((token, index) => {
      const wanted = expected[index] === undefined ? 'https://fly.io/acme' : 'sts.amazonaws.com';
      assert.equal(decode(token).claims.aud, wanted);
    });
    assert.equal(new Set(tokens.map((token) => decode(token).claims.jti)).size, calls.length);
  });

  it('adds the principal tags where they are asked for', async () => {
    const token = await curl(
      URL_AS_DOCUMENTED,
      '-d',
      '{"aud":"sts.amazonaws.com","aws_principal_tags":true}',
    );
    assert.deepEqual(decode(token).claims['https://aws.amazon.com/tags'], {
      principal_tags: { team: ['payments'] },
      transitive_tag_keys: ['team'],
    });
    assert.equal(decode(await mint(socket, {})).claims['https://aws.amazon.com/tags'], undefined);
  });

  it('answers JSON with an error and a 4xx where it refuses', async () => {
    const refusals: readonly (readonly [unknown, number, string])[] = [
      [{ aud: 'https://other.example.com' }, 403, 'invalid_target'],
      [{ aud: ['sts.amazonaws.com', 'https://fly.io/acme'] }, 400, 'invalid_target'],
      [{ aud: '' }, 400, 'invalid_request'],
      [{ aud: 'x'.repeat(256) }, 400, 'invalid_request'],
      [{ aud: 7 }, 400, 'invalid_request'],
      [{ aud: { a: 1 } }, 400, 'invalid_request'],
      [{ aud: 'a\nb' }, 400, 'invalid_request'],
      [{ audience: 'sts.amazonaws.com' }, 400, 'invalid_request'],
      ...[0, -1, null, 30, 601, 600.5].map((ttl) => [{ ttl }, 400, 'invalid_request'] as const),
    ];
    for (const [fields, status, code] of refusals) {
      // No number of JavaScript's is written as one that is too large.
      const body = JSON.stringify(fields).replace('null', '1e999');
      const answer = await ask(socket, TOKENS, { method: 'POST', body });
      assert.deepEqual([answer.status, answer.json().error], [status, code], body);
      assert.match(String(answer.headers['content-type']), /^application\/json/);
    }
  });

  it('counts its life by the second', async () => {
    const { claims } = decode((await askToken(socket, { ttl: 61 })).text);
    assert.equal(claims.exp - claims.iat, 61);
  });
});
