import assert from 'node:assert/strict';
import { lookup } from 'node:dns/promises';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { fetchDocument, freshness, urlFault } from '../../src/attestors/jwks-fetch.ts';
import { isLoopbackHost, isPublicAddress } from '../../src/attestors/public-address.ts';
import { serveJwks } from '../fakes/jwks-server.ts';

const PUBLIC = [
  ...['1.1.1.1', '8.8.8.8', '140.82.112.3', '172.15.0.1', '172.32.0.1', '100.128.0.1', '223.255.255.255'],
  ...['2606:4700:4700::1111', '2a00:1450:4001::200e', '64:ff9b::8.8.8.8', '64:ff9b::808:808'],
];
const NOT_PUBLIC = [
  ...[
    '0.0.0.0',
    '10.0.0.1',
    '127.0.0.1',
    '127.255.255.255',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
  ],
  ...['192.168.1.1', '100.64.0.1', '198.18.0.1', '192.0.0.1', '224.0.0.1', '255.255.255.255', '203.0.113.9'],
  ...[
    '::',
    '::1',
    '::ffff:127.0.0.1',
    '::ffff:8.8.8.8',
    '::ffff:a9fe:a9fe',
    '::7f00:1',
    'fe80::1',
    'fe80::1%eth0',
  ],
  ...['fc00::1', 'fd00:ec2::254', 'ff02::1', '2001:db8::1', '2001::1', '2002:7f00:1::', 'fec0::1'],
  ...['64:ff9b::10.0.0.1', '64:ff9b::a9fe:a9fe', '64:ff9b::', '64:ff9b::1', '64:ff9b:1::808:808', '3fff::1'],
  ...['', 'localhost', '127.1', '0x7f000001', '2130706433', '1.1.1.1.1', '[::1]'],
];

suite('addresses', () => {
  for (const address of PUBLIC)
    test(`${address} is the internet’s`, () => assert.ok(isPublicAddress(address)));
  for (const address of NOT_PUBLIC)
    test(`"${address}" is not`, () => assert.equal(isPublicAddress(address), false));

  test('an address that carries a private one is as private as it', () => {
    fc.assert(
      fc.property(fc.ipV4(), (address) => {
        assert.equal(isPublicAddress(`64:ff9b::${address}`), isPublicAddress(address));
        assert.equal(isPublicAddress(`::ffff:${address}`), false);
      }),
    );
  });

  test('hosts of loopback', () => {
    for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '[::1]']) assert.ok(isLoopbackHost(host));
    for (const host of ['localhost.example.com', '10.0.0.1', '[::2]'])
      assert.equal(isLoopbackHost(host), false);
  });
});

const signal = AbortSignal.timeout(60_000);
const hidden = (url: string) => fetchDocument({ url, allowPrivate: false, signal });

suite('a document is not asked for', () => {
  for (const host of [
    '10.0.0.1',
    '169.254.169.254',
    '127.0.0.1',
    '[::1]',
    '[::ffff:127.0.0.1]',
    '2130706433',
    '0x7f.1',
  ])
    test(`at ${host}`, () => assert.rejects(hidden(`https://${host}/jwks`), /no host of the internet/));

  test('where a name leads to such an address: no connection is made', async (t) => {
    const server = await serveJwks(t, {});
    const found = await lookup('localhost', { all: true });
    assert.ok(found.length > 0);
    for (const scheme of ['http', 'https'])
      await assert.rejects(
        hidden(`${scheme}://localhost:${server.port}/jwks`),
        /localhost is no host of the internet/,
      );
    assert.equal(server.connections(), 0);
  });

  for (const url of [
    'http://other.example.com/',
    'ftp://x/',
    'file:///etc/passwd',
    'https://u@x/',
    'x',
    'https://x/#a',
  ])
    test(`by ${url}`, async () => {
      assert.notEqual(urlFault(url), undefined);
      await assert.rejects(hidden(url), /its URL must/);
    });
});

test('freshness is what Cache-Control and Age leave, within bounds', () => {
  for (const [control, age, fresh] of [
    [undefined, undefined, 300],
    ['max-age=600', undefined, 600],
    ['max-age=600', '100', 500],
    ['max-age=600', '10000', 60],
    ['MAX-AGE=600', 'x', 600],
    ['max-age="600"', undefined, 600],
    ['max-age=600, no-cache', undefined, 60],
    ['max-age=99999999999999', undefined, 300],
    ['max-age=-5', undefined, 300],
    ['x-max-age=5000', undefined, 300],
  ] as const)
    assert.equal(freshness(control, age), fresh, `${control} ${age}`);
});
