import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import { EMPTY_RING } from '../../src/core/key-ring.ts';
import { openForAdmin, openForSelf } from '../../src/doors/explain.ts';
import { type Served, serve } from '../fakes/http.ts';
import { issuerOf } from '../fakes/issuer.ts';
import { policyOf } from '../fakes/policy.ts';
import { fakePeer, fixedAttestor, WEB } from '../fakes/workload.ts';

const policy = policyOf(
  { claims: { app_name: 'web' } },
  { name: 'SECRET', match: ['unix:user:root'], explain: false },
  { name: 'open', match: ['unix:user:admin'] },
);
const parts = { policy: () => policy };
const caller = { selectors: [...WEB.selectors].sort(), facts: WEB.facts, unproven: WEB.unproven };

async function explain({ ask }: Served, body: unknown) {
  const { status, text } = await ask('/v1/explain', { method: 'POST', body: JSON.stringify(body) });
  return { status, text, answer: JSON.parse(text) };
}

suite('explain, for the caller itself', () => {
  test('says what a token would have in it, and signs none', async (t) => {
    const { issuer, recorder } = issuerOf(EMPTY_RING, parts);
    const served = await serve(t, openForSelf({ issuer, peerOf: fakePeer }));
    const { status, answer } = await explain(served, { aud: 'sts.amazonaws.com' });
    assert.equal(status, 200);
    assert.deepEqual(answer, {
      allowed: true,
      caller,
      rule: 'web may use AWS',
      subject: 'acme:web:web-1',
      audience: ['sts.amazonaws.com'],
      ttlSeconds: 600,
      algorithm: 'RS256',
      claims: { app_name: 'web' },
    });
    assert.deepEqual(recorder.issuances, []);
  });

  test('says what kept the rules from matching, but for those whose owners hide them', async (t) => {
    const { issuer } = issuerOf(EMPTY_RING, parts);
    const served = await serve(t, openForSelf({ issuer, peerOf: fakePeer }));
    const { answer, text } = await explain(served, { aud: 'other.example' });
    assert.equal(answer.allowed, false);
    assert.equal(answer.code, 'invalid_target');
    assert.deepEqual(answer.caller, caller);
    assert.deepEqual(
      answer.nearest.map(({ rule }: { rule: string }) => rule),
      ['web may use AWS', 'open'],
    );
    assert.doesNotMatch(text, /SECRET/);
  });

  test('leaves out the name of a hidden rule that allows, and the admin is told it', async (t) => {
    const hidden = policyOf({ name: 'SECRET', explain: false });
    const { issuer } = issuerOf(EMPTY_RING, { policy: () => hidden });
    const served = await serve(t, openForSelf({ issuer, peerOf: fakePeer }));
    const { answer, text } = await explain(served, { aud: 'sts.amazonaws.com' });
    assert.equal(answer.allowed, true);
    assert.doesNotMatch(text, /SECRET/);
    const openPeer = () => ({ ...fakePeer(), close: () => undefined });
    const admin = await serve(t, openForAdmin({ issuer, openPeer }));
    assert.equal((await explain(admin, { aud: 'sts.amazonaws.com', pid: 7 })).answer.rule, 'SECRET');
  });

  test('malformed questions and unproven callers are refused', async (t) => {
    const { issuer } = issuerOf(EMPTY_RING, parts);
    const served = await serve(t, openForSelf({ issuer, peerOf: fakePeer }));
    for (const body of [{}, { aud: '' }, { aud: 1 }, []])
      assert.equal((await explain(served, body)).status, 400);
    const nobody = await serve(t, openForSelf({ issuer, peerOf: () => undefined }));
    assert.equal((await explain(nobody, { aud: 'a' })).answer.error, 'peer_unproven');
  });
});

suite('explain, for the operator', () => {
  test('says everything of any process, and lets go of it', async (t) => {
    const closed: number[] = [];
    const openPeer = (pid: number) => ({ ...fakePeer(), pid, close: () => closed.push(pid) });
    const { issuer } = issuerOf(EMPTY_RING, parts);
    const served = await serve(t, openForAdmin({ issuer, openPeer }));
    const { answer } = await explain(served, { aud: 'other.example', pid: 77 });
    assert.equal(answer.pid, 77);
    assert.deepEqual(
      answer.nearest.map(({ rule }: { rule: string }) => rule),
      ['web may use AWS', 'SECRET', 'open'],
    );
    assert.equal((await explain(served, { pid: 78 })).status, 400);
    const attest = () => Promise.reject(new IssuerError('peer_changed', 'it has exited'));
    const exited = issuerOf(EMPTY_RING, { ...parts, attestor: { ...fixedAttestor(), attest } });
    const gone = await serve(t, openForAdmin({ issuer: exited.issuer, openPeer }));
    assert.equal((await explain(gone, { aud: 'a', pid: 79 })).answer.error, 'peer_changed');
    assert.deepEqual(closed, [77, 78, 79]);
  });

  test('a process that there is not, or no process number at all', async (t) => {
    const openPeer = () => {
      throw new IssuerError('not_found', 'no such process');
    };
    const { issuer } = issuerOf(EMPTY_RING, parts);
    const served = await serve(t, openForAdmin({ issuer, openPeer }));
    assert.equal((await explain(served, { aud: 'a', pid: 77 })).status, 404);
    for (const pid of [undefined, 0, -1, 1.5, '77', 1e300, null, [77]])
      assert.equal((await explain(served, { aud: 'a', pid })).status, 400, String(pid));
  });
});
