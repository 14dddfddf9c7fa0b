import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { compileAudiences, parseAudience } from '../../src/core/audience.ts';
import { refusal } from '../conformance/key-store.ts';
import { ISSUER } from '../fakes/policy.ts';

const AWS = 'sts.amazonaws.com';

function matches(pattern: string, audience: string): boolean {
  const rule = { audiences: [], audiencePatterns: [pattern], multipleAudiences: false };
  return compileAudiences(rule, ISSUER)([audience]);
}

suite('the audience of a request', () => {
  test('is one string or a list of distinct ones, in the order asked for', () => {
    assert.deepEqual(parseAudience(AWS), [AWS]);
    assert.deepEqual(parseAudience(['b', 'a', 'b']), ['b', 'a']);
    assert.deepEqual(parseAudience('x'.repeat(255)), ['x'.repeat(255)]);
    assert.deepEqual(parseAudience('https://münchen.example/ä?b#c d'), ['https://münchen.example/ä?b#c d']);
  });

  test('is nothing else', () => {
    const eleven = Array.from({ length: 11 }, (_, index) => `a${index}`);
    const bad = [
      '',
      'x'.repeat(256),
      'a\nb',
      'a\0',
      '\u007f',
      '\u0085',
      '\u2028',
      '\ud800',
      17,
      null,
      true,
      undefined,
    ];
    for (const value of [...bad, {}, [], [[AWS]], [AWS, ''], [AWS, 1], eleven])
      assert.throws(() => parseAudience(value), refusal('invalid_request'), JSON.stringify(value));
  });

  test('whatever it is, it is taken or refused', () => {
    fc.assert(
      fc.property(fc.anything(), (value) => {
        try {
          const list = parseAudience(value);
          assert.ok(list.length > 0 && list.every((one) => typeof one === 'string' && one !== ''));
        } catch (error) {
          refusal('invalid_request')(error);
        }
      }),
    );
  });
});

suite('the audiences of a rule', () => {
  test('none and no pattern: nobody', () => {
    const rule = { audiences: [], audiencePatterns: [], multipleAudiences: true };
    assert.equal(compileAudiences(rule, ISSUER)([AWS]), false);
  });

  test('are compared byte by byte', () => {
    const rule = {
      audiences: [AWS, 'https://*.example.com'],
      audiencePatterns: [],
      multipleAudiences: false,
    };
    const allows = compileAudiences(rule, ISSUER);
    assert.equal(allows([AWS]), true);
    for (const other of [
      'STS.amazonaws.com',
      `${AWS}/`,
      ` ${AWS}`,
      `${AWS}.evil.example`,
      'https://a.example.com',
    ])
      assert.equal(allows([other]), false, other);
  });

  test('several at once only where the rule says so, and then each must be allowed', () => {
    const rule = { audiences: ['a', 'b'], audiencePatterns: [] };
    assert.equal(compileAudiences({ ...rule, multipleAudiences: false }, ISSUER)(['a', 'b']), false);
    assert.equal(compileAudiences({ ...rule, multipleAudiences: true }, ISSUER)(['b', 'a']), true);
    assert.equal(compileAudiences({ ...rule, multipleAudiences: true }, ISSUER)(['a', 'c']), false);
  });

  test('* stands for a run without slash, ** for any', () => {
    const yes = [
      ['https://*.example.com', 'https://a.example.com'],
      ['https://*.example.com', 'https://a.b.example.com'],
      ['https://*.example.com', 'https://.example.com'],
      ['https://a/*/c', 'https://a/b/c'],
      ['https://a/**', 'https://a/b/c'],
      ['**', 'anything/at all'],
      ['a*', 'a'],
      ['*b*', 'abbc'],
      ['a**a', 'aa'],
      ['(a+)+$^[.]?{2}|\\d*', '(a+)+$^[.]?{2}|\\d9'],
    ] as const;
    const no = [
      ['https://*.example.com', 'https://evil.com/.example.com'],
      ['https://*.example.com', 'https://a.example.com.evil.com'],
      ['https://*.example.com', 'https://aXexample.com'],
      ['https://a/*/c', 'https://a/b/b/c'],
      ['*', 'a/b'],
      ['a**a', 'a'],
      ['a.c', 'abc'],
    ] as const;
    for (const [pattern, audience] of yes)
      assert.equal(matches(pattern, audience), true, `${pattern} ${audience}`);
    for (const [pattern, audience] of no)
      assert.equal(matches(pattern, audience), false, `${pattern} ${audience}`);
  });

  test('a pattern never reaches the issuer nor what lies below it, a name does', () => {
    assert.equal(matches('**', ISSUER), false);
    assert.equal(matches('https://*', ISSUER), false);
    const host = new URL(ISSUER).host;
    for (const spelling of [
      `${ISSUER}/`,
      `${ISSUER}:443`,
      ISSUER.toUpperCase(),
      `${ISSUER}/connect/token`,
      `https://user@${host}`,
      `https://user:word@${host}:443/`,
      `https://%${host.charCodeAt(0).toString(16)}${host.slice(1)}`,
      `https://${host}.`,
      `https://${host}.:443/connect`,
      `https:\\\\${host}`,
      `${ISSUER}?a#b`,
    ])
      assert.equal(matches('**', spelling), false, spelling);
    assert.equal(matches('**', `${ISSUER}.example.net`), true);
    const named = { audiences: [ISSUER], audiencePatterns: [], multipleAudiences: false };
    assert.equal(compileAudiences(named, ISSUER)([ISSUER]), true);
  });

  test('nor the issuer below a path, however that is spelt', () => {
    const rule = { audiences: [], audiencePatterns: ['**'], multipleAudiences: false };
    const allows = compileAudiences(rule, 'https://id.example.com/acme');
    for (const path of ['acme', '%61cme', 'x/../acme', '%2e/acm%65/connect', 'acme%2Fconnect/%zz', 'acme//'])
      assert.equal(allows([`https://user@id.example.com./${path}`]), false, path);
    for (const path of ['', '/acme2', '/Acme', '/%2561cme'])
      assert.equal(allows([`https://id.example.com${path}`]), true, path);
    assert.equal(allows(['https://id.example.com:8443/acme']), true);
  });

  test('more than four wildcards are refused', () => {
    assert.equal(matches('*a*b*c*', 'xaxbxcx'), true);
    assert.throws(() => matches('*a*b*c*d*', 'x'), RangeError);
  });

  test('mean what the like regular expression means', () => {
    const glob = fc
      .array(fc.constantFrom('a', 'b', '/', '*', '**'), { maxLength: 7 })
      .map((parts) => parts.join(''));
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '/'), minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(glob, text, (pattern, audience) => {
        fc.pre(pattern.split(/\*\*?/).length <= 5);
        const source = pattern.replace(/\*\*?/g, (found) => (found === '**' ? '.*' : '[^/]*'));
        assert.equal(matches(pattern, audience), new RegExp(`^${source}$`, 's').test(audience));
      }),
      { numRuns: 2000 },
    );
  });

  test('are found without a search that goes back, so no audience makes it slow', (t) => {
    const rule = { audiences: [], audiencePatterns: ['**a**a**a**b'], multipleAudiences: false };
    const allows = compileAudiences(rule, ISSUER);
    const searches = t.mock.method(RegExp.prototype, 'exec');
    const looks = t.mock.method(String.prototype, 'startsWith');
    assert.equal(allows([`${'a'.repeat(254)}b`]), true);
    assert.equal(allows([`aa${'c'.repeat(252)}b`]), false);
    assert.equal(searches.mock.callCount(), 0);
    assert.ok(looks.mock.callCount() < 2 * 9 * 256, `${looks.mock.callCount()} looks`);
  });
});
