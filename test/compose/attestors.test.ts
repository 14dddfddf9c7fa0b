import assert from 'node:assert/strict';
import { test } from 'node:test';
import { combine } from '../../src/compose/attestors.ts';
import type { AssertionPeer, Attestor } from '../../src/core/ports.ts';
import { refusal } from '../conformance/key-store.ts';
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
