/** Rules with everything that a test does not care about filled in. */
import assert from 'node:assert/strict';
import { compilePolicy, type Policy, type PolicyContext, type Rule } from '../../src/core/policy.ts';
import { KINDS } from './workload.ts';

export const ISSUER = 'https://id.example.com';

export const CONTEXT: PolicyContext = { issuer: ISSUER, constants: { host: 'web-1' }, kinds: KINDS };

export function ruleOf(rule: Partial<Rule> = {}): Rule {
  return {
    name: 'web may use AWS',
    match: ['unix:user:web'],
    subject: 'acme:web:{host}',
    audiences: ['sts.amazonaws.com'],
    audiencePatterns: [],
    claims: {},
    ttlSeconds: 600,
    maxTtlSeconds: 600,
    algorithm: 'RS256',
    multipleAudiences: false,
    explain: true,
    ...rule,
  };
}

/** The policy of rules that have no mistake. */
export function policyOf(...rules: readonly Partial<Rule>[]): Policy {
  const { policy, problems } = compilePolicy(rules.map(ruleOf), CONTEXT);
  assert.deepEqual(problems, []);
  return policy;
}

/** What is wrong with one rule, as `path: message`. */
export function problemsOf(rule: Partial<Rule>, context: PolicyContext = CONTEXT): readonly string[] {
  return compilePolicy([ruleOf(rule)], context).problems.map(({ path, message }) => `${path}: ${message}`);
}
