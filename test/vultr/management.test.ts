/** Providers, issuers and API keys as they are managed, and every error of theirs. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { before, suite, test } from 'node:test';
import fc from 'fast-check';
import { CURSOR } from '../../src/doors/vultr/paging.ts';
import { scopeOf } from '../system/suite.ts';
import { type Api, addKey, answerOf, type Body, keyIds, startVultr } from './api.ts';

const UNKNOWN = '00000000-0000-4000-8000-000000000000';

suite('vultr: management', { concurrency: 1 }, () => {
  const scope = scopeOf();
  let api: Api;
  before(async () => {
    api = await startVultr(scope, { wrongKeysPerMinute: 500 });
  });

  const keyWith = (fields: object) => addKey(api, fields);

  test('a provider is made in both forms, shown, listed in pages, and removed', async () => {
    const bare = await api.call('POST', '/provider', { name: 'bare' });
    const within = await api.call('POST', '/provider', { provider: { name: 'within' } });
    assert.deepEqual([bare.status, within.status], [201, 201]);
    const { id, issuer_id: issuer, name } = within.body.provider;
    assert.equal(name, 'within');
    assert.deepEqual(Object.keys(bare.body.provider), ['id', 'issuer_id', 'name']);
    assert.deepEqual((await api.call('GET', `/provider/${id}`)).body, within.body);
    for (let made = 0; made < 3; made++) await api.create(`more ${made}`);
    const all = await api.call('GET', '/provider');
    assert.equal(all.body.meta.total, 5);
    assert.deepEqual(all.body.meta.links, { next: '', prev: '' });
    const seen: string[] = [];
    let cursor = '';
    let prev = '';
    do {
      const { body } = await api.call('GET', `/provider?per_page=2&cursor=${encodeURIComponent(cursor)}`);
      seen.push(...body.providers.map((each: { id: string }) => each.id));
      cursor = body.meta.links.next;
      prev = body.meta.links.prev;
      for (const link of [cursor, prev]) assert.match(link, new RegExp(`^$|${CURSOR.source}`));
      assert.equal(body.meta.total, 5);
    } while (cursor !== '');
    assert.deepEqual(
      seen,
      all.body.providers.map((each: { id: string }) => each.id),
    );
    const back = await api.call('GET', `/provider?per_page=2&cursor=${encodeURIComponent(prev)}`);
    assert.deepEqual(back.body.providers, all.body.providers.slice(2, 4));
    const own = await api.call('GET', `/issuer/${issuer}`);
    assert.equal(own.body.issuer.source, 'managed');
    assert.equal(own.body.issuer.uri, `${api.base}/provider/${id}`);
    assert.equal((await api.call('DELETE', `/issuer/${issuer}`)).status, 409);
    const gone = await api.call('DELETE', `/provider/${id}`);
    assert.deepEqual([gone.status, gone.body], [204, '']);
    for (const path of [`/provider/${id}`, `/issuer/${issuer}`, `/issuer/${issuer}/jwks`]) {
      const { status, body } = await api.call('GET', path);
      assert.equal(status, 404, path);
      assert.deepEqual(Object.keys(body), ['error', 'status']);
    }
    assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 404);
  });

  test('discovery is open, and on both paths', async () => {
    const id = await api.create('found');
    const paths = [`/provider/${id}`, `/${id}`].map((path) => `${path}/.well-known/openid-configuration`);
    const [first, second] = await Promise.all(
      paths.map(async (path) => answerOf(await fetch(`${api.base}${path}`))),
    );
    assert.deepEqual(first?.body, second?.body);
    const { body } = first ?? assert.fail();
    assert.equal(body.issuer, `${api.base}/provider/${id}`);
    assert.equal(body.authorization_endpoint, `${api.base}/provider/${id}/authorize`);
    assert.equal(body.token_endpoint, `${api.base}/provider/${id}/token`);
    assert.equal(body.device_authorization_endpoint, undefined);
    const jwks = await answerOf(await fetch(body.jwks_uri));
    assert.equal(jwks.body.keys.length, 2, 'the next key from the start');
    const { issuer_id: issuer } = (await api.call('GET', `/provider/${id}`)).body.provider;
    assert.deepEqual((await answerOf(await fetch(`${api.base}/issuer/${issuer}/jwks`))).body, jwks.body);
  });

  test('what is nowhere in the API is told in its form, the bare path too', async () => {
    for (const path of ['', '/', '/nothing']) {
      const { status, body } = await api.call('GET', path);
      assert.deepEqual([status, body], [404, { error: 'There is no such thing here.', status: 404 }], path);
    }
  });

  test('the OpenAPI document says what the endpoints of OAuth take', async () => {
    const { paths } = (await (await fetch(`${api.issuer}/openapi.json`)).json()) as Body;
    const bodyOf = (name: string, method = 'post') =>
      paths[`/v2/oidc/provider/{id}/${name}`][method].requestBody;
    const formOf = (name: string) => bodyOf(name).content['application/x-www-form-urlencoded'].schema;
    for (const [name, parameter] of [
      ['authorize', 'redirect_uri'],
      ['endsession', 'post_logout_redirect_uri'],
    ] as const) {
      assert.ok(formOf(name).properties[parameter]);
      assert.equal(bodyOf(name).required, false);
    }
    for (const name of ['introspect', 'revocation']) {
      assert.deepEqual(formOf(name).required, ['token']);
      assert.equal(bodyOf(name).required, true);
    }
    assert.equal(bodyOf('authorize', 'get'), undefined);
  });

  test('a key that is brought along signs first', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const kid = generateKeyPairSync('ed25519').privateKey;
    const forms = [
      privateKey.export({ format: 'pem', type: 'pkcs8' }),
      privateKey.export({ format: 'der', type: 'pkcs8' }),
      privateKey.export({ format: 'der', type: 'pkcs1' }),
    ].map((form) => Buffer.from(form).toString('base64'));
    forms.push(forms[0]?.replace(/.{76}/g, '$&\n') ?? ''); // as base64(1) writes it
    const seen = new Set<string>();
    for (const form of forms) {
      const id = await api.create('brought', { private_key_b64: form });
      const { issuer_id: issuer } = (await api.call('GET', `/provider/${id}`)).body.provider;
      const { n, kid: shown } = (await api.call('GET', `/issuer/${issuer}`)).body.issuer;
      assert.equal(n, privateKey.export({ format: 'jwk' }).n);
      seen.add(shown);
      const second = await api.call('POST', '/provider', { name: 'x', private_key_b64: form });
      assert.deepEqual([second.status, second.body.status], [409, 409], 'one key, one provider');
      assert.equal((await api.call('DELETE', `/provider/${id}`)).status, 204);
    }
    assert.equal(seen.size, 1);
    const wrong = [
      'nonsense!',
      'AAAA',
      Buffer.from(kid.export({ format: 'pem', type: 'pkcs8' })).toString('base64'),
      Buffer.from(
        generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({
          format: 'pem',
          type: 'pkcs8',
        }),
      ).toString('base64'),
    ];
    const why = [/no base64/, /no private key/, /of the type ed25519/, /has 1024 bits/];
    for (const [index, form] of wrong.entries()) {
      const { status, body } = await api.call('POST', '/provider', { name: 'x', private_key_b64: form });
      assert.deepEqual([status, body.status], [400, 400]);
      assert.match(body.error, why[index] as RegExp);
      assert.doesNotMatch(body.error, new RegExp(form.slice(0, 8)));
    }
  });

  test('a managed issuer is made by itself and becomes that of one provider', async () => {
    const made = await api.call('POST', '/issuer', { source: 'managed' });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const { id, kid } = made.body.issuer;
    const provider = await api.create('with issuer', { issuer_id: id });
    assert.ok((await keyIds(api, provider)).includes(kid));
    assert.equal(
      (await api.call('GET', `/issuer/${id}`)).body.issuer.uri,
      `${api.base}/provider/${provider}`,
    );
    assert.equal((await api.call('POST', '/provider', { name: 'second', issuer_id: id })).status, 409);
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { uri: 'https://x.example.com' })).status, 409);
    const total = (await api.call('GET', '/provider')).body.meta.total;
    assert.equal((await api.call('POST', '/provider', { name: 'third', issuer_id: UNKNOWN })).status, 404);
    assert.equal((await api.call('GET', '/provider')).body.meta.total, total);
    const alone = (await api.call('POST', '/issuer', { issuer: { source: 'managed' } })).body.issuer.id;
    assert.equal((await api.call('DELETE', `/issuer/${alone}`)).status, 204);
    assert.equal((await api.call('GET', `/issuer/${alone}/jwks`)).status, 404);
  });

  test('an external issuer is made bare or within, changed and removed', async () => {
    const jwk = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });
    const fields = {
      source: 'external',
      uri: 'https://idp.example.com',
      kid: 'k1',
      ...jwk,
      alg: 'RS256',
      use: 'sig',
    };
    const made = await api.call('POST', '/issuer', { issuer: fields });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const { id, jwks_fetched_at: fetched, jwks_expires_at: expires, ...shown } = made.body.issuer;
    assert.deepEqual(shown, { ...fields, source_id: null });
    assert.ok(Date.parse(fetched) < Date.parse(expires));
    assert.deepEqual((await api.call('GET', `/issuer/${id}/jwks`, undefined, 'no key')).body.keys.length, 1);
    assert.equal((await api.call('POST', '/issuer', fields)).status, 409, 'the same uri');
    const half = { kid: 'k2', n: '', e: null };
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { issuer: half })).status, 204);
    const { kid, n } = (await api.call('GET', `/issuer/${id}`)).body.issuer;
    assert.deepEqual({ kid, n }, { kid: 'k2', n: jwk.n });
    assert.equal((await api.call('PATCH', `/issuer/${id}`, { issuer: { n: 'AAAA' } })).status, 400);
    for (const body of [undefined, ' ']) {
      const bare = await api.call('PATCH', `/issuer/${id}`, body);
      assert.deepEqual([bare.status, bare.body], [400, { error: 'there is no body', status: 400 }]);
    }
    assert.equal((await api.call('PATCH', `/issuer/${id}`, {})).status, 204);
    const { issuers, meta } = (await api.call('GET', '/issuer')).body;
    assert.equal(issuers.length, meta.total);
    assert.ok(issuers.some((each: { id: string }) => each.id === id));
    assert.equal((await api.call('DELETE', `/issuer/${id}`)).status, 204);
    assert.equal((await api.call('GET', `/issuer/${id}`)).status, 404);
  });

  test('every error of the management calls, as {"error", "status"}', async () => {
    const wrong = 'mmk_000000000000000000000000_0000000000000000000000000000000000000000000';
    const reading = await keyWith({ scopes: ['providers:read'] });
    const cases: readonly (readonly [number, string, string, unknown?, string?])[] = [
      [400, 'POST', '/provider', {}],
      [400, 'POST', '/provider', { name: 7 }],
      [400, 'POST', '/provider', { name: 'x'.repeat(256) }],
      [400, 'POST', '/provider', { name: 'x', other: 1 }],
      [400, 'POST', '/provider', { provider: { name: 'x' }, name: 'x' }],
      [400, 'POST', '/provider', { provider: [] }],
      [400, 'POST', '/provider', '{"name":"a","name":"b"}'],
      [400, 'POST', '/provider', 'no JSON'],
      [400, 'GET', '/provider?per_page=0'],
      [400, 'GET', '/provider?per_page=501'],
      [400, 'GET', '/provider?cursor=nonsense'],
      [400, 'POST', '/issuer', { uri: 'https://a:b@x.example.com' }],
      [400, 'POST', '/issuer', { uri: 'https://x.example.com/#f' }],
      [400, 'POST', '/issuer', { source: 'other' }],
      [400, 'POST', '/issuer', { source: 'external' }],
      [400, 'POST', '/issuer', { uri: 'ftp://x', n: 'AQAB', e: 'AQAB' }],
      [400, 'POST', '/issuer', { uri: 'https://10.0.0.1' }],
      [401, 'GET', '/provider', undefined, wrong],
      [401, 'GET', '/provider', undefined, 'nonsense'],
      [401, 'POST', '/issuer', {}, wrong],
      [403, 'POST', '/provider', { name: 'x' }, reading],
      [403, 'GET', '/issuer', undefined, reading],
      [404, 'GET', `/provider/${UNKNOWN}`],
      [404, 'GET', '/provider/nothing'],
      [404, 'GET', '/nope'],
      [404, 'GET', `/provider/${UNKNOWN}/`],
      [404, 'POST', `/provider/${UNKNOWN}/nope/nope/nope/nope`, {}],
      [404, 'GET', `/provider/${UNKNOWN}/.well-known/openid-configuration`],
      [404, 'GET', `/${UNKNOWN}/.well-known/openid-configuration`],
      [404, 'GET', `/provider/${UNKNOWN}/authorize`],
      [404, 'POST', `/provider/${UNKNOWN}/token`, {}],
      [404, 'DELETE', `/provider/${UNKNOWN}`],
      [404, 'PATCH', `/issuer/${UNKNOWN}`, {}],
      [404, 'DELETE', `/issuer/${UNKNOWN}`],
      [404, 'GET', `/issuer/${UNKNOWN}/jwks`],
      [404, 'POST', '/issuer', { source: 'external', uri: 'https://x.example.com', source_id: UNKNOWN }],
      [405, 'PUT', '/provider', {}],
      [405, 'PATCH', `/provider/${UNKNOWN}`, {}],
      [413, 'POST', '/provider', { name: 'x'.repeat(70_000) }],
    ];
    for (const [status, method, path, body, key] of cases) {
      const found = await api.call(method, path, body, key);
      assert.equal(found.status, status, `${method} ${path} ${JSON.stringify(found.body)}`);
      assert.deepEqual(Object.keys(found.body), ['error', 'status'], path);
      assert.equal(found.body.status, status);
      if (status === 401) assert.equal(found.headers.get('www-authenticate'), 'Bearer');
    }
    const strict = await startVultr(scope, { allowPrivateIssuers: false });
    const inside = await strict.call('POST', '/issuer', { uri: 'https://10.0.0.1' });
    assert.match(inside.body.error, /\(allowPrivateIssuers lets it be asked\)/);
    const none = await answerOf(await fetch(`${api.base}/provider`));
    assert.deepEqual([none.status, none.body], [401, { error: 'Invalid API token.', status: 401 }]);
  });

  test('whatever a body is, the answer is one of the API', async () => {
    const id = await api.create('fuzzed');
    const paths = ['/provider', '/issuer', `/provider/${id}/token`];
    const names = ['name', 'provider', 'issuer_id', 'issuer', 'uri', 'n', 'e', 'grant_type', 'code', 'scope'];
    const grants = ['authorization_code', 'refresh_token', 'x'];
    const value = fc.oneof(fc.json(), fc.constantFrom(...grants.map((each) => JSON.stringify(each))));
    const object = fc
      .dictionary(fc.oneof(fc.constantFrom(...names), fc.string()), value, { maxKeys: 5 })
      .map((fields) => `{${Object.entries(fields).map(([key, json]) => `${JSON.stringify(key)}:${json}`)}}`);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...paths),
        fc.oneof(object, fc.string(), fc.json()),
        fc.constantFrom('application/json', 'application/x-www-form-urlencoded', 'text/plain'),
        async (path, body, type) => {
          const headers = { Authorization: `Bearer ${api.key}`, 'Content-Type': type };
          const answer = await answerOf(await fetch(`${api.base}${path}`, { method: 'POST', headers, body }));
          assert.ok([201, 400, 401, 404, 409].includes(answer.status), `${answer.status} ${body}`);
          if (answer.status !== 201) assert.equal(answer.body.status, answer.status);
        },
      ),
      { numRuns: 300 },
    );
    assert.deepEqual(
      api.lines().filter(({ level }) => level === 'error'),
      [],
    );
  });
});
