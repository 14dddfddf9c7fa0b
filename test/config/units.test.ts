import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { didYouMean, formatPath, parsePath, show } from '../../src/config/problems.ts';
import {
  assertIssuer,
  durationPattern,
  formatDuration,
  formatListen,
  formatMode,
  isLoopback,
  parseDuration,
  parseListen,
  parseMode,
} from '../../src/config/units.ts';

test('a duration is written and read back', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 999_999_999 }),
      (seconds) => parseDuration(formatDuration(seconds)) === seconds,
    ),
  );
  assert.deepEqual(['90s', '10m', '24h', '7d', '0s'].map(parseDuration), [90, 600, 86_400, 604_800, 0]);
  assert.deepEqual([600, 86_400, 604_800, 90, 3600].map(formatDuration), ['10m', '24h', '7d', '90s', '1h']);
  for (const text of ['', '10', '-1s', '1.5h', '1 m', '01s', '1w', '1h30m', '1e3s', '9999999999s', '10M'])
    assert.throws(() => parseDuration(text), RangeError, text);
});

test('a mode is written and read back', () => {
  fc.assert(fc.property(fc.nat({ max: 0o777 }), (mode) => parseMode(formatMode(mode)) === mode));
  for (const text of ['640', '0o640', '0888', '00640', '']) assert.throws(() => parseMode(text), RangeError);
});

test('an address is written and read back', () => {
  const host = fc.oneof(
    fc.ipV4(),
    fc.ipV6().filter((address) => !address.includes('.')),
    fc.domain(),
  );
  fc.assert(
    fc.property(host, fc.nat({ max: 65_535 }), (address, port) => {
      assert.deepEqual(parseListen(formatListen({ host: address, port })), { host: address, port });
    }),
  );
  for (const text of [
    '8443',
    ':80',
    '1.2.3:80',
    '::1:80',
    '[::1]',
    '[::g]:1',
    'a_b:1',
    '-a:1',
    'a:65536',
    'a:1x',
  ])
    assert.throws(() => parseListen(text), RangeError, text);
  assert.deepEqual(
    ['127.0.0.1', '127.9.9.9', '::1', 'localhost', '0.0.0.0', '10.0.0.1', '127.evil.example'].map(isLoopback),
    [true, true, true, true, false, false, false],
  );
});

test('an issuer that passes is the URL that relying parties build', () => {
  for (const issuer of ['https://a.example', 'https://a.example:8443/x', 'http://[::1]:8080'])
    assert.doesNotThrow(() => assertIssuer(issuer));
  fc.assert(
    fc.property(
      fc.oneof(fc.webUrl({ withQueryParameters: true, withFragments: true }), fc.string()),
      (text) => {
        try {
          assertIssuer(text);
        } catch (error) {
          assert.ok(error instanceof RangeError);
          return;
        }
        const url = new URL(text);
        assert.equal(url.href.replace(/\/$/, ''), text);
        assert.equal(url.search + url.hash + url.username, '');
      },
    ),
  );
});

test('a path is written and read back', () => {
  const part = fc.oneof(fc.nat(), fc.string());
  fc.assert(
    fc.property(fc.array(part, { minLength: 1 }), (path) => {
      assert.deepEqual(parsePath(formatPath(path)), path);
    }),
  );
  assert.equal(formatPath(['rules', 1, 'claims', 'a b']), 'rules[1].claims["a b"]');
});

test('what is shown of a value is short, one line and no private key', () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      assert.ok(show(value).length <= 61);
    }),
  );
  assert.equal(show('-----BEGIN PRIVATE KEY-----\nMIIE'), 'a PEM text');
  assert.equal(show('a\nb'), '"a\\nb"');
});

test('did you mean', () => {
  const names = ['audiences', 'audiencePatterns', 'ttl', 'maxTtl', 'socket'];
  assert.equal(didYouMean('audience', names), 'did you mean audiences?');
  assert.equal(didYouMean('max_ttl', names), 'did you mean maxTtl?');
  assert.equal(didYouMean('sokcet', names), 'did you mean socket?');
  assert.equal(didYouMean('colour', names), undefined);
  assert.equal(didYouMean('x'.repeat(100_000), names), undefined);
});

test('a pattern takes the durations between two bounds, and no other', () => {
  const units = { s: 1, m: 60, h: 3600, d: 86_400 };
  for (const [least, most] of [
    [0, 600],
    [60, 86_400],
    [86_400, 366 * 86_400],
    [7, 101],
  ] as const) {
    const pattern = durationPattern(least, most);
    for (const [unit, seconds] of Object.entries(units))
      for (const count of [
        0, 1, 2, 6, 7, 9, 10, 24, 59, 60, 99, 101, 102, 366, 367, 600, 601, 86_400, 86_401,
      ])
        assert.equal(
          pattern.test(`${count}${unit}`),
          count * seconds >= least && count * seconds <= most,
          `${count}${unit} within ${pattern}`,
        );
    for (const text of ['', '60', '060s', '60 s', '1m1s', 's']) assert.equal(pattern.test(text), false);
  }
});
