import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { type Html, html } from '../../../../src/doors/oauth/people/html.ts';
import { sourcesOf } from '../../../../src/doors/oauth/people/page.ts';
import { consentPage } from '../../../../src/doors/oauth/people/pages/consent.ts';
import { deviceConfirmPage } from '../../../../src/doors/oauth/people/pages/device.ts';
import { errorPage } from '../../../../src/doors/oauth/people/pages/error.ts';
import { codePage, loginPage } from '../../../../src/doors/oauth/people/pages/login.ts';
import { logoutPage } from '../../../../src/doors/oauth/people/pages/logout.ts';

/** What an attacker would write, among anything. */
const hostile = fc.oneof(
  fc.string({ unit: fc.constantFrom(...'<>"\'`&=/ a;-!#', '\n', '\0', '\u2028') }),
  fc.constantFrom('"><script>alert(1)</script>', "' onfocus='x", '</style>', '<!--', '&lt;', '&#x3c;'),
  fc.string({ unit: 'binary' }),
);

/** The tags of a page, without what stands between them or in their attributes. */
function skeleton(page: { readonly body: unknown }): readonly string[] {
  const text = String(page.body);
  const tags = text.match(/<\/?[a-z][a-z0-9]*(?:\s+[a-z-]+(?:="[^"]*")?)*\s*>/g) ?? [];
  const left = tags.reduce((rest, tag) => rest.replace(tag, ''), text);
  assert.doesNotMatch(left, /[<>"'`]/, text);
  return tags.map((tag) => tag.replaceAll(/="[^"]*"/g, ''));
}

suite('templates', () => {
  test('a value is text again, whatever it is, in text and in attributes', () => {
    fc.assert(
      fc.property(hostile, (value) => {
        const made = String(html`<p title="${value}">${value}</p>`);
        const [, attribute, text] = /^<p title="([^"<>'`]*)">([^"<>'`]*)<\/p>$/s.exec(made) ?? [];
        assert.equal(decode(attribute), value);
        assert.equal(decode(text), value);
      }),
    );
  });

  test('templates, lists and numbers go in as they are, nothing and false not at all', () => {
    const items: readonly Html[] = [html`<li>${1}</li>`, html`<li>${'&'}</li>`];
    assert.equal(String(html`<ul>${items}</ul>${undefined}${false}`), '<ul><li>1</li><li>&amp;</li></ul>');
  });

  test('no value changes what a page is made of', () => {
    const pages = [
      (x: string) =>
        loginPage({
          ...{ client: { name: x }, path: x, csrf: x, problem: x, formAction: [], hasPassword: true },
          ...{ ways: [{ name: x, title: x }], username: `u${x}`, reason: x },
        }),
      (x: string) =>
        codePage({ client: { name: x }, path: x, csrf: x, problem: x, formAction: [], username: x }),
      (x: string) =>
        consentPage({
          ...{ client: { name: x, uri: `https://${x}`, policyUri: `http://${x}` }, path: x, csrf: x },
          ...{ person: x, returnsTo: x, formAction: [], words: { known: x } },
          asked: [{ scopes: ['known', `unknown ${x}`] }, { resource: x, scopes: [`unknown ${x}`] }],
        }),
      (x: string) =>
        deviceConfirmPage({ action: x, xsrf: x, client: { name: x }, userCode: x, shownCode: x }),
      (x: string) => logoutPage({ action: x, xsrf: x, client: { name: x }, formAction: [] }),
      (x: string) => errorPage({ title: x, text: x, code: x, description: x, links: [{ href: x, text: x }] }),
    ];
    for (const page of pages) {
      const plain = skeleton(page('plain'));
      fc.assert(fc.property(hostile, (x) => assert.deepEqual(skeleton(page(x)), plain)));
    }
  });

  test('a link of a client is a web address or is not there', () => {
    const page = consentPage({
      ...{
        client: { name: 'x', uri: 'javascript:alert(1)', tosUri: 'data:text/html,x' },
        path: '',
        csrf: '',
      },
      ...{ person: 'x', formAction: [], words: {}, asked: [] },
    });
    assert.doesNotMatch(String(page.body), /href/);
  });

  test('where forms may lead', () => {
    assert.deepEqual(sourcesOf('https://app.example.com/cb'), ['https:']);
    assert.deepEqual(sourcesOf('http://127.0.0.1:8400/cb'), ['http://127.0.0.1:*', 'https:']);
    assert.deepEqual(sourcesOf('http://[::1]:8400/cb'), ['http:']);
    assert.deepEqual(sourcesOf('com.example.app:/cb'), ['com.example.app:']);
    for (const none of [undefined, '', 'nonsense', "x'y:/"]) assert.deepEqual(sourcesOf(none), []);
  });
});

const DECODED: Readonly<Record<string, string>> = {
  ...{ '&amp;': '&', '&lt;': '<', '&gt;': '>' },
  ...{ '&quot;': '"', '&#39;': "'", '&#96;': '`' },
};

function decode(text: string | undefined): string | undefined {
  return text?.replace(/&[#\w]+;/g, (entity) => DECODED[entity] ?? entity);
}
