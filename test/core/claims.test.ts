import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { compileClaims, renderClaims } from '../../src/core/claim-templates.ts';
import { buildClaims } from '../../src/core/claims.ts';
import type { Allowed, ClaimSet, Facts, TokenRequest } from '../../src/core/ports.ts';
import { parseTemplate } from '../../src/core/template.ts';
import { ISSUER } from '../fakes/policy.ts';

const NOW = 1_800_000_000;
const TAGS = 'https://aws.amazon.com/tags';
const SOURCE_IDENTITY = 'https://aws.amazon.com/source_identity';

const ALLOWED: Allowed = {
  allowed: true,
  rule: 'web',
  subject: 'acme:web',
  audience: ['sts.amazonaws.com'],
  claims: {},
  ttlSeconds: 600,
  algorithm: 'RS256',
};

type Sources = Parameters<typeof compileClaims>[0] & {
  readonly facts?: Facts;
  readonly request?: Partial<TokenRequest>;
};

function render({ facts = {}, request = {}, ...sources }: Sources): ClaimSet | undefined {
  const compiled = compileClaims(sources, (_path, text) => parseTemplate(text));
  return renderClaims(compiled, sources.transitiveTags, { audience: ['a'], ...request }, facts);
}

suite('the claims of a token', () => {
  test('are the seven registered ones, with one audience as a string', () => {
    assert.deepEqual(buildClaims(ALLOWED, ISSUER, NOW, 'j1'), {
      iss: ISSUER,
      sub: 'acme:web',
      aud: 'sts.amazonaws.com',
      iat: NOW,
      nbf: NOW - 60,
      exp: NOW + 600,
      jti: 'j1',
    });
  });

  test('several audiences are an array in the order asked for', () => {
    assert.deepEqual(buildClaims({ ...ALLOWED, audience: ['b', 'a'] }, ISSUER, NOW, 'j1').aud, ['b', 'a']);
  });

  test('whatever a rule adds, the registered ones are what the issuer says', () => {
    const registered = ['iss', 'sub', 'aud', 'iat', 'nbf', 'exp', 'jti'];
    const name = fc.oneof(
      fc.constantFrom(...registered, '__proto__', 'constructor', 'toString', 'hasOwnProperty'),
      fc.string(),
    );
    fc.assert(
      fc.property(
        fc.dictionary(name, fc.jsonValue()),
        fc.dictionary(name, fc.jsonValue()),
        (rules, doors) => {
          const nested = Object.fromEntries([...Object.entries(rules), ['__proto__', { sub: 'evil' }]]);
          let claims: ClaimSet | undefined;
          try {
            claims = render({ claims: nested, request: { claims: doors } });
          } catch (error) {
            assert.ok(error instanceof RangeError); // a lone brace in a text
            return;
          }
          const token = JSON.parse(
            JSON.stringify(buildClaims({ ...ALLOWED, claims: claims! }, ISSUER, NOW, 'j1')),
          );
          const expected = JSON.parse(JSON.stringify(buildClaims(ALLOWED, ISSUER, NOW, 'j1')));
          for (const key of registered) assert.deepEqual(token[key], expected[key]);
          assert.equal(({} as Record<string, unknown>).sub, undefined);
        },
      ),
    );
  });
});

suite('the claims of a rule', () => {
  test('keep their JSON types; texts are filled in at any depth', () => {
    const claims = { n: 1, t: true, z: null, list: ['{host}', 2, ['x']], deep: { a: { b: '{host}!' } } };
    const expected = { n: 1, t: true, z: null, list: ['h', 2, ['x']], deep: { a: { b: 'h!' } } };
    assert.deepEqual(render({ claims, facts: { host: 'h' } }), expected);
    assert.deepEqual(compileClaims({ claims }, (_path, text) => parseTemplate(text)).variables, [
      'host',
      'host',
    ]);
  });

  test('what was not proven is left out, never guessed', () => {
    const claims = { a: '{x}', list: ['{x}', 'y'], deep: { b: 'v{x}' }, kept: 'k' };
    assert.deepEqual(render({ claims }), { list: ['y'], deep: {}, kept: 'k' });
  });

  test('names of what every object has are claims like others', () => {
    const claims = JSON.parse('{"constructor": "c", "toString": "t", "__proto__": {"sub": "evil"}}');
    const rendered = render({ claims })!;
    assert.deepEqual(Object.keys(rendered), ['constructor', 'toString', '__proto__']);
    assert.equal(Object.getPrototypeOf(rendered), Object.prototype);
    assert.equal(rendered.sub, undefined);
  });

  test('each text is shown with its path', () => {
    const paths: string[] = [];
    const sources = {
      claims: { a: ['x', { b: 'y' }] },
      principalTags: { team: 't' },
      sourceIdentity: 's',
    };
    compileClaims(sources, (path, text) => {
      paths.push(path);
      return parseTemplate(text);
    });
    assert.deepEqual(paths, ['claims.a[0]', 'claims.a[1].b', 'sourceIdentity', 'principalTags.team']);
  });

  test("a door's claims are added, and the rule's win", () => {
    const request = { claims: { app_name: 'door', region: 'fra' } };
    assert.deepEqual(render({ claims: { app_name: 'rule' }, request }), { app_name: 'rule', region: 'fra' });
  });

  test('AWS source identity has its own name, and no caller goes without it', () => {
    const rendered = render({ claims: {}, sourceIdentity: '{unix.user}', facts: { 'unix.user': 'web' } });
    assert.deepEqual(rendered, { [SOURCE_IDENTITY]: 'web' });
  });
});

suite('principal tags', () => {
  const sources = {
    claims: {},
    principalTags: { team: 'payments', host: '{host}', image: '{image}' },
    transitiveTags: ['team'],
    facts: { host: 'h' },
  };

  test('come only when they are asked for, in the form that AWS reads', () => {
    assert.deepEqual(render(sources), {});
    assert.deepEqual(render({ ...sources, request: { principalTags: true } }), {
      [TAGS]: { principal_tags: { team: ['payments'], host: ['h'] }, transitive_tag_keys: ['team'] },
    });
  });

  test('that were not proven are no tags, and pass on nothing', () => {
    const unit = { principalTags: { unit: '{systemd.unit}', team: 'web' }, transitiveTags: ['unit', 'team'] };
    const request = { principalTags: true };
    assert.deepEqual(render({ claims: {}, ...unit, request, facts: {} }), {
      [TAGS]: { principal_tags: { team: ['web'] }, transitive_tag_keys: ['team'] },
    });
    const only = { principalTags: { unit: '{systemd.unit}' }, transitiveTags: ['unit'] };
    assert.equal(render({ claims: {}, ...only, request, facts: {} }), undefined);
  });

  test("are those of the door's claims where the rule has none, and refused where nobody has any", () => {
    const request = { principalTags: true, claims: { app_name: 'web', replicas: 3 } };
    assert.deepEqual(render({ claims: {}, request }), {
      app_name: 'web',
      replicas: 3,
      [TAGS]: { principal_tags: { app_name: ['web'] }, transitive_tag_keys: [] },
    });
    assert.equal(render({ claims: {}, request: { principalTags: true } }), undefined);
  });
});
