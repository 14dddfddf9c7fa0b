/** Who acts for whom: `act` and `may_act` of tokens that are exchanged (RFC 8693 sections 4.1 and 4.4). */
import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import { before, suite, test } from 'node:test';
import { decodeJwt, exportJWK, SignJWT } from 'jose';
import { scopeOf } from '../system/suite.ts';
import { basic, hashOf, post, startOAuth } from './server.ts';

const FORGE = 'https://forge.example.com';
const OTHER = 'https://other.example.com';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const GATE = { id: 'gate', secrets: [hashOf('gate')], grants: ['token_exchange', 'jwt_bearer'], scopes: [] };

suite('who acts', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let server: Awaited<ReturnType<typeof startOAuth>>;
  let key: KeyObject;
  before(async () => {
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    key = pair.privateKey;
    const jwks = { keys: [{ ...(await exportJWK(pair.publicKey)), kid: 'f', alg: 'ES256' }] };
    const issuers = {
      forge: { issuer: FORGE, jwks },
      other: { issuer: OTHER, jwks },
      self: { types: ['at+jwt'] },
    };
    const rule = (name: string) => ({
      name,
      match: [`jwt:issuer:${name}`],
      subject: '{jwt.subject}',
      audiences: ['cloud'],
    });
    server = await startOAuth(
      scope,
      { clients: [GATE] },
      { attestors: { unix: {}, jwt: { issuers } }, rules: ['forge', 'other', 'self'].map(rule) },
    );
  });

  const sign = (claims: Record<string, unknown> = {}) =>
    new SignJWT({ iss: FORGE, sub: 'ada', aud: server.issuer, ...claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'f' })
      .setIssuedAt()
      .setExpirationTime('5m')
      .sign(key);
  const exchange = (subject: string, actor?: string) =>
    post(
      server.token,
      {
        grant_type: EXCHANGE,
        audience: 'cloud',
        ...{ subject_token: subject, subject_token_type: JWT },
        ...(actor === undefined ? {} : { actor_token: actor, actor_token_type: JWT }),
      },
      basic('gate', 'gate'),
    );
  async function actOf(subject: string, actor?: string): Promise<unknown> {
    const { status, body } = await exchange(subject, actor);
    assert.equal(status, 200, JSON.stringify(body));
    return decodeJwt(String(body.access_token)).act;
  }
  const robot = () => sign({ sub: 'robot' });

  test('who acted before stays, and stands behind who acts now', async () => {
    const acted = await sign({ act: { sub: 'one', act: { sub: 'two' } } });
    assert.deepEqual(await actOf(acted), { sub: 'one', act: { sub: 'two' } });
    assert.deepEqual(await actOf(acted, await robot()), {
      ...{ sub: 'robot', iss: FORGE },
      act: { sub: 'one', act: { sub: 'two' } },
    });
    assert.equal(await actOf(await sign()), undefined);
  });

  test('a token of ours keeps it through a second exchange', async () => {
    const { body } = await exchange(await sign(), await robot());
    const again = await exchange(String(body.access_token), await sign({ sub: 'second' }));
    assert.equal(again.status, 200, JSON.stringify(again.body));
    assert.deepEqual(decodeJwt(String(again.body.access_token)).act, {
      ...{ sub: 'second', iss: FORGE },
      act: { sub: 'robot', iss: FORGE },
    });
  });

  test('not without end, and nothing but objects', async () => {
    const chain = (length: number): unknown =>
      length === 0 ? undefined : { sub: `${length}`, act: chain(length - 1) };
    assert.equal((await exchange(await sign({ act: chain(7) }), await robot())).status, 200);
    assert.equal((await exchange(await sign({ act: chain(8) }))).status, 200);
    const wrong = [
      await exchange(await sign({ act: chain(8) }), await robot()),
      await exchange(await sign({ act: chain(9) })),
      await exchange(await sign({ act: 'robot' })),
      await exchange(await sign({ act: { sub: 'one', act: ['two'] } })),
    ];
    for (const { status, body } of wrong)
      assert.deepEqual([status, body.error], [400, 'invalid_request'], JSON.stringify(body));
  });

  test('a subject that says who may act for it is believed', async () => {
    const may = (named: unknown) => sign({ may_act: named });
    assert.equal((await exchange(await may({ sub: 'robot' }), await robot())).status, 200);
    assert.equal((await exchange(await may({ sub: 'robot', iss: FORGE }), await robot())).status, 200);
    assert.equal((await exchange(await may({ sub: 'gate', iss: server.issuer }))).status, 200, 'the client');
    const wrong = [
      await exchange(await may({ sub: 'somebody' }), await robot()),
      await exchange(await may({ sub: 'robot', iss: OTHER }), await robot()),
      await exchange(await may({ sub: 'robot' }), await sign({ sub: 'robot', iss: OTHER })),
      await exchange(await may({ sub: 'robot' })),
      await exchange(await may({ sub: 'gate' })),
      await exchange(await may({}), await robot()),
      await exchange(await may(null), await robot()),
      await exchange(await may('robot'), await robot()),
    ];
    for (const [index, { status, body }] of wrong.entries())
      assert.deepEqual([status, body.error], [400, 'invalid_request'], `${index}: ${JSON.stringify(body)}`);
  });

  test('jwt_bearer keeps it and believes it too', async () => {
    const bearer = async (claims: Record<string, unknown>) => {
      const assertion = await sign({ jti: randomUUID(), ...claims });
      const grant = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
      return post(server.token, { grant_type: grant, audience: 'cloud', assertion }, basic('gate', 'gate'));
    };
    const { status, body } = await bearer({ act: { sub: 'one' } });
    assert.equal(status, 200, JSON.stringify(body));
    assert.deepEqual(decodeJwt(String(body.access_token)).act, { sub: 'one' });
    assert.equal((await bearer({ may_act: { sub: 'gate', iss: server.issuer } })).status, 200);
    const refused = await bearer({ may_act: { sub: 'robot' } });
    assert.deepEqual([refused.status, refused.body.error], [400, 'invalid_grant']);
  });
});
