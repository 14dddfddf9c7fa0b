/** API keys: what they may, how long, and what is told of them. */
import assert from 'node:assert/strict';
import { before, suite, test } from 'node:test';
import { ask } from '../system/ask.ts';
import { scopeOf } from '../system/suite.ts';
import { type Api, addKey, adminCall, startVultr } from './api.ts';

suite('vultr: API keys', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let api: Api;
  before(async () => {
    api = await startVultr(scope, { wrongKeysPerMinute: 500 });
  });

  const keyWith = (fields: object) => addKey(api, fields);

  test('an API key for some providers sees no others', async () => {
    const [own, other] = [await api.create('own'), await api.create('not own')];
    const key = await keyWith({ providers: [own] });
    const list = await api.call('GET', '/provider', undefined, key);
    assert.deepEqual(
      list.body.providers.map((each: { id: string }) => each.id),
      [own],
    );
    const issuers = await api.call('GET', '/issuer', undefined, key);
    assert.equal(issuers.body.meta.total, 1);
    for (const [method, path] of [
      ['GET', `/provider/${other}`],
      ['DELETE', `/provider/${other}`],
    ] as const)
      assert.equal((await api.call(method, path, undefined, key)).status, 404);
    const exchange = { grant_type: 'refresh_token', refresh_token: 'x' };
    assert.equal((await api.call('POST', `/provider/${other}/token`, exchange, key)).status, 404);
    assert.equal((await api.call('POST', '/provider', { name: 'new' }, key)).status, 403);
    assert.equal((await api.call('POST', '/issuer', { source: 'managed' }, key)).status, 403);
  });

  test('API keys: a rotated one ends when it was told to, a removed one at once', async () => {
    const add = await adminCall(api.admin, '/v1/api-keys/add', { name: 'ci', scopes: ['providers:read'] });
    const first = add.body.key;
    const works = async (key: string) => (await api.call('GET', '/provider', undefined, key)).status === 200;
    assert.equal((await adminCall(api.admin, '/v1/api-keys/add', { name: 'ci' })).status, 409);
    const second = (await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci' })).body.key;
    assert.deepEqual([await works(first), await works(second)], [true, true]);
    const third = (await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci', overlapSeconds: 0 })).body
      .key;
    assert.deepEqual([await works(first), await works(second), await works(third)], [false, false, true]);
    const fourth = (await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci' })).body.key;
    for (let made = 0; made < 3; made++)
      assert.equal((await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci' })).status, 200);
    const beyond = await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci' });
    assert.equal(beyond.status, 409);
    assert.match(beyond.body.reason, /5 secrets of API key ci count still/);
    assert.deepEqual([await works(third), await works(fourth)], [true, true], 'each as long as it was told');
    const { apiKeys } = (await adminCall(api.admin, '/v1/api-keys')).body;
    assert.ok(apiKeys.some(({ name }: { name: string }) => name === 'ci'));
    assert.doesNotMatch(JSON.stringify(apiKeys), /hash|secret|mmk_/);
    assert.equal((await adminCall(api.admin, '/v1/api-keys/remove', { name: 'ci' })).status, 200);
    assert.deepEqual([await works(third), await works(fourth)], [false, false]);
    assert.equal((await adminCall(api.admin, '/v1/api-keys/rotate', { name: 'ci' })).status, 404);
    assert.equal(
      (await adminCall(api.admin, '/v1/api-keys/add', { name: 'x', scopes: ['all'] })).status,
      400,
    );
  });

  test('what happens to API keys, and who shows a wrong one, is told', async () => {
    const begun = api.lines().length;
    const id = await api.create('told');
    const { key } = (await adminCall(api.admin, '/v1/api-keys/add', { name: 'told', scopes: ['tokens'] }))
      .body;
    await api.call('GET', '/provider', undefined, key);
    await api.call('GET', '/provider', undefined, `${key.slice(0, -4)}AAAA`);
    await api.call(
      'POST',
      `/provider/${id}/token`,
      { grant_type: 'refresh_token' },
      `${key.slice(0, -4)}AAAA`,
    );
    for (const action of ['rotate', 'remove'])
      assert.equal((await adminCall(api.admin, `/v1/api-keys/${action}`, { name: 'told' })).status, 200);
    const { body } = await adminCall(api.admin, `/v1/issuers/${id}/keys`);
    const next = body.keys.find(({ state }: { readonly state: string }) => state === 'next').keyId;
    assert.equal((await adminCall(api.admin, `/v1/issuers/${id}/keys/revoke`, { keyId: next })).status, 200);
    const lines = api.lines().slice(begun);
    const told = lines
      .filter(({ msg }) => /API key/.test(String(msg)))
      .map(({ msg, apiKey }) => [msg, apiKey]);
    assert.deepEqual(told, [
      ['an API key was added', 'told'],
      ['an API key was rotated', 'told'],
      ['an API key was removed', 'told'],
    ]);
    const refused = lines
      .filter(({ msg }) => msg === 'refused')
      .map(({ door, code, detail }) => [door, code, detail]);
    assert.deepEqual(refused, [
      ['vultr', 'access_denied', 'API key told: it has not the scope providers:read'],
      ['vultr', 'peer_unproven', 'not the secret of API key told'],
      ['vultr', 'peer_unproven', 'not the secret of API key told'],
    ]);
    assert.doesNotMatch(JSON.stringify(lines), new RegExp(key.slice(-40, -10)));
    const ring = lines.find(({ msg }) => msg === 'the key ring changed');
    assert.equal(ring?.iss, `${api.base}/provider/${id}`);
    const { text } = await ask(api.status, '/metrics');
    assert.match(text, /mintmark_refusals_total\{door="vultr",code="peer_unproven"\}/);
  });
});

test('vultr: wrong API keys are counted, and the right ones still work', async (t) => {
  const api = await startVultr({ after: (clean) => t.after(clean) }, { wrongKeysPerMinute: 3 });
  const statuses: number[] = [];
  for (let tried = 0; tried < 5; tried++)
    statuses.push((await api.call('GET', '/provider', undefined, 'wrong')).status);
  const wrong = `mmk_${'0'.repeat(24)}_${'0'.repeat(43)}`;
  for (let tried = 0; tried < 5; tried++)
    statuses.push((await api.call('GET', '/provider', undefined, wrong)).status);
  assert.deepEqual(statuses.slice(5), [401, 401, 401, 429, 429]);
  assert.equal((await api.call('GET', '/provider', undefined, wrong)).headers.get('retry-after'), '60');
  assert.equal((await api.call('GET', '/provider')).status, 200);
  const told = api
    .lines()
    .filter(({ door }) => door === 'vultr')
    .map(({ code }) => code);
  assert.deepEqual(
    told.slice(-4),
    [...Array(3).fill('peer_unproven'), 'too_many_requests'],
    'no more than that',
  );
});
