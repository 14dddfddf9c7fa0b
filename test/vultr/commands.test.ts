/** `mintmark api-keys`, and `users` and `keys` of a provider. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { mintmark } from '../system/start.ts';
import { scopeOf } from '../system/suite.ts';
import { PASSWORD, startVultr } from './api.ts';

suite('vultr: commands', () => {
  const scope = scopeOf();

  test('API keys from the first to the last', async () => {
    const api = await startVultr(scope);
    const run = (...args: string[]) => mintmark([...args, '--admin', api.admin]);
    const added = await run('api-keys', 'add', 'ci', '--scope', 'providers:read');
    assert.match(added.stdout, /^mmk_[0-9a-f]{24}_[\w-]{43}\n$/);
    assert.match(added.stderr, /not shown again/);
    const key = added.stdout.trim();
    assert.equal((await api.call('GET', '/provider', undefined, key)).status, 200);
    assert.equal((await api.call('POST', '/provider', { name: 'x' }, key)).status, 403);
    const rotated = (await run('api-keys', 'rotate', 'ci', '--overlap', '0s')).stdout.trim();
    assert.equal((await api.call('GET', '/provider', undefined, key)).status, 401);
    assert.equal((await api.call('GET', '/provider', undefined, rotated)).status, 200);
    const list = await run('api-keys', 'list');
    assert.match(list.stdout, /^ci .* providers:read$/m);
    assert.match((await run('api-keys', 'add', 'ci')).stderr, /there is an API key ci already/);
    assert.equal((await run('api-keys', 'rotate', 'ci', '--overlap', 'soon')).code, 2);
    assert.equal((await run('api-keys', 'what')).code, 2);
    const unknown = await run('api-keys', 'add', 'x', '--scope', 'all');
    assert.equal(unknown.code, 1);
    assert.match(unknown.stderr, /"all" is no scope/);
    const nowhere = await run('api-keys', 'add', 'x', '--provider', '00000000-0000-4000-8000-000000000000');
    assert.equal(nowhere.code, 1);
    assert.match(nowhere.stderr, /There is no such provider 00000000-/);
    for (const [action, option] of [
      ['rotate', '--scope'],
      ['rotate', '--provider'],
      ['remove', '--overlap'],
      ['add', '--overlap'],
    ] as const) {
      const refused = await run('api-keys', action, 'ci', option, '1h');
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, new RegExp(`api-keys ${action} takes no ${option}`));
    }
    assert.equal((await run('api-keys', 'remove', 'ci')).stdout, 'removed ci\n');
    assert.equal((await api.call('GET', '/provider', undefined, rotated)).status, 401);
    const id = await api.create('one');
    const user = await mintmark(['users', 'add', 'ada', '--issuer', id, '--admin', api.admin], {
      input: Buffer.from(PASSWORD),
    });
    assert.equal(user.code, 0, user.stderr);
    assert.match((await run('users', 'list', '--issuer', id)).stdout, /^ada /m);
    assert.doesNotMatch((await run('users', 'list')).stdout, /^ada /m);
    assert.match((await run('keys', 'list', '--issuer', id)).stdout, /signs/);
    assert.match((await run('keys', 'list', '--issuer', 'nothing')).stderr, /no such issuer/);
    const printed = JSON.parse((await run('jwks', '--issuer', id)).stdout);
    const published = await fetch(`${api.base}/provider/${id}/.well-known/jwks`);
    assert.deepEqual(printed, await published.json());
  });
});
