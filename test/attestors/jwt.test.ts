import assert from 'node:assert/strict';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { importJWK, SignJWT } from 'jose';
import * as v from 'valibot';
import { config, provable } from '../../src/attestors/jwt.ts';
import { UNPROVEN_REASONS } from '../../src/attestors/reasons.ts';
import type { IssuerError } from '../../src/core/errors.ts';
import { createIssuer } from '../../src/core/issuer.ts';
import { compilePolicy } from '../../src/core/policy.ts';
import type { ClaimSet, Explanation } from '../../src/core/ports.ts';
import { open as openSigner } from '../../src/signers/local.ts';
import { refusal } from '../conformance/key-store.ts';
import { ruleOf } from '../fakes/policy.ts';
import { collectingRecorder } from '../fakes/recorder.ts';
import { realRing } from '../fakes/rings.ts';
import {
  base64url,
  compact,
  type FakeKey,
  hmac,
  type Minted,
  makeKey,
  mint,
  OTHER,
  openJwt,
  peerOf,
  published,
  signer,
  US,
} from '../fakes/tokens.ts';

const NONE: ReadonlySet<string> = new Set();
const ES = makeKey('ES256');
const RSA = makeKey('RS256');
const FOREIGN = makeKey('ES256');
const jwks = { keys: [published(ES), published(RSA)] };
const claims = [
  'repository_id',
  'admin',
  'groups',
  'deep',
  'projectId',
  { name: 'namespace', path: ['kubernetes.io', 'namespace'] },
];
const given = await openJwt({ other: { issuer: OTHER, jwks, claims } });
const NOW = given.clock.now();
const attest = (token: string, more = {}) => given.attestor.attest(peerOf(token, more), NONE);
const refuses = (token: string, why: RegExp, more = {}) =>
  assert.rejects(attest(token, more), (error: IssuerError) => {
    refusal('invalid_assertion', why)(error);
    assert.deepEqual(error.shown, { reason: error.detail });
    const { detail } = error;
    for (const part of token.split('.')) assert.ok(part.length < 8 || !detail.includes(part));
    return true;
  });

suite('a token of a trusted issuer', () => {
  test('proves whom its issuer says it is', async () => {
    const more = {
      repository_id: 42,
      admin: false,
      groups: ['a', 'b:c', 7],
      'kubernetes.io': { namespace: 'prod' },
      projectId: 'p',
      secret: 'not listed',
    };
    const workload = await attest(mint(ES, NOW, { claims: more }), { client: 'ci' });
    assert.deepEqual([...workload.selectors].sort(), [
      'jwt:audience:https://id.example.com',
      'jwt:claim:admin:false',
      'jwt:claim:groups:7',
      'jwt:claim:groups:a',
      'jwt:claim:groups:b:c',
      'jwt:claim:namespace:prod',
      'jwt:claim:projectId:p',
      'jwt:claim:repository_id:42',
      'jwt:issuer:other',
      'jwt:subject:job-1',
      'oauth:client:ci',
    ]);
    assert.deepEqual(workload.facts, {
      'jwt.issuer': 'other',
      'jwt.issuer-url': OTHER,
      'jwt.subject': 'job-1',
      'jwt.audience': US,
      'jwt.id': 'j-1',
      'jwt.claim.repository_id': '42',
      'jwt.claim.admin': 'false',
      'jwt.claim.namespace': 'prod',
      'jwt.claim.projectId': 'p',
      'oauth.client': 'ci',
    });
    assert.deepEqual(workload.unproven, { 'jwt:claim:deep': 'no_claim' });
    assert.equal(workload.expiresAt, NOW + 300);
    assert.equal(workload.assertion?.issuer, 'other');
    assert.equal(workload.assertion?.claims.secret, 'not listed');
    given.attestor.confirm(peerOf(''), workload);
  });

  for (const alg of [
    'RS256',
    'RS384',
    'RS512',
    'PS256',
    'PS384',
    'PS512',
    'ES256',
    'ES384',
    'ES512',
    'EdDSA',
    'Ed25519',
  ])
    test(`may be signed with ${alg}, as another library signs`, async () => {
      const key = makeKey(alg);
      const { attestor, clock } = await openJwt({
        other: { issuer: OTHER, jwks: { keys: [published(key)] }, algorithms: [alg] },
      });
      const token = await new SignJWT({})
        .setProtectedHeader({ alg, kid: key.kid })
        .setIssuer(OTHER)
        .setSubject('s')
        .setAudience([US])
        .setExpirationTime(clock.now() + 60)
        .sign(await importJWK(key.privateKey.export({ format: 'jwk' }), alg));
      assert.ok((await attestor.attest(peerOf(token), NONE)).selectors.has('jwt:issuer:other'));
      const [head = '', body = '', end = ''] = token.split('.');
      const bytes = Buffer.from(end, 'base64url');
      bytes[10]! ^= 1;
      const forged = [head, body, bytes.toString('base64url')].join('.');
      await assert.rejects(attestor.attest(peerOf(forged), NONE), refusal('invalid_assertion', /signature/));
    });

  test('may name several audiences, one of which is among ours', async () => {
    const workload = await attest(mint(ES, NOW, { claims: { aud: ['https://a.example', US] } }));
    assert.ok(workload.selectors.has('jwt:audience:https://a.example'));
    assert.equal(workload.facts['jwt.audience'], undefined);
    await attest(mint(ES, NOW, { claims: { aud: 'x' } }), { audiences: ['y', 'x'] });
  });

  test('may have no typ, and JWT in any way of writing', async () => {
    for (const typ of [undefined, 'jwt', 'application/jwt']) await attest(mint(ES, NOW, { header: { typ } }));
  });

  test('may have no kid where its issuer has one key for its alg', async () => {
    await attest(mint(ES, NOW, { header: { kid: undefined } }));
    const two = { keys: [published(ES), { ...published(ES), kid: 'b' }] };
    const { attestor } = await openJwt({ other: { issuer: OTHER, jwks: two } });
    const token = mint(ES, NOW, { header: { kid: undefined } });
    await assert.rejects(attestor.attest(peerOf(token), NONE), refusal('invalid_assertion', /names no key/));
  });

  test('is looked at again before the answer', async () => {
    const { attestor, clock } = await openJwt({ other: { issuer: OTHER, jwks } });
    const workload = await attestor.attest(peerOf(mint(ES, NOW)), NONE);
    clock.advance(299);
    attestor.confirm(peerOf(''), workload);
    clock.advance(1);
    assert.throws(() => attestor.confirm(peerOf(''), workload), refusal('invalid_assertion', /expired/));
    assert.throws(
      () => attestor.confirm(peerOf(''), { ...workload, expiresAt: undefined }),
      refusal('invalid_assertion'),
    );
  });

  test('ends the token that is made by it', async () => {
    const clock = given.clock;
    const { issuers } = v.parse(config, { issuers: { other: { issuer: OTHER, jwks, claims } } });
    const rule = ruleOf({
      match: ['jwt:issuer:other', 'jwt:subject:job-1'],
      subject: 'ci:{jwt.claim.repository_id}',
      claims: { parent: '{jwt.id}' },
    });
    const context = { issuer: US, constants: {}, ...provable({ issuers }) };
    const { policy, problems } = compilePolicy([rule], context);
    assert.deepEqual(problems, []);
    const ring = await realRing(['RS256'], NOW);
    const issuer = createIssuer({
      identifier: US,
      policy: () => policy,
      attestor: given.attestor,
      signer: openSigner({ ring: () => ring, assertFresh: () => undefined }),
      recorder: collectingRecorder(),
      clock,
      createTokenId: () => 'j',
    });
    const peer = peerOf(mint(ES, NOW, { claims: { repository_id: '7', exp: NOW + 90.9 } }));
    const issued = await issuer.issueToken('oauth', peer, { audience: ['sts.amazonaws.com'] });
    assert.deepEqual([issued.claims.exp, issued.claims.sub, issued.claims.parent], [NOW + 90, 'ci:7', 'j-1']);
    const { decision }: Explanation = await issuer.explain(peer, { audience: ['sts.amazonaws.com'] });
    assert.equal(decision.allowed && decision.ttlSeconds, 90);
  });
});

const claimCases: readonly (readonly [string, ClaimSet, RegExp])[] = [
  ['of an issuer that nobody trusts', { iss: 'https://evil.example' }, /not trusted/],
  ['with an issuer that only begins alike', { iss: `${OTHER}/` }, /not trusted/],
  ['with a list of issuers', { iss: [OTHER] }, /not trusted/],
  ['without an issuer', { iss: undefined }, /not trusted/],
  ['without a subject', { sub: undefined }, /no sub/],
  ['with a subject that is no text', { sub: 7 }, /no sub/],
  ['with an empty subject', { sub: '' }, /no sub/],
  ['for another audience', { aud: 'https://api.example.com' }, /not for us/],
  ['for an audience that only begins alike', { aud: `${US}/` }, /not for us/],
  ['for audiences among which we are not', { aud: ['a', 'b'] }, /not for us/],
  ['with an audience that is no text', { aud: [US, 7] }, /not for us/],
  ['without an audience', { aud: undefined }, /not for us/],
  ['that has expired', { exp: NOW }, /has expired/],
  ['that expired long ago, and was never old', { exp: NOW - 1, iat: NOW - 2, nbf: NOW - 2 }, /has expired/],
  ['without an end', { exp: undefined }, /no exp/],
  ['with a text for its end', { exp: String(NOW + 60) }, /exp is no number/],
  ['that ends in two days', { exp: NOW + 2 * 86_400 }, /ends more than 86400/],
  ['from the future', { iat: NOW + 61 }, /future/],
  ['not valid yet', { nbf: NOW + 61 }, /not valid yet/],
  ['with a start that is no number', { nbf: true }, /nbf is no number/],
  ['issued two days ago', { iat: NOW - 2 * 86_400 }, /issued more than/],
  ['bound to a key', { cnf: { jkt: 'x' } }, /bound to a key/],
];

const headerCases: readonly (readonly [string, ClaimSet, RegExp])[] = [
  ['of a kid that nobody has', { kid: 'nobody' }, /no key of its kid/],
  ['with the kid of another key', { kid: RSA.kid }, /not for its alg/],
  ['with a kid that is no text', { kid: 7 }, /kid is no text/],
  ['with a critical extension', { crit: ['exp'] }, /has crit/],
  ['with an unencoded payload', { b64: false }, /has b64/],
  ['that brings its key', { jwk: FOREIGN.jwk }, /has jwk/],
  ['that names a place for its key', { jku: 'https://evil.example/jwks' }, /has jku/],
  ['that names a place for its certificate', { x5u: 'https://evil.example/x' }, /has x5u/],
  ['that brings a certificate', { x5c: ['MII'] }, /has x5c/],
  ['that is an access token', { typ: 'at+jwt' }, /typ is not taken/],
  ['that is a logout token', { typ: 'application/logout+jwt' }, /typ is not taken/],
  ['with a typ that is no text', { typ: ['JWT'] }, /typ is no text/],
  ['without an alg', { alg: undefined }, /no alg/],
  ['with an alg that is not its own', { alg: 'RS256' }, /not for its alg/],
  ['with an alg that is not taken', { alg: 'ES256K' }, /alg is not taken/],
];

suite('a token is refused', () => {
  for (const [what, more, why] of claimCases) test(what, () => refuses(mint(ES, NOW, { claims: more }), why));
  for (const [what, more, why] of headerCases)
    test(what, () => refuses(mint(ES, NOW, { header: more }), why));

  const header = { alg: 'ES256', kid: ES.kid };
  const sound = { iss: OTHER, sub: 's', aud: US, exp: NOW + 60 };
  const shapes: readonly (readonly [string, string, RegExp])[] = [
    ['unsigned', compact({ ...header, alg: 'none' }, sound, () => Buffer.alloc(0)), /alg is not taken/],
    ['without its signature', compact(header, sound, () => Buffer.alloc(0)), /signature is not by/],
    ['by another key of the same name', mint({ ...FOREIGN, kid: ES.kid }, NOW), /signature is not by/],
    ['with a signature in DER', mint(ES, NOW).replace(/[^.]*$/, 'MEUCIQ'), /signature is not by/],
    ['encrypted', 'e30.e30.e30.e30.e30', /encrypted/],
    ['of two parts', 'e30.e30', /no JWT in compact form/],
    ['of six parts', 'e30.e30.e30.e30.e30.e30', /no JWT in compact form/],
    ['empty', '', /no JWT in compact form/],
    ['of nothing but dots', '..', /header is no valid JSON/],
    ['in JSON serialization', JSON.stringify({ payload: '', signatures: [] }), /no JWT in compact form/],
    ['with padding', `${mint(ES, NOW)}=`, /signature is not base64url/],
    ['with a blank', ` ${mint(ES, NOW)}`, /header is not base64url/],
    ['with a header that is a list', compact([header], sound, signer(ES)), /header is no JSON object/],
    ['with a payload that is no JSON', compact(header, '{"iss":', signer(ES)), /payload is no valid JSON/],
    [
      'with a repeated claim',
      compact(header, `{"iss":"${OTHER}","iss":"x"}`, signer(ES)),
      /field is repeated/,
    ],
    [
      'with a repeated header',
      compact('{"alg":"ES256","alg":"none"}', sound, signer(ES)),
      /field is repeated/,
    ],
    [
      'with the same name written in two ways',
      compact(header, `{"aud":"${US}","\\u0061ud":"x"}`, signer(ES)),
      /field is repeated/,
    ],
    ['with __proto__', compact(header, '{"__proto__":{"sub":"admin"}}', signer(ES)), /__proto__/],
    ['too deep', compact(header, `{"a":${'['.repeat(100)}${']'.repeat(100)}}`, signer(ES)), /nests deeper/],
    [
      'with an end without end',
      compact(header, `{"iss":"${OTHER}","sub":"s","aud":"${US}","exp":1e999}`, signer(ES)),
      /exp is no number/,
    ],
    ['too long', mint(ES, NOW, { claims: { filler: 'x'.repeat(16_384) } }), /longer than 16384/],
    [
      'not in UTF-8',
      `${base64url(header)}.${Buffer.from([0x7b, 0xff, 0x7d]).toString('base64url')}.AA`,
      /UTF-8/,
    ],
  ];
  for (const [what, token, why] of shapes) test(what, () => refuses(token, why));

  test('signed with HMAC by the public key', async () => {
    const pem = RSA.publicKey.export({ format: 'pem', type: 'spki' });
    for (const secret of [pem, JSON.stringify(RSA.jwk), String(RSA.jwk.n), ''])
      await refuses(compact({ alg: 'HS256', kid: RSA.kid }, sound, hmac(secret)), /alg is not taken/);
  });

  test('with spare bits in its signature', async () => {
    const token = mint(ES, NOW);
    const last = token.slice(-1);
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const twin = alphabet[alphabet.indexOf(last) ^ 1]!;
    await refuses(token.slice(0, -1) + twin, /signature is not base64url/);
  });

  test('for nobody', () => refuses(mint(ES, NOW), /not for us/, { audiences: [] }));

  test('whatever character of it is changed', async () => {
    const token = mint(ES, NOW, { claims: { exp: NOW + 3600 } });
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom(...'ABab09-_.'), async (at, character) => {
        fc.pre(token[at] !== character);
        const changed = token.slice(0, at) + character + token.slice(at + 1);
        await assert.rejects(attest(changed), refusal('invalid_assertion'));
      }),
      { numRuns: 300 },
    );
  });

  test('whatever it is, and nothing else happens', async () => {
    const json = fc.json();
    const part = fc.oneof(
      json.map(base64url),
      fc.string(),
      fc.base64String(),
      fc.constant(base64url(header)),
    );
    const anything = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 200 }),
      fc.array(part, { maxLength: 6 }).map((parts) => parts.join('.')),
      fc.tuple(json, json).map(([head, body]) => compact(head, body, signer(ES))),
    );
    await fc.assert(
      fc.asyncProperty(anything, (token) => assert.rejects(attest(token), refusal('invalid_assertion'))),
      { numRuns: 500 },
    );
  });
});

suite('values that rules could misread', () => {
  const unproven = async (more: ClaimSet) => {
    const { selectors, unproven, facts } = await attest(mint(ES, NOW, { claims: more }));
    assert.ok(![...selectors].some((selector) => selector.startsWith('jwt:claim:deep')));
    assert.equal(facts['jwt.claim.deep'], undefined);
    return unproven['jwt:claim:deep'];
  };
  for (const [what, value, reason] of [
    ['a control character', 'a\nb', 'value_not_text'],
    ['half a pair', 'a\ud800', 'value_not_text'],
    ['a long text', 'x'.repeat(513), 'value_too_long'],
    ['nothing', '', 'value_empty'],
    ['null', null, 'value_not_plain'],
    ['an object', { a: 1 }, 'value_not_plain'],
    ['a list with one of them', ['a', ['b']], 'value_not_plain'],
    ['an empty list', [], 'no_claim'],
    ['a long list', Array.from({ length: 101 }, String), 'too_many_values'],
    ['a number of too many digits', 2 ** 53, 'number_not_exact'],
  ] as const)
    test(`${what} is left out and named`, async () => {
      assert.equal(await unproven({ deep: value }), reason);
      assert.ok(Object.hasOwn(UNPROVEN_REASONS, reason));
    });

  test('a subject too', async () => {
    const { selectors, facts, unproven } = await attest(mint(ES, NOW, { claims: { sub: 'a\u0000' } }));
    assert.ok(![...selectors].some((selector) => selector.startsWith('jwt:subject')));
    assert.equal(facts['jwt.subject'], undefined);
    assert.equal(unproven['jwt:subject'], 'value_not_text');
  });

  test('no claim becomes another', async () => {
    const keys = ['repository_id', 'admin', 'groups', 'deep', 'projectId'] as const;
    const value = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.array(fc.string()), fc.constant(null));
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.constantFrom(...keys), value), async (more) => {
        const { selectors } = await attest(mint(ES, NOW, { claims: more }));
        for (const selector of selectors) {
          const [, kind, name = '', ...rest] = selector.split(':');
          if (kind !== 'claim') continue;
          assert.ok([more[name]].flat().map(String).includes(rest.join(':')));
        }
      }),
      { numRuns: 200 },
    );
  });
});

suite('settings of an issuer', () => {
  const attestWith = async (settings: object, key: FakeKey, more: Minted = {}) => {
    const issuers = { other: { issuer: OTHER, jwks: { keys: [published(key)] }, ...settings } };
    const { attestor } = await openJwt(issuers);
    return attestor.attest(peerOf(mint(key, NOW, more)), NONE);
  };

  test('types, algorithms, age and skew', async () => {
    const access = { header: { typ: 'at+JWT' } };
    await attestWith({ types: ['at+jwt'] }, ES, access);
    await assert.rejects(attestWith({ types: ['at+jwt'] }, ES), refusal('invalid_assertion', /typ/));
    const bare = attestWith({ types: ['at+jwt'] }, ES, { header: { typ: undefined } });
    await assert.rejects(bare, refusal('invalid_assertion', /typ/));
    await assert.rejects(attestWith({ algorithms: ['RS256'] }, ES), refusal('invalid_assertion', /alg/));
    const young = attestWith({ maxAgeSeconds: 60 }, ES);
    await assert.rejects(young, refusal('invalid_assertion', /more than 60 seconds from now/));
    const ahead = { claims: { iat: NOW + 100, nbf: NOW + 100 } };
    await attestWith({ clockSkewSeconds: 100 }, ES, ahead);
    await assert.rejects(
      attestWith({ clockSkewSeconds: 0 }, ES, { claims: { iat: NOW + 1 } }),
      refusal('invalid_assertion'),
    );
  });

  const mistakes = (issuers: unknown) => {
    const { issues = [] } = v.safeParse(config, { issuers });
    return issues.map((issue) => `${issue.path?.map(({ key }) => key).join('.')} ${issue.message}`);
  };
  for (const [what, issuers, why] of [
    ['none at all', {}, /issuers must name at least one/],
    ['one without an iss', { a: {} }, /issuers\.a\.issuer must say the iss/],
    [
      'an iss that is no URL, with nothing said of its keys',
      { a: { issuer: 'accounts' } },
      /must be a URL, or its keys/,
    ],
    ['http beyond loopback', { a: { issuer: 'http://other.example.com' } }, /must be an https URL/],
    ['http on loopback without a word', { a: { issuer: 'http://127.0.0.1:1' } }, /allowPrivate must be true/],
    [
      'a user in its URL',
      { a: { issuer: OTHER, jwksUri: 'https://u:p@x.example' } },
      /jwksUri must have no user/,
    ],
    ['two places of keys', { a: { issuer: OTHER, jwks, jwksFile: '/x' } }, /jwksFile is one place/],
    [
      'two of one iss',
      { a: { issuer: OTHER, jwks }, b: { issuer: OTHER, jwks } },
      /b\.issuer is that of a too/,
    ],
    ['self with an iss', { self: { issuer: OTHER } }, /self\.issuer is known/],
    ['HS256', { a: { issuer: OTHER, algorithms: ['HS256'] } }, /algorithms\.0 .*"HS256"/],
    ['none', { a: { issuer: OTHER, algorithms: ['none'] } }, /algorithms\.0 .*"none"/],
    [
      'a private key',
      { a: { issuer: OTHER, jwks: { keys: [ES.privateKey.export({ format: 'jwk' })] } } },
      /thrown away/,
    ],
    ['no key', { a: { issuer: OTHER, jwks: { keys: [] } } }, /has no key that can verify/],
    ['a claim with a colon', { a: { issuer: OTHER, claims: ['a:b'] } }, /must be letters, digits and/],
    ['allowPrivate for nothing', { a: { issuer: OTHER, jwks, allowPrivate: true } }, /has no use/],
    ['a key that is not known', { a: { issuer: OTHER, jwksUrl: 'x' } }, /jwksUrl/],
  ] as const)
    test(`${what} is a mistake`, () => assert.match(mistakes(issuers).join('\n'), why));

  test('what is sound', () => {
    const sound = {
      self: {},
      github: { issuer: 'https://token.actions.githubusercontent.com', claims: ['repository_id'] },
      legacy: { issuer: 'kubernetes/serviceaccount', jwksFile: '/etc/jwks.json' },
      dev: { issuer: 'http://localhost:9000', allowPrivate: true },
    };
    assert.deepEqual(mistakes(sound), []);
  });

  test('rules may name what is configured, beside its issuer', () => {
    const { issuers } = v.parse(config, { issuers: { other: { issuer: OTHER, claims } } });
    const problems = (...match: string[]) => {
      const context = { issuer: US, constants: {}, ...provable({ issuers }) };
      return compilePolicy([ruleOf({ match, subject: 'x' })], context).problems.map(({ message }) => message);
    };
    assert.deepEqual(problems('jwt:issuer:other', 'jwt:claim:namespace:prod', 'oauth:client:a'), []);
    assert.match(problems('jwt:issuer:othr')[0] ?? '', /no such issuer; known: other/);
    assert.match(problems('jwt:issuer:other', 'jwt:claim:ref:x')[0] ?? '', /no issuer's claims have ref/);
    assert.match(problems('jwt:issuer:other', 'jwt:claim:admin')[0] ?? '', /form jwt:claim:NAME:VALUE/);
    assert.match(problems('jwt:subject:job-1')[0] ?? '', /only beside jwt:issuer/);
  });
});

suite('our own issuer', () => {
  test('is trusted under the name self, by the ring of the moment', async () => {
    let keys = (await realRing(['RS256', 'ES256'], NOW)).keys;
    const own = { identifier: US, keys: () => keys };
    const { attestor } = await openJwt({ self: {} }, { own });
    const active = keys.find(({ state, algorithm }) => state === 'active' && algorithm === 'ES256')!;
    const key = { ...ES, kid: active.keyId, privateKey: active.privateKey };
    const token = mint(key, NOW, { claims: { iss: US } });
    const workload = await attestor.attest(peerOf(token), NONE);
    assert.equal(workload.facts['jwt.issuer'], 'self');
    const other = peerOf(mint(key, NOW, { claims: { iss: US, aud: 'sts.amazonaws.com' } }));
    await assert.rejects(attestor.attest(other, NONE), refusal('invalid_assertion', /not for us/));
    keys = keys.filter((each) => each !== active);
    await assert.rejects(
      attestor.attest(peerOf(token), NONE),
      refusal('invalid_assertion', /no key of its kid/),
    );
  });

  test('is called so', async () => {
    const twice = openJwt({ self: {}, us: { issuer: US, jwks } });
    await assert.rejects(twice, refusal('server_error', /call it self/));
  });

  test('is not a sidecar’s', async () => {
    await assert.rejects(
      openJwt({ other: { issuer: OTHER, jwks } }, { own: undefined }),
      refusal('server_error', /sidecar/),
    );
  });
});

suite('a file of keys', () => {
  test('is read again when it changes, and kept where it is broken', async (t) => {
    const directory = await mkdtemp(join(tmpdir(), 'mintmark-jwks-'));
    t.after(() => rm(directory, { recursive: true }));
    const path = join(directory, 'jwks.json');
    const put = async (text: string) => {
      await writeFile(`${path}.new`, text);
      await rename(`${path}.new`, path);
    };
    const issuers = { other: { issuer: OTHER, jwksFile: path } };
    await assert.rejects(openJwt(issuers), refusal('server_error', /issuers\.other: .*ENOENT/));
    await put('{');
    await assert.rejects(openJwt(issuers), refusal('server_error', /it is no JSON/));
    await put(JSON.stringify({ keys: [published(ES)] }));
    const { attestor, clock, warnings } = await openJwt(issuers);
    const next = makeKey('ES256', 'next');
    const attest = (key: FakeKey) => attestor.attest(peerOf(mint(key, NOW)), NONE);
    await attest(ES);
    await assert.rejects(attest(next), refusal('invalid_assertion', /no key of its kid/));
    await put(JSON.stringify({ keys: [published(next)] }));
    clock.advance(1);
    await attest(next);
    await assert.rejects(attest(ES), refusal('invalid_assertion', /no key of its kid/));
    await put(JSON.stringify({ keys: [ES.privateKey.export({ format: 'jwk' })] }));
    for (let i = 0; i < 3; i++) {
      clock.advance(1);
      await attest(next);
    }
    assert.deepEqual(
      warnings.map((line) => line.replace(directory, '')),
      ['/jwks.json: it has a private or secret key; the keys that it had stay in use'],
    );
  });
});
