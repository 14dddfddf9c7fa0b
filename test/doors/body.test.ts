import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import { BODY_MAX_BYTES, parseFields, readBody } from '../../src/doors/body.ts';
import type { Door } from '../../src/doors/door.ts';
import { refusal } from '../conformance/key-store.ts';
import { serve } from '../fakes/http.ts';

const FORM = 'application/x-www-form-urlencoded';
const parse = (text: string | Uint8Array, contentType?: string) =>
  parseFields(Buffer.from(text), contentType);
/** With its reason, which is for the caller too. */
const malformed = (error: unknown) => {
  assert.ok(error instanceof IssuerError && error.shown?.reason === error.detail);
  return refusal('invalid_request')(error);
};

suite('the fields of a body', () => {
  test('are those of a JSON object, whatever it is called', () => {
    for (const type of ['application/json', FORM, 'text/plain', undefined])
      assert.deepEqual(parse(' {"aud":"a","n":[1,{"x":null}]}\n', type), { aud: 'a', n: [1, { x: null }] });
    assert.deepEqual(parse('\ufeff{"aud":"a"}'), { aud: 'a' });
  });

  test('are none where there is nothing', () => {
    for (const text of ['', ' ', '\r\n', '{}']) assert.deepEqual(parse(text), {});
  });

  test('are those of a form where it says so', () => {
    for (const type of [FORM, `${FORM}; charset=utf-8`, FORM.toUpperCase()])
      assert.deepEqual(parse('aud=https%3A%2F%2Fa+b&ttl=600', type), { aud: 'https://a b', ttl: '600' });
    for (const type of ['text/plain', 'application/json', `${FORM}x`, undefined])
      assert.throws(() => parse('aud=a', type), malformed, type);
  });

  test('are not those of anything else', () => {
    for (const text of [
      '[]',
      '"a"',
      '1',
      'null',
      '{',
      '{"a"}',
      '{"a":1}x',
      '{a:1}',
      "{'a':1}",
      '{"a":01}',
      '{"a":"\n"}',
    ])
      assert.throws(() => parse(text, 'application/json'), malformed, text);
  });

  test('that are neither JSON nor a form are called that, whatever curl calls them', () => {
    for (const text of ['x', '[]', '"a"', 'null'])
      assert.throws(
        () => parse(text, FORM),
        refusal('invalid_request', /neither a JSON object nor a form/),
        text,
      );
  });

  test('are refused where one is repeated, however it is written', () => {
    const repeated = [
      '{"aud":"a","aud":"b"}',
      '{"aud":"a","aud":"a"}',
      '{"aud":"a","a\\u0075d":"b"}',
      '{"aud" : "a" ,\n"aud"\t: "b"}',
      '{"x":{"a":1,"a":2}}',
      '{"x":[{"a":1},{"a":{"b":1,"b":2}}]}',
      '{"":1,"":2}',
      '{"a\\\\":1,"a\\u005c":2}',
    ];
    for (const text of repeated)
      assert.throws(() => parse(text), refusal('invalid_request', /repeated/), text);
    assert.throws(() => parse('aud=a&aud=b', FORM), refusal('invalid_request', /repeated/));
    assert.throws(() => parse('aud=a&%61ud=a', FORM), refusal('invalid_request', /repeated/));
    const once = '{"x":{"a":1},"y":{"a":1},"a":["a","a:",{"a":"\\"a\\":"}]}';
    assert.deepEqual(parse(once), JSON.parse(once));
  });

  test('are UTF-8, in JSON and in forms', () => {
    const latin = [
      Buffer.from('{"aud":"caf\u00e9"}', 'latin1'),
      Buffer.from('{"aud":"\u00ed\u00a0\u0080"}', 'latin1'),
    ];
    for (const bytes of latin) assert.throws(() => parse(bytes), refusal('invalid_request', /UTF-8/));
    for (const text of ['aud=caf%E9', 'aud=%C3', 'aud=%ed%a0%80'])
      assert.throws(() => parse(text, FORM), refusal('invalid_request', /UTF-8/), text);
    assert.deepEqual(parse('aud=caf%C3%a9&x=100%', FORM), { aud: 'caf\u00e9', x: '100%' });
    assert.deepEqual(parse('{"aud":"\ufffd"}'), { aud: '\ufffd' });
  });

  test('are never the prototype', () => {
    for (const text of [
      '{"__proto__":{"aud":"a"}}',
      '{"a":{"__proto__":1}}',
      '{"\\u005f_proto__":{"aud":"a"}}',
    ])
      assert.throws(() => parse(text), refusal('invalid_request', /__proto__/), text);
    assert.throws(() => parse('__proto__=a', FORM), refusal('invalid_request', /__proto__/));
    assert.equal((parse('{"constructor":{"prototype":{"aud":"a"}}}') as { aud?: unknown }).aud, undefined);
    assert.equal(({} as { aud?: unknown }).aud, undefined);
  });

  test('nest sixteen deep and no deeper', () => {
    const nested = (depth: number) => `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
    assert.ok(parse(nested(16)));
    for (const depth of [17, 100_000]) assert.throws(() => parse(nested(depth)), malformed);
    const objects = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
    assert.throws(() => parse(objects), malformed);
  });

  test('are not searched for strings before it is known that every string ends', (t) => {
    // Many quotes in a string that never ends would take quadratic time.
    const searches = t.mock.method(String.prototype, 'matchAll');
    assert.throws(() => parse(`{"${'\\"'.repeat(32_000)}`), malformed);
    assert.equal(searches.mock.callCount(), 0);
    assert.ok(parse(`{"${'\\"'.repeat(32_000)}":1}`));
    assert.equal(searches.mock.callCount(), 1);
  });

  test('are what JSON.parse says of any object without repetition', () => {
    const key = fc.string().filter((name) => name !== '__proto__');
    const flat = fc.dictionary(key, fc.oneof(fc.string(), fc.double(), fc.boolean(), fc.constant(null)));
    const spaced = fc.tuple(flat, fc.constantFrom('', ' ', '\n\t'));
    fc.assert(
      fc.property(spaced, ([object, indent]) => {
        const text = JSON.stringify(object, undefined, indent);
        assert.deepEqual(parse(text), JSON.parse(text));
      }),
      { numRuns: 1000 },
    );
  });

  test('whatever the bytes, they are fields or refused', () => {
    const token = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      '"',
      '\\',
      ':',
      ',',
      'a',
      '"a"',
      '"a":',
      '1',
      ' ',
      '\\u0061',
      '&',
      '=',
      '%',
    );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => Buffer.from(`{"a":${text}}`)),
      fc.array(token, { maxLength: 30 }).map((tokens) => Buffer.from(`{${tokens.join('')}`)),
      fc.array(token, { maxLength: 30 }).map((tokens) => Buffer.from(tokens.join(''))),
    );
    const type = fc.option(fc.oneof(fc.constant(FORM), fc.constant('application/json'), fc.string()), {
      nil: undefined,
    });
    fc.assert(
      fc.property(bytes, type, (input, contentType) => {
        try {
          const fields = parse(input, contentType);
          assert.equal(typeof fields, 'object');
          assert.equal(Object.hasOwn(fields, '__proto__'), false);
        } catch (error) {
          malformed(error);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

suite('the bytes of a body', () => {
  const door: Door = {
    name: 'test',
    surface: 'workload',
    routes: [
      {
        method: 'POST',
        path: '/x',
        operation: {},
        async handle(context) {
          context.body = String((await readBody(context.req)).length);
        },
      },
    ],
  };
  const head = 'POST /x HTTP/1.1\r\nHost: x\r\n';
  const chunked = (size: number) => `${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`;

  async function assertRefusedAndClosed(t: TestContext, bytes: string): Promise<void> {
    const { sendRaw } = await serve(t, door);
    const text = await sendRaw(bytes); // resolves when the server has closed
    assert.match(text, /^HTTP\/1\.1 413 /);
    assert.match(text, /^connection: close\r$/im);
    assert.match(text, /"error":"request_too_large"/);
    assert.equal(text.match(/HTTP\/1\.1/g)?.length, 1);
  }

  test('are 64 KiB at most', async (t) => {
    const { ask } = await serve(t, door);
    const { status, text } = await ask('/x', { method: 'POST', body: 'x'.repeat(BODY_MAX_BYTES) });
    assert.equal(`${status} ${text}`, '200 65536');
    assert.equal((await ask('/x', { method: 'POST' })).text, '0');
  });

  test('a byte more is refused and the connection closed, by length and by chunks', async (t) => {
    const size = BODY_MAX_BYTES + 1;
    await assertRefusedAndClosed(t, `${head}Content-Length: ${size}\r\n\r\n${'x'.repeat(size)}`);
    await assertRefusedAndClosed(t, `${head}Transfer-Encoding: chunked\r\n\r\n${chunked(size)}0\r\n\r\n`);
  });

  test('that say they are too many are refused before the first has come', async (t) => {
    await assertRefusedAndClosed(t, `${head}Content-Length: 10000000\r\n\r\n`);
  });

  test('in chunks that never end are refused', async (t) => {
    await assertRefusedAndClosed(t, `${head}Transfer-Encoding: chunked\r\n\r\n${chunked(1024).repeat(80)}`);
  });
});
