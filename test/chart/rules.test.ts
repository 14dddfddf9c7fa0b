/** The chart takes the rules that the program takes, and says of the others where they are wrong. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { provable } from '../../src/compose/attestors.ts';
import { ruleSchema } from '../../src/config/rules.ts';
import { compilePolicy } from '../../src/core/policy.ts';
import { isMissing } from '../stores/requires.ts';
import { CHART, hasHelm, helm, NO_HELM } from './helm.ts';

const ISSUER = 'https://id.example.com';
const HOST = 'authority';
const RULE = { name: 'web', match: ['k8s:ns:prod', 'k8s:sa:web'], subject: 'x' };

/** What is laid over that rule. */
const taken: readonly object[] = [
  { subject: '{{{k8s.ns}}}:{{}}' },
  { subject: '{k8s.ns}-{k8s.sa}{host}' },
  { subject: '{k8s.pod-name:63}:{k8s.node}' },
  { match: ['k8s:ns:a', 'k8s:ns:b'], subject: '{k8s.ns}{k8s.sa}' },
  { match: ['k8s:sa:web', 'k8s:image:registry/web:1'], claims: { image: '{k8s.image}' } },
  { match: ['k8s:sa:web', 'k8s:pod-label:app:x'] },
  { match: ['k8s:sa:web', 'sidecar:unix-uid:7'], subject: 'x:{sidecar.unix-uid}' },
  { claims: { '{x': 1, '}': { '{k8s.none}': ['{{', 7, null, true, ['{k8s.pod-uid:99}']] } } },
  { claims: { quoted: 'a"{k8s.ns}"<&>\\' }, sourceIdentity: '{k8s.image}/{k8s.ns}' },
  { principalTags: { a: '{k8s.sa}', b: '{{}}' }, transitiveTags: ['a', 'a'] },
  { audiences: ['a b'], audiencePatterns: ['https://*.a/**/*.b/*', '***'] },
  { ttl: '60s', maxTtl: '1d', algorithm: 'EdDSA', multipleAudiences: true },
  { subject: 'y'.repeat(127) },
];

const refused: readonly (readonly [object, RegExp])[] = [
  [
    { match: ['k8s:ns:a:b'], subject: '{k8s.ns}' },
    /subject: {k8s\.ns} is "a:b", which has a separator in it/,
  ],
  [{ match: ['k8s:ns:ä'], subject: '{k8s.ns}' }, /subject: {k8s\.ns} is "ä", .* not printable ASCII/],
  [{ subject: '{k8s.ns' }, /subject has a lone brace/],
  [{ subject: '{}' }, /subject: {} is no variable/],
  [{ subject: '{k8s.ns:0}' }, /subject: {k8s\.ns:0} is no variable/],
  [{ subject: '{K8s.ns}' }, /subject: {K8s\.ns} is no variable/],
  [{ subject: '{k8s.pod-name}{{{k8s.node}' }, /subject: a variable follows another .*: {k8s\.node}/],
  [{ subject: '{k8s.pod-name}{k8s.ns}{k8s.node}' }, /subject: a variable follows another/],
  [{ subject: '{k8s.pod-name}:{k8s.node:65}' }, /subject could be 129 bytes/],
  [{ subject: '{k8s.pod-label}' }, /subject: nothing is known as {k8s\.pod-label}; (?!.*{k8s\.pod-label})/],
  [{ subject: '{unix.uid}' }, /subject: nothing is known as {unix\.uid}; known: {host} {k8s\.ns} /],
  [{ subject: '{sidecar.unix-uid}' }, /subject: {sidecar\.unix-uid} is what a sidecar says/],
  [{ claims: { a: ['{k8s.ns}', { b: '}' }] } }, /claims\.a\[1\]\.b has a lone brace/],
  [{ claims: { a: '{k8s.pod-label.app}' } }, /claims\.a: nothing is known as {k8s\.pod-label\.app}/],
  [{ claims: { a: '{sidecar.container-name}' } }, /claims\.a: {sidecar\.container-name} is what a sidecar/],
  [{ principalTags: { a: '{k8s.none}' } }, /principalTags\.a: nothing is known as {k8s\.none}/],
  [{ principalTags: { a: 'x', A: 'y' } }, /principalTags has two names that differ in case only/],
  [{ principalTags: { a: 'x' }, transitiveTags: ['b'] }, /transitiveTags names b, which principalTags/],
  [{ sourceIdentity: 'a{' }, /sourceIdentity has a lone brace/],
  [{ audiencePatterns: ['a', '*a*b*c*d*'] }, /audiencePatterns\[1\] has more than 4 wildcards/],
  [{ match: ['unix:uid:1'] }, /match: the authority knows pods only/],
  [{ match: ['sidecar:unix-uid:1'] }, /match rests on nothing but what a sidecar says/],
  [{ name: ' web' }, /rules\/0\/name/],
  [{ audiences: ['a '] }, /rules\/0\/audiences\/0/],
  [{ match: ['k8s:ns:prod '] }, /rules\/0\/match\/0/],
  [{ match: ['k8s:ns:a\nb'] }, /rules\/0\/match\/0/],
  [{ claims: { 'a ': 1 } }, /rules\/0\/claims': additional properties 'a ' not allowed/],
  [{ ttl: '090s' }, /rules\/0\/ttl/],
  [{ ttl: '59s' }, /ttl must be 60s to 24h/],
];

for (const [over, said] of [...taken.map((each) => [each] as const), ...refused])
  test(`${said === undefined ? 'taken' : 'refused'}: ${JSON.stringify(over)}`, async (t) => {
    const rule = { ...RULE, ...over };
    assert.equal(await isTaken(rule), said === undefined, 'by the program');
    if (isMissing(t, hasHelm, NO_HELM)) return;
    const values = { issuer: ISSUER, rules: [rule], attestor: { labels: ['app'] }, fullnameOverride: HOST };
    const sets = Object.entries(values).flatMap(([key, value]) => [
      '--set-json',
      `${key}=${JSON.stringify(value)}`,
    ]);
    const { code, stderr } = await helm('template', 'x', CHART, ...sets);
    assert.equal(code === 0, said === undefined, stderr);
    assert.match(stderr, said ?? /^$/);
  });

async function isTaken(input: object): Promise<boolean> {
  const { success, output } = v.safeParse(ruleSchema, input);
  const context = { ...(await provable({ kubernetes: {} })), issuer: ISSUER, constants: { host: HOST } };
  return success && compilePolicy([output], context).problems.length === 0;
}
