/** Tokens of other issuers: exchanged (RFC 8693), as a grant (RFC 7523 section 2.1), and as a client's proof. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { decodeJwt, exportJWK, SignJWT } from 'jose';
import { ruleFor, until } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { basic, hashOf, post, RESOURCES, startOAuth } from './server.ts';

const FORGE = 'https://forge.example.com';
const CLOUD = 'sts.amazonaws.com';
const TYPE = 'urn:ietf:params:oauth:token-type:';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:';

const GATE = { id: 'gate', secrets: [hashOf('gate')], grants: ['token_exchange', 'jwt_bearer'], scopes: [] };
const OLDER = { ...GATE, id: 'older', secrets: [hashOf('older')], tokenUrlAudience: true };
const NONE = Buffer.from(JSON.stringify({ alg: 'none' })).toString('base64url');
const BUILD = {
  id: 'build',
  federated: { issuer: 'forge', subject: 'repo-7' },
  grants: ['client_credentials'],
  scopes: ['orders.read'],
};

const OLD_BUILD = {
  ...BUILD,
  id: 'old-build',
  federated: { issuer: 'forge', subject: 'repo-9' },
  tokenUrlAudience: true,
};

suite('assertions', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  let key: KeyObject;
  let other: KeyObject;
  before(async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    key = pair.privateKey;
    other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'f', alg: 'ES256' }] };
    server = await startOAuth(
      scope,
      { clients: [GATE, BUILD, OLDER, OLD_BUILD], resources: RESOURCES },
      {
        attestors: {
          unix: {},
          jwt: { issuers: { forge: { issuer: FORGE, jwks, claims: ['branch'] }, self: {} } },
        },
        rules: [
          {
            name: 'builds',
            match: ['jwt:issuer:forge', 'jwt:claim:branch:main', 'oauth:client:gate'],
            subject: 'build:{jwt.subject}',
            audiences: [CLOUD],
            ttl: '1h',
            maxTtl: '1h',
          },
          {
            name: 'of an older client',
            match: ['jwt:issuer:forge', 'oauth:client:older'],
            subject: 'build:{jwt.subject}',
            audiences: [CLOUD],
          },
          { name: 'own again', match: ['jwt:issuer:self'], subject: 'again:{jwt.id}', audiences: [CLOUD] },
          ruleFor({ name: 'self', audiences: ['AUDIENCE'] }),
        ].map((rule) => JSON.parse(JSON.stringify(rule).replace('AUDIENCE', 'https://example.com'))),
      },
    );
  });

  const sign = (claims: Record<string, unknown> = {}, { with: by = key, life = '5m', header = {} } = {}) =>
    new SignJWT({ branch: 'main', ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'f', ...header })
      .setIssuer(String(claims.iss ?? FORGE))
      .setSubject(String(claims.sub ?? 'repo-7'))
      .setAudience(String(claims.aud ?? server.issuer))
      .setIssuedAt()
      .setExpirationTime(life)
      .sign(by);
  const exchange = (form: Record<string, string>) =>
    post(
      server.token,
      { grant_type: EXCHANGE, audience: CLOUD, subject_token_type: `${TYPE}jwt`, ...form },
      basic('gate', 'gate'),
    );

  test('a token of a trusted issuer becomes one of ours, and never lives longer', async () => {
    const answer = await exchange({ subject_token: await sign() });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
    assert.equal(answer.body.issued_token_type, `${TYPE}access_token`);
    const claims = decodeJwt(String(answer.body.access_token));
    assert.equal(claims.sub, 'build:repo-7');
    assert.equal(claims.aud, CLOUD);
    assert.equal(claims.client_id, 'gate');
    const life = (claims.exp ?? 0) - (claims.iat ?? 0);
    assert.ok(life <= 300 && life > 280, `${life}`);
    assert.equal(answer.body.expires_in, life);
  });

  test('who acts is in `act`', async () => {
    const actor = { actor_token: await sign({ sub: 'robot' }), actor_token_type: `${TYPE}jwt` };
    const answer = await exchange({ subject_token: await sign(), ...actor });
    assert.deepEqual(decodeJwt(String(answer.body.access_token)).act, { sub: 'robot', iss: FORGE });
  });

  test('what is refused, with which word', async () => {
    const good = await sign();
    const cases: readonly (readonly [string, Record<string, string>, string])[] = [
      ['forged', { subject_token: await sign({}, { with: other }) }, 'invalid_request'],
      ['expired', { subject_token: await sign({}, { life: '-1m' }) }, 'invalid_request'],
      ['of nobody', { subject_token: await sign({ iss: 'https://evil.example' }) }, 'invalid_request'],
      [
        'for somebody else',
        { subject_token: await sign({ aud: 'https://other.example' }) },
        'invalid_request',
      ],
      ['for the token endpoint', { subject_token: await sign({ aud: server.token }) }, 'invalid_request'],
      ['unsigned', { subject_token: `${NONE}.${good.split('.')[1]}.` }, 'invalid_request'],
      ['encrypted', { subject_token: 'a.b.c.d.e' }, 'invalid_request'],
      ['garbage', { subject_token: 'garbage' }, 'invalid_request'],
      ['too large', { subject_token: `${good}${'A'.repeat(17_000)}` }, 'invalid_request'],
      ['no rule', { subject_token: await sign({ branch: 'fork' }) }, 'invalid_request'],
      [
        'an actor that has expired',
        { subject_token: good, actor_token: await sign({}, { life: '-1m' }), actor_token_type: `${TYPE}jwt` },
        'invalid_request',
      ],
      ['another audience', { subject_token: good, audience: 'https://other.example' }, 'invalid_target'],
      ['an actor without its type', { subject_token: good, actor_token: good }, 'invalid_request'],
      ['a type without an actor', { subject_token: good, actor_token_type: `${TYPE}jwt` }, 'invalid_request'],
      [
        'a type that is not taken',
        { subject_token: good, subject_token_type: `${TYPE}saml2` },
        'invalid_request',
      ],
      [
        'a type that is not given',
        { subject_token: good, requested_token_type: `${TYPE}refresh_token` },
        'invalid_request',
      ],
    ];
    for (const [name, form, error] of cases) {
      const answer = await exchange(form);
      assert.equal(answer.body.error, error, `${name}: ${JSON.stringify(answer.body)}`);
      assert.equal(answer.status, 400, name);
      assert.equal(typeof answer.body.error_description, 'string');
    }
    const none = await post(server.token, { grant_type: EXCHANGE, audience: CLOUD }, basic('gate', 'gate'));
    assert.equal(none.body.error, 'invalid_request');
  });

  test('an assertion is a grant, once: of twenty at a time one wins', async () => {
    const form = { grant_type: BEARER, assertion: await sign(), audience: CLOUD };
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => post(server.token, form, basic('gate', 'gate'))),
    );
    assert.equal(answers.filter(({ status }) => status === 200).length, 1);
    assert.ok(answers.every(({ status, body }) => status === 200 || body.error === 'invalid_grant'));
    const bad = { ...form, assertion: await sign({}, { with: other }) };
    const refused = await post(server.token, bad, basic('gate', 'gate'));
    assert.equal(refused.body.error, 'invalid_grant', 'RFC 7523 section 3.1');
  });

  test('whose token names others beside us, or the token endpoint, is refused; a list of one is taken', async () => {
    const list = (aud: readonly string[]) =>
      new SignJWT({ branch: 'main', jti: Math.random().toString(36) })
        .setProtectedHeader({ alg: 'ES256', kid: 'f' })
        .setIssuer(FORGE)
        .setSubject('repo-7')
        .setAudience([...aud])
        .setIssuedAt()
        .setExpirationTime('5m')
        .sign(key);
    const ways = {
      exchange: (token: string) => exchange({ subject_token: token }),
      bearer: (assertion: string) =>
        post(server.token, { grant_type: BEARER, audience: CLOUD, assertion }, basic('gate', 'gate')),
      client: (token: string) =>
        post(server.token, {
          grant_type: 'client_credentials',
          client_assertion_type: `${ASSERTION}jwt-bearer`,
          client_assertion: token,
        }),
    };
    const words = { exchange: 'invalid_request', bearer: 'invalid_grant', client: 'invalid_client' };
    for (const [name, send] of Object.entries(ways)) {
      const one = await send(await list([server.issuer]));
      assert.equal(one.status, 200, `${name}: ${JSON.stringify(one.body)}`);
      const wrong = [[server.issuer, 'https://other.example'], [server.issuer, server.token], [server.token]];
      for (const aud of wrong) {
        const { body } = await send(await list(aud));
        assert.equal(body.error, words[name as keyof typeof words], `${name}: ${aud}`);
      }
    }
    const { body } = await ways.client(await list([server.issuer, 'https://other.example']));
    assert.doesNotMatch(JSON.stringify(body), /other\.example/);
    const line = () =>
      server.lines().find(({ detail }) => /names https:\/\/other\.example$/.test(String(detail)));
    await until(() => line() !== undefined, 'the line that says which part was wrong');
    assert.match(String(line()?.detail), /^client [\w-]+: invalid_client: the aud /);
  });

  test('the token endpoint may be the audience where the client says so', async () => {
    const ask = async (form: Record<string, string>) =>
      (await post(server.token, { audience: CLOUD, ...form }, basic('older', 'older'))).status;
    const aud = server.token;
    const shown = { subject_token: await sign({ aud }), subject_token_type: `${TYPE}jwt` };
    assert.equal(await ask({ grant_type: EXCHANGE, ...shown }), 200);
    assert.equal(await ask({ grant_type: BEARER, assertion: await sign({ aud }) }), 200);
    const proven = await post(server.token, {
      grant_type: 'client_credentials',
      client_assertion_type: `${ASSERTION}jwt-bearer`,
      client_assertion: await sign({ aud, sub: 'repo-9' }),
    });
    assert.equal(proven.status, 200, JSON.stringify(proven.body));
  });

  test('a workload of another issuer is a client without a secret', async () => {
    for (const kind of ['jwt-bearer', 'jwt-spiffe']) {
      const form = { grant_type: 'client_credentials', client_assertion_type: `${ASSERTION}${kind}` };
      const answer = await post(server.token, { ...form, client_assertion: await sign() });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
      assert.equal(decodeJwt(String(answer.body.access_token)).client_id, 'build');
      for (const wrong of [
        await sign({ sub: 'repo-8' }),
        await sign({}, { with: other }),
        await sign({ aud: 'x' }),
      ]) {
        const refused = await post(server.token, { ...form, client_assertion: wrong });
        assert.equal(refused.body.error, 'invalid_client', JSON.stringify(refused.body));
        assert.equal(refused.status, 401);
      }
      const stolen = await post(server.token, { ...form, client_assertion: await sign(), client_id: 'gate' });
      assert.equal(stolen.body.error, 'invalid_client', 'of another client');
    }
  });
});
