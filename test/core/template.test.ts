import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import {
  parseTemplate,
  renderClaim,
  renderSubject,
  SUBJECT_MAX_BYTES,
  subjectProblems,
  variablesOf,
} from '../../src/core/template.ts';

const problems = (text: string, known = {}) => subjectProblems(parseTemplate(text), known);
const subject = (text: string, facts = {}) => renderSubject(parseTemplate(text), facts);
const claim = (text: string, facts = {}) => renderClaim(parseTemplate(text), facts);

suite('templates', () => {
  test('have variables, bounds and braces', () => {
    assert.deepEqual(variablesOf(parseTemplate('a:{unix.uid}:{host:40}')), ['unix.uid', 'host']);
    assert.equal(claim('{{"a": "{host}"}}', { host: 'h' }), '{"a": "h"}');
    assert.equal(claim(''), '');
  });

  test('what is no variable is refused with a hint', () => {
    for (const text of [
      '{',
      '}',
      'a{b',
      '{}',
      '{A}',
      '{a b}',
      '{a:0}',
      '{a:12345}',
      '{a:-1}',
      '{__proto__}',
      '{a{b}}',
    ])
      assert.throws(() => parseTemplate(text), RangeError, text);
  });

  test('what every object has is no fact', () => {
    assert.deepEqual(subject('a:{constructor}'), {
      missing: 'constructor',
      why: 'was not proven of this caller',
    });
    assert.equal(claim('{constructor}'), undefined);
    assert.deepEqual(problems('a:{constructor}'), []);
    assert.equal(claim('{constructor}', { constructor: 'acme' }), 'acme');
  });
});

suite('a subject', () => {
  test('is refused when it could be ambiguous', () => {
    assert.deepEqual(problems('acme:{unix.user:40}:{host}'), []);
    assert.deepEqual(problems('{unix.user:40}/{host}#{unix.uid}'), []);
    for (const text of ['{a}{b}', '{a}-{b}', '{a}.x.{b}', '{a}{host}{b}'])
      assert.match(problems(text, { host: 'web' }).join(), /without one of/, text);
    assert.match(problems('a:{host}', { host: 'x:y' }).join(), /has a separator/);
    assert.deepEqual(problems('{a}{b}', { a: 'known' }), []);
  });

  test('is refused when it could be longer than 127 bytes', () => {
    assert.deepEqual(problems('{a}:{b}'), []); // 63 + 1 + 63
    assert.match(problems('{a}:{b}:').join(), /128 bytes/);
    assert.deepEqual(problems('{a:100}:{b:26}'), []);
    assert.match(problems('{a:100}:{b:27}').join(), /128 bytes/);
    assert.deepEqual(problems(`{unix.sha256}:${'x'.repeat(62)}`), []);
    assert.match(problems(`{unix.sha256}:${'x'.repeat(63)}`).join(), /128 bytes/);
    assert.match(problems('a:{host}', { host: 'h'.repeat(126) }).join(), /128 bytes/);
  });

  test('is refused when it is empty or not printable ASCII', () => {
    assert.match(problems('').join(), /empty/);
    for (const text of ['a b', 'ä', 'a\n', 'a\u0000'])
      assert.match(problems(text).join(), /printable ASCII/, text);
  });

  test('takes no part that is missing, too long or ambiguous', () => {
    assert.deepEqual(subject('acme:{host}', { host: 'web' }), { value: 'acme:web' });
    assert.deepEqual(subject('{a:3}', { a: '123' }), { value: '123' });
    assert.deepEqual(subject('{a:3}', { a: '1234' }), { missing: 'a', why: 'is longer than 3' });
    for (const bad of ['x:y', 'x/y', 'x|y', 'x#y', 'x,y', 'x;y', '', 'x y', 'ä', 'x\n'])
      assert.deepEqual(Object.keys(subject('a:{a}', { a: bad })), ['missing', 'why'], bad);
  });

  const part = fc.string({ unit: fc.constantFrom('a', 'b', '-', ':', '/', '|', ' ', 'ä'), maxLength: 6 });
  const literal = fc.string({ unit: fc.constantFrom('a', 'b', '-', ':', '/'), maxLength: 3 });
  const text = fc
    .array(fc.tuple(literal, fc.constantFrom('{a:4}', '{b:4}', '{c:4}', '')), { minLength: 1, maxLength: 5 })
    .map((pieces) => pieces.flat().join(''));
  const tuple = fc.record({ a: part, b: part, c: part });

  test('no two tuples of parts join to one', () => {
    fc.assert(
      fc.property(text, tuple, tuple, (source, one, other) => {
        const template = parseTemplate(source);
        fc.pre(subjectProblems(template, {}).length === 0);
        const first = renderSubject(template, one);
        const second = renderSubject(template, other);
        if (!('value' in first && 'value' in second) || first.value !== second.value) return;
        for (const name of variablesOf(template)) assert.equal(one[name as 'a'], other[name as 'a']);
      }),
      { numRuns: 5_000 },
    );
  });

  test('is never longer than 127 bytes of printable ASCII', () => {
    const long = fc.string({ unit: fc.constantFrom('a', '-', ':'), maxLength: 140 });
    const bounded = fc
      .array(fc.tuple(literal, fc.constantFrom('{a}:', '{b:90}/', '{c:40}', '{host}|')), { maxLength: 4 })
      .map((pieces) => pieces.flat().join(''));
    fc.assert(
      fc.property(bounded, fc.record({ a: long, b: long, c: long, host: long }), (source, facts) => {
        const template = parseTemplate(source);
        fc.pre(subjectProblems(template, { host: facts.host }).length === 0);
        const rendered = renderSubject(template, facts);
        if (!('value' in rendered)) return;
        assert.match(rendered.value, /^[!-~]+$/);
        assert.ok(Buffer.byteLength(rendered.value) <= SUBJECT_MAX_BYTES);
      }),
      { numRuns: 2000 },
    );
  });
});

suite('the text of a claim', () => {
  test('takes any characters, and is left out where a fact is missing or it is too long', () => {
    assert.equal(claim('a {x} b', { x: 'ä:/\n' }), 'a ä:/\n b');
    assert.equal(claim('a {x} b', {}), undefined);
    assert.equal(claim('{x}', { x: 'x'.repeat(1024) })?.length, 1024);
    assert.equal(claim('{x}', { x: 'x'.repeat(1025) }), undefined);
  });
});
