import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { IssuerError } from '../../src/core/errors.ts';
import { boundLife, createIssuer, type IssuerParts } from '../../src/core/issuer.ts';
import type { Algorithm, Allowed, Claims, SelectorKind } from '../../src/core/ports.ts';
import { refusal } from '../conformance/key-store.ts';
import { fakeClock } from '../fakes/clock.ts';
import { ISSUER, policyOf } from '../fakes/policy.ts';
import { collectingRecorder } from '../fakes/recorder.ts';
import { fakePeer, fixedAttestor, KINDS, WEB } from '../fakes/workload.ts';

const AWS = { audience: ['sts.amazonaws.com'] };

/** An issuer of fakes that write down in which order they are called. */
function fixture(parts: Partial<IssuerParts> = {}) {
  const steps: string[] = [];
  const signed: [Claims, Algorithm][] = [];
  const wants: ReadonlySet<SelectorKind>[] = [];
  const clock = fakeClock();
  const recorder = collectingRecorder();
  const policy = policyOf({ algorithm: 'ES256', claims: { exe: '{unix.path}' } });
  const issuer = createIssuer({
    identifier: ISSUER,
    policy: () => {
      steps.push('policy');
      return policy;
    },
    attestor: {
      ...fixedAttestor(),
      attest: async (_peer, wanted) => {
        steps.push('attest');
        wants.push(wanted);
        clock.advance(0.5);
        return WEB;
      },
      confirm: () => void steps.push('confirm'),
    },
    signer: {
      sign: async (claims, algorithm) => {
        steps.push('sign');
        signed.push([claims, algorithm]);
        clock.advance(0.25);
        return { token: 'header.claims.signature', keyId: 'kid-1' };
      },
      close: async () => undefined,
    },
    recorder: {
      ...recorder,
      issued: (event) => {
        steps.push('record');
        recorder.issued(event);
      },
    },
    clock,
    createTokenId: () => `jti-${steps.push('jti')}`,
    ...parts,
  });
  return { issuer, steps, signed, wants, recorder, clock };
}

suite('issuing a token', () => {
  test('attests, decides, signs, asks the kernel again and records, in this order', async () => {
    const { issuer, steps, signed, wants, recorder, clock } = fixture();
    const now = clock.now();
    const peer = fakePeer();
    const issued = await issuer.issueToken('fly', peer, AWS);
    assert.deepEqual(steps, ['policy', 'attest', 'jti', 'sign', 'confirm', 'record']);
    assert.deepEqual([...wants[0]!].sort(), ['unix:path', 'unix:user']);
    const [claims, algorithm] = signed[0]!;
    assert.equal(algorithm, 'ES256');
    assert.equal(claims.sub, 'acme:web:web-1');
    assert.equal(claims.exp - now, 600);
    assert.deepEqual(issued, {
      token: 'header.claims.signature',
      keyId: 'kid-1',
      claims,
      algorithm: 'ES256',
      rule: 'web may use AWS',
    });
    const event = { door: 'fly', peer, workload: WEB, issued, attestSeconds: 0.5, totalSeconds: 0.75 };
    assert.deepEqual(recorder.issuances, [event]);
  });

  test('a changed policy holds for the next request', async () => {
    let policy = policyOf({});
    const { issuer } = fixture({ policy: () => policy });
    await issuer.issueToken('fly', fakePeer(), AWS);
    policy = policyOf({ audiences: [] });
    await assert.rejects(issuer.issueToken('fly', fakePeer(), AWS), refusal('invalid_target'));
  });

  test('a peer that changed while the token was signed gets none, and nothing is recorded', async () => {
    const confirm = () => {
      throw new IssuerError('peer_changed', 'it has exited');
    };
    const { issuer, recorder } = fixture({ attestor: { ...fixedAttestor(), confirm } });
    await assert.rejects(issuer.issueToken('fly', fakePeer(), AWS), refusal('peer_changed'));
    assert.deepEqual(recorder.issuances, []);
  });

  test('a token that cannot be recorded is withheld', async () => {
    const issued = () => {
      throw new IssuerError('temporarily_unavailable', 'the audit log is full');
    };
    const { issuer } = fixture({ recorder: { ...collectingRecorder(), issued } });
    await assert.rejects(issuer.issueToken('fly', fakePeer(), AWS), refusal('temporarily_unavailable'));
    await assert.rejects(issuer.issueTokenFor('files', WEB, AWS), refusal('temporarily_unavailable'));
  });

  test('what the attestor and the signer throw comes through', async () => {
    const attest = () => Promise.reject(new IssuerError('peer_unproven', 'no pid'));
    const unproven = fixture({ attestor: { ...fixedAttestor(), attest } });
    await assert.rejects(unproven.issuer.issueToken('fly', fakePeer(), AWS), refusal('peer_unproven'));
    const sign = () => Promise.reject(new IssuerError('key_not_ready', 'not yet'));
    const unready = fixture({ signer: { sign, close: async () => undefined } });
    await assert.rejects(unready.issuer.issueToken('fly', fakePeer(), AWS), refusal('key_not_ready'));
    assert.deepEqual(unready.recorder.issuances, []);
  });

  test('for a file nobody is attested', async () => {
    const { issuer, steps, recorder } = fixture();
    await issuer.issueTokenFor('token-files', WEB, AWS);
    assert.deepEqual(steps, ['policy', 'jti', 'sign', 'record']);
    assert.equal(recorder.issuances[0]?.peer, undefined);
    await assert.rejects(
      issuer.issueTokenFor('token-files', WEB, { audience: ['x'] }),
      refusal('invalid_target'),
    );
  });
});

suite('a refusal by policy', () => {
  test('tells the log everything and the caller what policy lets it see', async () => {
    const secret = { name: 'SECRET', match: ['unix:user:web', 'unix:uid:0'], explain: false };
    const open = { name: 'open', match: ['unix:user:root'] };
    const { issuer, steps } = fixture({ policy: () => policyOf(secret, open) });
    await assert.rejects(issuer.issueToken('fly', fakePeer(), AWS), (error: IssuerError) => {
      assert.equal(error.code, 'access_denied');
      assert.match(error.detail, /no rule allows sts\.amazonaws\.com.*"SECRET" lacks unix:uid:0.*"open"/);
      assert.doesNotMatch(JSON.stringify(error.shown), /SECRET/);
      assert.deepEqual(error.shown, {
        reason: 'no rule allows sts.amazonaws.com to this caller',
        caller: [...WEB.selectors].sort(),
        unproven: WEB.unproven,
        nearest: [
          {
            rule: 'open',
            holds: [],
            fails: [{ selector: 'unix:user:root', instead: 'web' }],
            allowsAudience: true,
          },
        ],
      });
      return true;
    });
    assert.deepEqual(steps, ['attest', 'confirm']);
  });
});

suite('explaining', () => {
  test('proves all that can be proven, decides, and signs nothing', async () => {
    const { issuer, steps, wants } = fixture();
    const { workload, decision } = await issuer.explain(fakePeer(), AWS);
    assert.equal(workload, WEB);
    assert.equal(decision.allowed, true);
    assert.deepEqual(steps, ['policy', 'attest', 'confirm']);
    assert.deepEqual([...wants[0]!].sort(), [...KINDS].sort());
  });
});

suite('a proof that ends', () => {
  const provenFor = (seconds: number) => {
    const given = fixture();
    const workload = { ...WEB, expiresAt: given.clock.now() + seconds };
    const attest = async () => workload;
    return { ...fixture({ attestor: { ...fixedAttestor(), attest }, clock: given.clock }), workload };
  };

  test('ends the token, and the explanation says so', async () => {
    const { issuer, workload } = provenFor(90);
    const { claims } = await issuer.issueToken('oauth', fakePeer(), AWS);
    assert.equal(claims.exp, workload.expiresAt);
    const { decision } = await issuer.explain(fakePeer(), AWS);
    assert.equal(decision.allowed && decision.ttlSeconds, 90);
  });

  test('never makes it longer', async () => {
    const { issuer, clock } = provenFor(6000);
    const { claims } = await issuer.issueToken('oauth', fakePeer(), AWS);
    assert.equal(claims.exp, clock.now() + 600);
  });

  for (const seconds of [0.5, 0, -1, Number.NaN])
    test(`is worth nothing with ${seconds} s left`, async () => {
      const { issuer, signed, recorder } = provenFor(seconds);
      await assert.rejects(issuer.issueToken('oauth', fakePeer(), AWS), refusal('invalid_assertion'));
      await assert.rejects(issuer.explain(fakePeer(), AWS), refusal('invalid_assertion'));
      assert.deepEqual([signed, recorder.issuances], [[], []]);
    });

  test('whatever the times are, the token ends no later than the proof and the rule', () => {
    const allowed: Allowed = {
      allowed: true,
      rule: 'r',
      subject: 's',
      audience: ['a'],
      claims: {},
      ttlSeconds: 0,
      algorithm: 'RS256',
    };
    const times = [fc.integer({ min: 60, max: 86_400 }), fc.nat(4_000_000_000), fc.double()] as const;
    fc.assert(
      fc.property(...times, (ttlSeconds, now, left) => {
        const expiresAt = now + left;
        try {
          const bounded = boundLife({ ...allowed, ttlSeconds }, { ...WEB, expiresAt }, now);
          assert.ok(now + bounded.ttlSeconds <= expiresAt);
          assert.ok(bounded.ttlSeconds <= ttlSeconds && bounded.ttlSeconds >= 1);
          assert.ok(Number.isInteger(bounded.ttlSeconds));
        } catch (error) {
          assert.ok(error instanceof IssuerError && error.code === 'invalid_assertion');
          assert.ok(!(expiresAt >= now + 1));
        }
      }),
    );
  });
});
