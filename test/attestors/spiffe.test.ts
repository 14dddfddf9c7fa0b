/** JWT-SVIDs: a SPIFFE bundle's keys, and tokens that name their trust domain and no issuer. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import * as v from 'valibot';
import { config } from '../../src/attestors/jwt.ts';
import { refusal } from '../conformance/key-store.ts';
import { makeKey, mint, OTHER, openJwt, peerOf, published } from '../fakes/tokens.ts';

const NONE: ReadonlySet<string> = new Set();
const KEY = makeKey('ES256', 'svid');
const LATER = makeKey('RS256', 'later');
const X509 = makeKey('ES256', 'x509');
/** As `spire-server bundle show -format spiffe` prints it: no `alg`, and the CA's keys beside. */
const BUNDLE = {
  keys: [
    { ...X509.jwk, use: 'x509-svid', x5c: ['MII'] },
    { ...KEY.jwk, kid: KEY.kid, use: 'jwt-svid' },
    { ...LATER.jwk, kid: LATER.kid, use: 'jwt-svid' },
  ],
  spiffe_sequence: 7,
  spiffe_refresh_hint: 300,
};
const PROD = { trustDomain: 'prod.example.org', jwks: BUNDLE };
const WEB = 'spiffe://prod.example.org/ns/shop/sa/web';
/** What JWT-SVID section 3 wants, and no more. */
const SVID = { iss: undefined, nbf: undefined, jti: undefined, iat: undefined, sub: WEB };

suite('a JWT-SVID', () => {
  test('is known by the trust domain of its sub', async () => {
    const { attestor, clock } = await openJwt({
      prod: PROD,
      other: { issuer: OTHER, jwks: { keys: [published(X509)] } },
    });
    for (const header of [{ typ: 'JWT' }, { typ: 'JOSE' }, { typ: undefined }])
      for (const key of [KEY, LATER]) {
        const workload = await attestor.attest(
          peerOf(mint(key, clock.now(), { header, claims: SVID })),
          NONE,
        );
        assert.equal(workload.facts['jwt.issuer'], 'prod');
        assert.equal(workload.facts['jwt.subject'], WEB);
      }
    const named = mint(KEY, clock.now(), { claims: { ...SVID, iss: 'https://spire.example.org' } });
    assert.equal(
      (await attestor.attest(peerOf(named), NONE)).facts['jwt.issuer'],
      'prod',
      'iss says nothing',
    );
  });

  test('is refused: another trust domain or key, no SPIFFE ID of a workload', async () => {
    const { attestor, clock } = await openJwt({
      prod: PROD,
      test: { trustDomain: 'test.example.org', jwks: { keys: [published(X509)] } },
    });
    const refuses = (key: typeof KEY, claims: object, why: RegExp) =>
      assert.rejects(
        attestor.attest(peerOf(mint(key, clock.now(), { claims: { ...SVID, ...claims } })), NONE),
        refusal('invalid_assertion', why),
      );
    await refuses(X509, {}, /no key of its kid/);
    for (const iss of [5, null, '', ['a']]) await refuses(KEY, { iss }, /its iss is no text/);
    await refuses(KEY, { sub: 'spiffe://test.example.org/ns/shop/sa/web' }, /no key of its kid/);
    for (const sub of [
      'spiffe://evil.example.org/web',
      'spiffe://prod.example.org',
      'spiffe://prod.example.org/',
      'spiffe://prod.example.org/a/../b',
      'spiffe://prod.example.org/a//b',
      'spiffe://prod.example.org:8443/a',
      'spiffe://x@prod.example.org/a',
      'spiffe://PROD.example.org/a',
      'https://prod.example.org/a',
      `${WEB}\n`,
    ])
      await refuses(KEY, { sub }, /not trusted/);
  });

  test('an issuer of a trust domain: its iss where it has one, and its domain always', async () => {
    const { attestor, clock } = await openJwt({ prod: { ...PROD, issuer: OTHER } });
    const attest = (claims: object) =>
      attestor.attest(peerOf(mint(KEY, clock.now(), { claims: { ...SVID, ...claims } })), NONE);
    await attest({});
    await attest({ iss: OTHER });
    await assert.rejects(
      attest({ iss: 'https://evil.example' }),
      refusal('invalid_assertion', /another issuer/),
    );
    await assert.rejects(attest({ iss: OTHER, sub: 'job-1' }), refusal('invalid_assertion', /trust domain/));
  });

  test('a set of keys that is no bundle is told when it is opened', async () => {
    const { warnings: warned } = await openJwt({
      prod: PROD,
      plain: { trustDomain: 'plain.example.org', jwks: { keys: [published(KEY)] } },
    });
    assert.equal(warned.length, 1);
    assert.match(warned[0] ?? '', /^attestors\.jwt\.issuers\.plain: no key has use: jwt-svid/);
  });

  test('settings that cannot work', () => {
    const wrong: readonly (readonly [object, RegExp])[] = [
      [{ prod: { trustDomain: 'prod.example.org' } }, /needs a place of its keys/],
      [{ prod: { trustDomain: 'spiffe://prod.example.org', jwks: BUNDLE } }, /the name alone/],
      [{ prod: PROD, twin: PROD }, /is that of prod too/],
      [{ self: { trustDomain: 'prod.example.org' } }, /is known of self/],
    ];
    for (const [issuers, why] of wrong) {
      const { issues = [] } = v.safeParse(config, { issuers });
      assert.match(issues.map(({ message }) => message).join('\n'), why);
    }
  });
});
