/** Whose client one is that names its providers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Vultr } from '../../src/doors/vultr/parts.ts';
import { clientsOf } from '../../src/doors/vultr/token.ts';

const [ONE, OTHER] = ['00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000002'];

test('a client names providers by id or name; a name that is the id of another provider is none', () => {
  const clients = [{ id: 'all' }, { id: 'staff', providers: ['staff'] }, { id: 'one', providers: [ONE] }];
  const { config } = { config: { clients } } as unknown as Pick<Vultr, 'config'>;
  const of = (id: string, name: string) => clientsOf({ config }, { id, name }).map((client) => client.id);
  assert.deepEqual(of(OTHER, 'staff'), ['all', 'staff']);
  assert.deepEqual(of(ONE, 'x'), ['all', 'one']);
  assert.deepEqual(of(OTHER, ONE), ['all']);
  assert.deepEqual(of(ONE, OTHER), ['all', 'one']);
});
