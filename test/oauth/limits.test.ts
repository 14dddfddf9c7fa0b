/** Guesses are limited, by the address that they really come from. */
import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import { suite, test } from 'node:test';
import { createAddressOf, parseNetwork } from '../../src/doors/oauth/address.ts';
import { openBrowser } from './browser.ts';
import { startOAuth } from './server.ts';

suite('limits', () => {
  test('user codes cannot be tried without end', async (t) => {
    const server = await startOAuth(t);
    const browser = openBrowser('https://nowhere.example/');
    let page = await browser.open(`${server.issuer}/device`);
    for (let guess = 0; guess < 60; guess++) {
      page = await browser.submit(page, /\/device$/, { user_code: 'BCDF-GHJK' });
      assert.equal(page.status, 200, `guess ${guess}`);
    }
    page = await browser.submit(page, /\/device$/, { user_code: 'BCDF-GHJK' });
    assert.equal(page.status, 429);
    assert.equal(page.headers.get('retry-after'), '600');
    assert.match(page.html, /Too many codes/);
  });

  test('nor from all the addresses of one IPv6 network', async (t) => {
    const server = await startOAuth(t, { trustedProxies: ['127.0.0.0/8'] });
    const headers: Record<string, string> = {};
    const browser = openBrowser('https://nowhere.example/', headers);
    let page = await browser.open(`${server.issuer}/device`);
    const guess = async (address: string) => {
      headers['X-Forwarded-For'] = address;
      page = await browser.submit(page, /\/device$/, { user_code: 'BCDF-GHJK' });
      return page.status;
    };
    for (let host = 1; host <= 60; host++) assert.equal(await guess(`2001:db8::${host}`), 200, `${host}`);
    assert.equal(await guess('2001:db8::ffff:1'), 429);
    assert.equal(await guess('2001:db8:0:1::1'), 200, 'another network');
  });

  test('X-Forwarded-For counts from trusted proxies alone, and from the right', () => {
    const ask = (remoteAddress: string, forwarded?: string) =>
      createAddressOf(['10.0.0.0/8', 'fd00::/8'])({
        socket: { remoteAddress },
        headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded },
      } as unknown as IncomingMessage);
    assert.equal(ask('192.0.2.1', '198.51.100.1'), '192.0.2.1', 'not trusted');
    assert.equal(ask('10.0.0.1', '198.51.100.1'), '198.51.100.1');
    assert.equal(
      ask('::ffff:10.0.0.1', '198.51.100.1, 192.0.2.7, 10.1.1.1'),
      '192.0.2.7',
      'what is left of it is made up',
    );
    assert.equal(ask('10.0.0.1', 'nonsense'), '10.0.0.1');
    for (const hop of ['192.0.2.7:4711', '[192.0.2.7]', '::ffff:192.0.2.7', '[::ffff:192.0.2.7]:4711'])
      assert.equal(ask('10.0.0.1', `198.51.100.1, ${hop}`), '192.0.2.7', hop);
    assert.equal(ask('10.0.0.1', '[2001:db8::1]:443,10.1.1.1:80'), '2001:db8::1');
    for (const hop of ['unknown', '_hidden', '', '192.0.2.7:x', '[2001:db8::1'])
      assert.equal(ask('10.0.0.1', `198.51.100.1, ${hop}, 10.1.1.1`), '10.1.1.1', `nothing left of ${hop}`);
    assert.equal(ask('10.0.0.1'), '10.0.0.1');
    assert.equal(ask('fd00::1', '2001:db8::1'), '2001:db8::1');
    for (const wrong of ['10.0.0.0/33', 'x', '10.0.0.0/8/8', '10.0.0.0/', ''])
      assert.equal(parseNetwork(wrong), undefined);
  });
});
