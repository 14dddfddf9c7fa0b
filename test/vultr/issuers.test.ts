/** Issuers as records that two change at once. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openIssuers } from '../../src/doors/vultr/issuers.ts';
import type { Vultr } from '../../src/doors/vultr/parts.ts';
import { fakeClock } from '../fakes/clock.ts';
import { fakeRecords } from '../fakes/records.ts';

const ID = '00000000-0000-4000-8000-000000000001';

test('what a making took and gives back is not taken from whoever took it then', async () => {
  const records = fakeRecords();
  let meanwhile = async () => undefined as unknown;
  const { find } = records;
  const own: Vultr['records'] = {
    ...records,
    async find(...given) {
      const found = await find(...given);
      const work = meanwhile;
      meanwhile = async () => undefined;
      await work();
      return found;
    },
  };
  const issuers = openIssuers({ records: own, realm: 'r', clock: fakeClock() } as unknown as Vultr);
  await issuers.addManaged(ID, 'failed');
  meanwhile = async () => {
    const there = openIssuers({ records, realm: 'r', clock: fakeClock() } as unknown as Vultr);
    await there.unlink(ID, 'failed');
    await there.link(ID, 'next');
  };
  await issuers.unlink(ID, 'failed');
  const found = await issuers.require(ID);
  assert.equal(found.provider, 'next');
});
