import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { compilePolicy, type Rule } from '../../src/core/policy.ts';
import type { Allowed, Refused, TokenRequest, Workload } from '../../src/core/ports.ts';
import { factOf, kindOf } from '../../src/core/selectors.ts';
import { CONTEXT, policyOf, problemsOf, ruleOf } from '../fakes/policy.ts';
import { WEB, workloadOf } from '../fakes/workload.ts';

const AWS: TokenRequest = { audience: ['sts.amazonaws.com'] };

function allowed(rule: Partial<Rule>, request: TokenRequest = AWS, workload: Workload = WEB): Allowed {
  const decision = policyOf(rule).decide(workload, request);
  assert.ok(decision.allowed, JSON.stringify(decision));
  return decision;
}

function refused(
  rules: readonly Partial<Rule>[],
  request: TokenRequest = AWS,
  workload: Workload = WEB,
): Refused {
  const decision = policyOf(...rules).decide(workload, request);
  assert.ok(!decision.allowed, JSON.stringify(decision));
  return decision;
}

suite('a rule that matches', () => {
  test('grants what it says', () => {
    assert.deepEqual(allowed({ claims: { app_name: 'web', unit: '{systemd.unit}' } }), {
      allowed: true,
      rule: 'web may use AWS',
      subject: 'acme:web:web-1',
      audience: ['sts.amazonaws.com'],
      claims: { app_name: 'web', unit: 'web.service' },
      ttlSeconds: 600,
      algorithm: 'RS256',
    });
  });

  test('all of its selectors hold', () => {
    allowed({ match: ['unix:user:web', 'systemd:unit:web.service'] });
    refused([{ match: ['unix:user:web', 'systemd:unit:batch.service'] }]);
    refused([{ match: ['unix:user:we'] }]);
    refused([{ match: ['unix:sha256:00'] }]);
  });

  test('is the first one that also allows the audience', () => {
    const policy = policyOf(
      { name: 'one', audiences: ['a'], subject: 'one' },
      { name: 'two', audiences: ['a', 'b'], subject: 'two' },
    );
    assert.equal((policy.decide(WEB, { audience: ['a'] }) as Allowed).subject, 'one');
    assert.equal((policy.decide(WEB, { audience: ['b'] }) as Allowed).subject, 'two');
  });

  test('of the installation and the caller, the installation has the last word on a fact', () => {
    const workload = workloadOf({ 'unix.user': 'web', host: 'evil' });
    assert.equal(allowed({}, AWS, workload).subject, 'acme:web:web-1');
  });

  test('is refused for lack of a fact in its subject, and another rule does not step in', () => {
    const { code, reason } = refused([{ subject: 'x:{unix.group}' }, { name: 'two', subject: 'two' }]);
    assert.equal(code, 'access_denied');
    assert.match(reason, /needs \{unix\.group\}, which was not proven/);
  });

  test('gives the life asked for within its limits', () => {
    assert.equal(allowed({ ttlSeconds: 300, maxTtlSeconds: 3600 }).ttlSeconds, 300);
    for (const ttlSeconds of [60, 3600])
      assert.equal(allowed({ maxTtlSeconds: 3600 }, { ...AWS, ttlSeconds }).ttlSeconds, ttlSeconds);
    for (const ttlSeconds of [0, -1, 59, 3601, Number.POSITIVE_INFINITY, Number.NaN])
      assert.equal(refused([{ maxTtlSeconds: 3600 }], { ...AWS, ttlSeconds }).code, 'invalid_request');
  });

  test('gives tags only where it has some', () => {
    const request = { ...AWS, principalTags: true };
    assert.ok('https://aws.amazon.com/tags' in allowed({ principalTags: { team: 'x' } }, request).claims);
    assert.equal(refused([{}], request).code, 'invalid_request');
  });

  test('gives several audiences only where it says so', () => {
    const request = { audience: ['b', 'a'] };
    const rule = { audiences: ['a', 'b'] };
    const { code, reason } = refused([rule], request);
    assert.deepEqual(
      [code, reason],
      ['single_audience', 'no rule gives this caller one token for several audiences'],
    );
    assert.equal(refused([{ ...rule, match: ['unix:user:root'] }], request).code, 'access_denied');
    assert.deepEqual(allowed({ ...rule, multipleAudiences: true }, request).audience, ['b', 'a']);
    assert.equal(
      refused([{ ...rule, multipleAudiences: true }], { audience: ['a', 'c'] }).code,
      'invalid_target',
    );
  });
});

suite('a refusal', () => {
  const near = { name: 'near', match: ['unix:user:web', 'systemd:unit:batch.service'] };
  const far = { name: 'far', match: ['unix:user:root', 'unix:sha256:00', 'unix:path:/x'], audiences: ['x'] };

  test('says how far each of the nearest rules was, and why', () => {
    const { code, reason, nearest, shown } = refused([far, near]);
    assert.equal(code, 'access_denied');
    assert.equal(reason, 'no rule allows sts.amazonaws.com to this caller');
    assert.deepEqual(
      nearest.map(({ rule }) => rule),
      ['near', 'far'],
    );
    assert.deepEqual(nearest[0], {
      rule: 'near',
      holds: ['unix:user:web'],
      fails: [{ selector: 'systemd:unit:batch.service', instead: 'web.service' }],
      allowsAudience: true,
    });
    assert.deepEqual(
      nearest[1]?.fails.map(({ instead }) => instead),
      ['web', 'unsupported_filesystem', 'not attested'],
    );
    assert.equal(nearest[1]?.allowsAudience, false);
    assert.deepEqual(shown, nearest);
  });

  test('is about the audience where a rule matches but for that', () => {
    assert.equal(refused([{ audiences: [] }]).code, 'invalid_target');
    assert.equal(refused([{ audiences: ['STS.amazonaws.com'] }]).code, 'invalid_target');
  });

  test('never names to the caller a rule whose owner does not let it', () => {
    const secret = { name: 'SECRET', explain: false };
    const cases = [
      refused([{ ...near, ...secret }, far]),
      refused([{ ...secret, audiences: ['x'] }]),
      refused([{ ...secret, subject: 'x:{unix.group}' }]),
      refused([secret], { ...AWS, ttlSeconds: 1 }),
      refused([secret], { ...AWS, principalTags: true }),
    ];
    for (const { reason, shown } of cases) assert.doesNotMatch(JSON.stringify({ reason, shown }), /SECRET/);
    assert.match(JSON.stringify(cases[0]?.nearest), /SECRET/);
    assert.deepEqual(
      cases[0]?.shown.map(({ rule }) => rule),
      ['far'],
    );
  });

  test('is the same for whom only such a rule matches as for a stranger', () => {
    const secret = { name: 'SECRET', explain: false, multipleAudiences: true, audiences: ['x'] };
    const stranger = { ...secret, match: ['unix:user:somebody'] };
    const lacking = { name: 'SECRET', explain: false, subject: 'x:{unix.group}' };
    const told = ({ code, reason, shown }: Refused) => ({ code, reason, shown });
    assert.deepEqual(told(refused([lacking])), told(refused([{ ...lacking, match: stranger.match }])));
    assert.deepEqual(refused([lacking]).nearest[0]?.fails, [
      { selector: '{unix.group}', instead: 'was not proven of this caller' },
    ]);
    for (const request of [AWS, { ...AWS, audience: ['x', 'y'] }]) {
      const told = [secret, stranger].map((rule) => {
        const { code, reason, shown } = refused([rule, far], request);
        return { code, reason, shown };
      });
      assert.equal(told[0]?.code, 'access_denied');
      assert.deepEqual(told[0], told[1]);
    }
  });

  test('without any rule is one too', () => {
    assert.deepEqual(refused([]).nearest, []);
  });
});

suite('a decision', () => {
  const fact = fc.constantFrom('web', 'root', 'a:b', '');
  const workload = fc
    .dictionary(fc.constantFrom('unix.user', 'unix.uid', 'unix.path'), fact)
    .map((facts) => workloadOf(facts));
  const rule = fc.record({
    match: fc.array(fc.constantFrom('unix:user:web', 'unix:user:root', 'unix:uid:web'), { minLength: 1 }),
    subject: fc.constantFrom('acme', 'acme:{unix.uid}', '{host}:{unix.user}'),
    audiences: fc.subarray(['a', 'b']),
    claims: fc.constantFrom({}, { x: ['{unix.path}'] }),
    multipleAudiences: fc.boolean(),
    explain: fc.boolean(),
  });
  const request = fc.record({
    audience: fc.subarray(['a', 'b', 'c'], { minLength: 1 }),
    ttlSeconds: fc.option(fc.integer(), { nil: undefined }),
    principalTags: fc.boolean(),
  });

  function freeze(value: unknown): void {
    if (typeof value !== 'object' || value === null) return;
    Object.freeze(value);
    for (const inner of Object.values(value)) freeze(inner);
  }

  test('is pure, and grants only what a rule says', () => {
    fc.assert(
      fc.property(fc.array(rule, { maxLength: 4 }), workload, request, (rules, caller, asked) => {
        const given = rules.map((each, index) => ruleOf({ ...each, name: `r${index}` }));
        freeze([given, asked, caller.facts, caller.unproven]);
        const before = [...caller.selectors];
        const { policy } = compilePolicy(given, CONTEXT);
        const decision = policy.decide(caller, asked);
        assert.deepEqual(policy.decide(caller, asked), decision);
        assert.deepEqual([...caller.selectors], before);
        if (!decision.allowed) return;
        const granting = given.find(({ name }) => name === decision.rule)!;
        assert.ok(granting.match.every((selector) => caller.selectors.has(selector)));
        assert.ok(asked.audience.every((one) => granting.audiences.includes(one)));
        assert.ok(asked.audience.length === 1 || granting.multipleAudiences);
        assert.ok(decision.ttlSeconds >= 60 && decision.ttlSeconds <= 600);
      }),
      { numRuns: 1000 },
    );
  });
});

suite('compiling', () => {
  test('every mistake is told with its path', () => {
    assert.match(
      problemsOf({ match: ['unix:user:web', 'unix:shoe:9'] })[0]!,
      /^rules\[0\]\.match\[1\]: .*unix:shoe/,
    );
    assert.match(problemsOf({ subject: '{host' })[0]!, /^rules\[0\]\.subject: a lone "\{"/);
    assert.match(
      problemsOf({ subject: 'a:{hots}' })[0]!,
      /^rules\[0\]\.subject: nothing is known as \{hots\}/,
    );
    assert.match(problemsOf({ claims: { a: ['{'] } })[0]!, /^rules\[0\]\.claims\.a\[0\]: a lone/);
    assert.match(problemsOf({ sourceIdentity: '{x}' })[0]!, /^rules\[0\]\.sourceIdentity: nothing is known/);
    assert.match(problemsOf({ principalTags: { t: '}' } })[0]!, /^rules\[0\]\.principalTags\.t: a lone/);
    assert.match(
      problemsOf({ audiencePatterns: ['*'.repeat(11)] })[0]!,
      /^rules\[0\]\.audiencePatterns: .*wildcards/,
    );
    assert.match(problemsOf({ subject: 'a:{constructor}' })[0]!, /^rules\[0\]\.subject: nothing is known/);
  });

  test('what a workload may have several of is matched, and is no fact', () => {
    const kind = 'unix:supplementary-gid';
    const context = { ...CONTEXT, kinds: [...CONTEXT.kinds, kind], pluralKinds: [kind] };
    const rule = ruleOf({ match: [`${kind}:5`], subject: 'a:{unix.supplementary-gid}' });
    assert.deepEqual(
      compilePolicy([rule], context).problems.map(({ path }) => path),
      ['rules[0].subject'],
    );
  });

  test('and all of them at once', () => {
    const { problems } = compilePolicy(
      [ruleOf({ subject: '{', claims: { a: '{', b: '}' }, match: ['x'] }), ruleOf({ subject: '' })],
      CONTEXT,
    );
    assert.deepEqual(
      problems.map(({ path }) => path),
      ['rules[0].match[0]', 'rules[0].subject', 'rules[0].claims.a', 'rules[0].claims.b', 'rules[1].subject'],
    );
  });

  test('a subject may use what the rule or the installation pins, without a bound', () => {
    assert.deepEqual(problemsOf({ subject: '{unix.user}{host}' }), []);
    assert.match(problemsOf({ subject: '{unix.user}', match: ['unix:user:a:b'] }).join(), /separator/);
    assert.match(problemsOf({ subject: '{unix.path}{unix.gid}' }).join(), /without one of/);
  });

  test('says what it needs to know of a caller, and no more', () => {
    const policy = policyOf({ claims: { exe: '{unix.path}' }, principalTags: { g: '{unix.group}' } });
    assert.deepEqual([...policy.wanted].sort(), ['unix:group', 'unix:path', 'unix:user']);
  });

  test('says which algorithms and lives it takes', () => {
    const policy = policyOf({ algorithm: 'ES256', maxTtlSeconds: 3600 }, { name: 'b' }, { name: 'c' });
    assert.deepEqual(policy.algorithms, ['ES256', 'RS256']);
    assert.equal(policy.longestTtlSeconds, 3600);
    assert.equal(policyOf().longestTtlSeconds, 60);
  });

  test('selectors, their kinds and facts', () => {
    assert.equal(kindOf('docker:label:a:b'), 'docker:label');
    assert.equal(factOf('unix:supplementary-gid'), 'unix.supplementary-gid');
  });
});

suite("vouching for a token file's owner", () => {
  const owner = workloadOf({ 'unix.uid': '998', 'unix.user': 'web' });
  const rule = { match: ['unix:user:web', 'systemd:unit:web.service'], subject: 'acme:{systemd.unit}' };
  const audience = 'sts.amazonaws.com';

  test('takes on trust what nobody knows of the owner', () => {
    const vouched = policyOf(rule).vouch(owner, audience)!;
    assert.equal(vouched.rule, 'web may use AWS');
    assert.deepEqual(vouched.unproven, ['systemd:unit:web.service']);
    const decision = policyOf(rule).decide(vouched.workload, AWS);
    assert.equal((decision as Allowed).subject, 'acme:web.service');
    assert.equal(owner.selectors.size, 2);
  });

  test('never what is known to be otherwise, nor a rule that is not about the owner at all', () => {
    assert.equal(policyOf({ match: ['unix:uid:998', 'unix:user:root'] }).vouch(owner, audience), undefined);
    assert.equal(policyOf({ match: ['systemd:unit:web.service'] }).vouch(owner, audience), undefined);
    assert.equal(policyOf(rule).vouch(owner, 'other'), undefined);
  });

  test('by the first rule, or the one named', () => {
    const policy = policyOf({ name: 'one', match: ['unix:user:web'] }, { ...rule, name: 'two' });
    assert.equal(policy.vouch(owner, audience)?.rule, 'one');
    assert.equal(policy.vouch(owner, audience, 'two')?.rule, 'two');
    assert.equal(policy.vouch(owner, audience, 'three'), undefined);
    const { workload, rule: only } = policy.vouch(owner, audience, 'two')!;
    assert.equal((policy.decide(workload, AWS) as Allowed).rule, 'one');
    assert.equal((policy.decide(workload, { ...AWS, rule: only }) as Allowed).rule, 'two');
    assert.equal(policy.decide(workload, { ...AWS, rule: 'three' }).allowed, false);
  });
});

suite('facts with a key of their own, and kinds that mean something only beside another', () => {
  const context = {
    ...CONTEXT,
    kinds: ['jwt:issuer', 'jwt:subject', 'jwt:claim', 'oauth:client'],
    facts: ['jwt.claim.ref', 'jwt.claim.a.b'],
    qualifiedBy: { 'jwt:subject': 'jwt:issuer', 'jwt:claim': 'jwt:issuer' },
    faultOf: (selector: string) => (selector === 'jwt:issuer:nobody' ? 'there is no such issuer' : undefined),
  };
  const problems = (rule: Partial<Rule>) => problemsOf({ subject: 'x', ...rule }, context);

  test('a rule names the issuer whose subjects and claims it means', () => {
    assert.deepEqual(problems({ match: ['jwt:issuer:github', 'jwt:claim:ref:main'] }), []);
    assert.deepEqual(problems({ match: ['jwt:claim:ref:main'] }), [
      'rules[0].match[0]: jwt:claim means something only beside jwt:issuer: match that too',
    ]);
  });

  test('so does a template, or it has the issuer in it', () => {
    const match = ['oauth:client:web'];
    assert.match(problems({ match, subject: '{jwt.claim.ref}' })[0] ?? '', /only beside jwt:issuer/);
    assert.match(problems({ match, claims: { a: ['{jwt.subject}'] } })[0] ?? '', /only beside jwt:issuer/);
    assert.deepEqual(problems({ match, subject: '{jwt.issuer}:{jwt.claim.ref:40}' }), []);
  });

  test('what the settings never prove is a mistake', () => {
    assert.deepEqual(problems({ match: ['jwt:issuer:nobody'] }), [
      'rules[0].match[0]: there is no such issuer',
    ]);
    assert.match(problems({ match: ['jwt:issuer:a'], subject: '{jwt.claim.other}' })[0] ?? '', /nothing is/);
  });

  test('a match pins the fact of its key', () => {
    const pinned = { match: ['jwt:issuer:a', 'jwt:claim:ref:refs/heads/main'], subject: '{jwt.claim.ref}' };
    assert.match(problems(pinned)[0] ?? '', /is "refs\/heads\/main", which has a separator/);
    assert.deepEqual(
      problems({ match: ['jwt:issuer:a', 'jwt:claim:a.b:c'], subject: '{jwt.claim.a.b}' }),
      [],
    );
  });

  test('why one is missing is told under its own key', () => {
    const { policy } = compilePolicy(
      [ruleOf({ match: ['jwt:issuer:a', 'jwt:claim:ref:main'], subject: 'x' })],
      context,
    );
    const workload = workloadOf(
      { 'jwt.issuer': 'a', 'jwt.claim': 'a.b:c' },
      { 'jwt:claim:ref': 'value_too_long' },
    );
    const decision = policy.decide(workload, AWS) as Refused;
    assert.equal(decision.nearest[0]?.fails[0]?.instead, 'value_too_long');
  });
});
