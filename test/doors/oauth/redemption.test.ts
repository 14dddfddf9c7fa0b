/** What is told of a code that is being redeemed, behind a real provider. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite, type TestContext, test } from 'node:test';
import { Provider } from 'oidc-provider';
import type { Engine } from '../../../src/doors/oauth/parts.ts';
import { consumeLater, settleRedemptions, tellLater } from '../../../src/doors/oauth/redemption.ts';
import { fakeClock } from '../../fakes/clock.ts';
import { fakeRecords } from '../../fakes/records.ts';
import { post } from '../../oauth/server.ts';

const CODE = { realm: 'r', model: 'AuthorizationCode', id: 'code' };

/** A grant that redeems the code, and tells by `tell`. */
async function redeeming(t: TestContext, tell: () => void) {
  const [records, clock] = [fakeRecords(), fakeClock()];
  await records.upsert(CODE, { payload: {} });
  const client = { client_id: 'c', token_endpoint_auth_method: 'none', grant_types: ['redeem'] } as const;
  const clients = [{ ...client, redirect_uris: [], response_types: [] }];
  const provider = new Provider('http://localhost', { clients } as never);
  provider.registerGrantType('redeem', (ctx) => {
    assert.ok(consumeLater(CODE));
    tellLater(tell);
    ctx.body = { access_token: 'token' };
  });
  provider.use(settleRedemptions({ records, clock } as unknown as Engine, provider));
  const faults: Error[] = [];
  provider.on('server_error', (_ctx, error) => faults.push(error));
  const server = createServer(provider.callback()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return { faults, ask: () => post(url, 'grant_type=redeem&client_id=c') };
}

suite('redeeming a code', () => {
  test('its token is told of once the code is used up, and who comes second is told nothing of', async (t) => {
    let told = 0;
    const { ask } = await redeeming(t, () => told++);
    assert.equal((await ask()).body.access_token, 'token');
    assert.equal((await ask()).body.error, 'invalid_grant');
    assert.equal(told, 1);
  });

  test('a token that cannot be told of is withheld', async (t) => {
    const full = new Error('no space for the line');
    const { ask, faults } = await redeeming(t, () => {
      throw full;
    });
    const { status, body } = await ask();
    assert.deepEqual([status, body.error, body.access_token], [500, 'server_error', undefined]);
    assert.deepEqual(faults, [full]);
  });
});
