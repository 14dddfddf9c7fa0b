import assert from 'node:assert/strict';
import { test } from 'node:test';
import { combine, provable } from '../../src/compose/attestors.ts';
import { compilePolicy } from '../../src/core/policy.ts';
import type { AssertionPeer, Attestor } from '../../src/core/ports.ts';
import { refusal } from '../conformance/key-store.ts';
import { ruleOf } from '../fakes/policy.ts';
import { fakePeer, fixedAttestor, WEB, workloadOf } from '../fakes/workload.ts';

const PEER: AssertionPeer = { kind: 'assertion', token: 'a.b.c', audiences: ['x'] };
const NONE: ReadonlySet<string> = new Set();

function asserting(name: string, expiresAt: number): Attestor {
  return {
    ...fixedAttestor({ ...workloadOf({ 'jwt.issuer': name }), expiresAt }),
    peers: ['assertion'],
    kinds: ['jwt:issuer'],
    facts: ['jwt.claim.ref'],
    qualifiedBy: { 'jwt:subject': 'jwt:issuer' },
    faultOf: (selector) => `${selector} by ${name}`,
    confirm: () => {
      throw new Error(`${name} was asked`);
    },
  };
}

test('only those that know the peer are asked', async () => {
  const all = combine([fixedAttestor(), asserting('github', 2000)]);
  assert.equal(await all.attest(fakePeer(), NONE), WEB);
  all.confirm(fakePeer(), WEB);
  const proven = await all.attest(PEER, NONE);
  assert.deepEqual([...proven.selectors], ['jwt:issuer:github']);
  assert.throws(() => all.confirm(PEER, proven), /github was asked/);
  await assert.rejects(combine([fixedAttestor()]).attest(PEER, NONE), refusal('peer_unproven'));
});

test('of several proofs the first to end counts', async () => {
  const all = combine([asserting('a', 2000), asserting('b', 1000)]);
  const proven = await all.attest(PEER, NONE);
  assert.equal(proven.expiresAt, 1000);
  assert.deepEqual([...proven.selectors].sort(), ['jwt:issuer:a', 'jwt:issuer:b']);
});

test('what rules may name is that of all', () => {
  const { kinds, facts, qualifiedBy, faultOf } = combine([fixedAttestor(), asserting('a', 1)]);
  assert.deepEqual(kinds, [...fixedAttestor().kinds, 'jwt:issuer']);
  assert.deepEqual([facts, qualifiedBy], [['jwt.claim.ref'], { 'jwt:subject': 'jwt:issuer' }]);
  assert.equal(faultOf?.('jwt:issuer:x'), 'jwt:issuer:x by a');
  assert.equal(faultOf?.('unix:uid:x'), undefined);
});

test('labels have keys, so that rules match them and no template has their facts', async () => {
  const all = await provable({ kubernetes: {}, docker: {} });
  const context = { ...all, issuer: 'https://id.example.com', constants: {} };
  for (const kind of ['k8s:pod-label', 'k8s:pod-annotation', 'docker:label']) {
    const rule = ruleOf({
      subject: 'x',
      match: [`${kind}:app:web`],
      claims: { app: `{${kind.replace(':', '.')}}` },
    });
    const { problems } = compilePolicy([rule], context);
    assert.deepEqual(
      problems.map(({ path }) => path),
      ['rules[0].claims.app'],
      kind,
    );
    assert.match(problems[0]?.message ?? '', /^nothing is known as /);
  }
});
