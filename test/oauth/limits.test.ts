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
    assert.match(page.html, /Too many codes/);
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
    assert.equal(ask('10.0.0.1'), '10.0.0.1');
    assert.equal(ask('fd00::1', '2001:db8::1'), '2001:db8::1');
    for (const wrong of ['10.0.0.0/33', 'x', '10.0.0.0/8/8', '10.0.0.0/', ''])
      assert.equal(parseNetwork(wrong), undefined);
  });
});
