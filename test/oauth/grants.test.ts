/** A grant lives as long as the refresh tokens that come of it may. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type KoaContextWithOIDC, Provider } from 'oidc-provider';
import { existingGrant } from '../../src/doors/oauth/consent.ts';
import type { Engine } from '../../src/doors/oauth/parts.ts';

const DAY = 86_400;
const ENGINE = {
  people: { rememberLogin: async () => undefined },
  clock: { now: () => Math.floor(Date.now() / 1000) },
} as unknown as Engine;

suite('a grant that was given before', () => {
  for (const consent of [true, false])
    test(`${consent ? 'with' : 'without'} consent: another authorization begins its life anew`, async (t) => {
      t.mock.timers.enable({ apis: ['Date'], now: Date.now() });
      const provider = new Provider('http://localhost', { ttl: { Grant: 30 * DAY } });
      const first = new provider.Grant({ clientId: 'web', accountId: 'ada' });
      first.addOIDCScope('openid');
      const grantId = await first.save();
      t.mock.timers.tick(13 * DAY * 1000);
      const oidc = {
        client: { clientId: 'web', require_consent: consent },
        session: { accountId: 'ada', grantIdFor: () => grantId },
        requestParamScopes: new Set(['openid']),
        provider,
      };
      await existingGrant({ oidc } as unknown as KoaContextWithOIDC, ENGINE);
      const { exp = 0 } = (await provider.Grant.find(grantId)) ?? {};
      assert.equal(exp, Math.floor(Date.now() / 1000) + 30 * DAY);
    });
});
