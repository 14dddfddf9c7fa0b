import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { IssuerError } from '../../src/core/errors.ts';
import type { Authority, IssuedToken, Selector, TokenRequest } from '../../src/core/ports.ts';
import { createRelay, type RelayParts } from '../../src/core/relay.ts';
import { refusal } from '../conformance/key-store.ts';
import { fakeClock } from '../fakes/clock.ts';
import { collectingRecorder } from '../fakes/recorder.ts';
import { fakePeer, fixedAttestor, WEB, workloadOf } from '../fakes/workload.ts';

const AWS: TokenRequest = { audience: ['sts.amazonaws.com'] };
const AWAY = new IssuerError('temporarily_unavailable', 'nobody answers');
const LIFE = 600;

function fixture(parts: Partial<RelayParts> = {}) {
  const clock = fakeClock();
  const recorder = collectingRecorder();
  const asked: (readonly [readonly Selector[], TokenRequest])[] = [];
  const state: {
    answer: IssuerError | undefined;
    hangs: Promise<void> | undefined;
    isReusable?: boolean;
  } = { answer: undefined, hangs: undefined };
  const authority: Authority = {
    async issueToken(claimed, request): Promise<IssuedToken> {
      asked.push([claimed, request]);
      const jti = `jti-${asked.length}`;
      await state.hangs;
      const { isReusable = true } = state;
      if (state.answer !== undefined) throw state.answer;
      const iat = clock.now();
      const [aud = ''] = request.audience;
      const claims = { iss: 'i', sub: 's', aud, iat, nbf: iat, exp: iat + LIFE, jti };
      return { token: jti, keyId: 'k', algorithm: 'RS256', rule: 'r', isReusable, claims };
    },
    explain: async () => ({ workload: WEB, decision: { allowed: false } as never }),
    close: async () => undefined,
  };
  const relay = createRelay({
    identifier: 'https://mintmark.test',
    attestor: fixedAttestor(),
    authority,
    recorder,
    clock,
    claims: { 'unix:uid': 'sidecar:unix-uid' },
    reuse: { floorSeconds: 60, singleUse: ['once.example.com'] },
    // Where the authority hangs the patience is over at once.
    patience: (fresh) => (state.hangs === undefined ? fresh : Promise.resolve(undefined)),
    ...parts,
  });
  const ask = (request = AWS) => relay.issueToken('fly', fakePeer(), request);
  return { relay, ask, clock, recorder, asked, state };
}

suite('a sidecar asks its authority', () => {
  test('with the local facts as claims, and each time anew', async () => {
    const { ask, asked, recorder } = fixture();
    assert.equal((await ask()).token, 'jti-1');
    assert.equal((await ask()).token, 'jti-2');
    assert.deepEqual(asked[0], [['sidecar:unix-uid:998'], AWS]);
    assert.equal(recorder.issuances.length, 2);
  });

  test('a caller that changed while the authority answered gets nothing', async () => {
    const confirm = () => {
      throw new IssuerError('peer_changed', 'gone');
    };
    const { ask, recorder } = fixture({ attestor: { ...fixedAttestor(), confirm } });
    await assert.rejects(ask(), refusal('peer_changed'));
    assert.equal(recorder.issuances.length, 0);
  });

  test('a refusal is passed on, though an older token is there', async () => {
    const { ask, state } = fixture();
    await ask();
    state.answer = new IssuerError('access_denied', 'no more', { shown: { reason: 'no more' } });
    await assert.rejects(ask(), refusal('access_denied', /no more/));
  });
});

suite('while the authority is away', () => {
  test('a workload that was refused meanwhile gets no old token', async () => {
    const { ask, state } = fixture();
    await ask();
    state.answer = new IssuerError('access_denied', 'no more');
    await assert.rejects(ask(), refusal('access_denied'));
    state.answer = AWAY;
    await assert.rejects(ask(), refusal('temporarily_unavailable'));
  });

  test('the tokens of token files push out none of those that are given again', async () => {
    const { ask, relay, state } = fixture();
    const { token } = await ask();
    for (let index = 0; index < 1_000; index++)
      await relay.issueTokenFor('token-files', WEB, { audience: [`file-${index}`] });
    state.answer = AWAY;
    assert.equal((await ask()).token, token);
  });

  test('the last token is given again, marked, until the floor of its life', async () => {
    const { ask, clock, state } = fixture();
    const { token } = await ask();
    state.answer = AWAY;
    const again = await ask();
    assert.deepEqual([again.token, again.isReused], [token, true]);
    clock.advance(LIFE - 60);
    assert.equal((await ask()).token, token);
    clock.advance(1);
    await assert.rejects(ask(), refusal('temporarily_unavailable'));
  });

  test('a clock set back makes no token young again', async () => {
    const { ask, clock, state } = fixture();
    await ask();
    state.answer = AWAY;
    clock.advance(LIFE - 30);
    clock.jump(-LIFE);
    await assert.rejects(ask(), refusal('temporarily_unavailable'));
  });

  test('it is left alone for two seconds by those who have a token, and asked again then', async () => {
    const { ask, clock, state, asked } = fixture();
    await ask();
    state.answer = AWAY;
    await ask();
    await ask();
    assert.equal(asked.length, 2);
    state.answer = undefined;
    clock.advance(2);
    assert.equal((await ask()).isReused, undefined);
  });

  test('another audience, life or caller gets no token of somebody else', async () => {
    const { ask, state } = fixture();
    await ask();
    state.answer = AWAY;
    await assert.rejects(ask({ audience: ['vault'] }), refusal('temporarily_unavailable'));
    await assert.rejects(ask({ ...AWS, ttlSeconds: 60 }), refusal('temporarily_unavailable'));
    const attestors = ['1', '2'].map((uid) => fixedAttestor(workloadOf({ 'unix.uid': uid })));
    let turn = 0;
    const attestor = { ...fixedAttestor(), attest: () => attestors[turn]!.attest(fakePeer(), new Set()) };
    const two = fixture({ attestor });
    await two.ask();
    two.state.answer = AWAY;
    turn = 1;
    await assert.rejects(two.ask(), refusal('temporarily_unavailable'));
  });

  test('an audience of single use, and a floor that is off, give nothing again', async () => {
    const { ask, state } = fixture();
    const once = { audience: ['once.example.com'] };
    await ask(once);
    state.answer = AWAY;
    await assert.rejects(ask(once), refusal('temporarily_unavailable'));
    const off = fixture({ reuse: { floorSeconds: undefined, singleUse: [] } });
    await off.ask();
    off.state.answer = AWAY;
    await assert.rejects(off.ask(), refusal('temporarily_unavailable'));
  });

  test('a token that is not to be reused is not, nor the one before it', async () => {
    const { ask, state } = fixture();
    await ask();
    state.isReusable = false;
    await ask();
    state.answer = AWAY;
    await assert.rejects(ask(), refusal('temporarily_unavailable'));
  });

  test('a token file is not filled with its old token: the fault is told', async () => {
    const { relay, state } = fixture();
    await relay.issueTokenFor('token-files', WEB, AWS);
    state.answer = AWAY;
    await assert.rejects(relay.issueTokenFor('token-files', WEB, AWS), refusal('temporarily_unavailable'));
  });
});

suite('while the authority hangs', () => {
  /** One caller has a token, and the authority says nothing until it is let go. */
  async function hanging() {
    const all = fixture();
    const { token } = await all.ask();
    const { promise, resolve } = Promise.withResolvers<void>();
    all.state.hangs = promise;
    const letGo = async () => {
      all.state.hangs = undefined;
      resolve();
      await new Promise(setImmediate);
    };
    return { ...all, token, letGo };
  }

  test('whoever has a token gets it after a short wait, and one question alone goes on', async () => {
    const { ask, asked, token } = await hanging();
    for (let count = 0; count < 3; count++) {
      const again = await ask();
      assert.deepEqual([again.token, again.isReused], [token, true]);
    }
    assert.equal(asked.length, 2);
  });

  test('a fresh token is handed out as soon as it answers', async () => {
    const { ask, asked, letGo } = await hanging();
    await ask();
    await letGo();
    assert.equal((await ask()).isReused, undefined);
    assert.equal(asked.length, 3);
  });

  test('what it answers late is kept, so that the youngest token is given again', async () => {
    const { ask, state, letGo, clock } = await hanging();
    clock.advance(LIFE - 60);
    await ask();
    await letGo();
    state.answer = AWAY;
    clock.advance(LIFE - 60);
    assert.equal((await ask()).token, 'jti-2');
  });

  test('when it fails in the end it is left alone for a while, and asked again then', async () => {
    const { ask, asked, state, letGo, clock } = await hanging();
    await ask();
    state.answer = AWAY;
    await letGo();
    assert.equal((await ask()).isReused, true);
    assert.equal(asked.length, 2);
    state.answer = undefined;
    clock.advance(2);
    assert.equal((await ask()).isReused, undefined);
  });

  test('a refusal that comes late counts for whoever asks next', async () => {
    const { ask, state, letGo } = await hanging();
    await ask();
    state.answer = new IssuerError('access_denied', 'no more');
    await letGo();
    await assert.rejects(ask(), refusal('access_denied'));
    state.answer = AWAY;
    await assert.rejects(ask(), refusal('temporarily_unavailable'));
  });

  test('a question that goes on is no answer to another one', async () => {
    const { ask, state, asked, letGo } = await hanging();
    const other = { audience: ['vault'] };
    await ask();
    state.hangs = undefined;
    assert.equal((await ask(other)).isReused, undefined);
    assert.equal((await ask(other)).isReused, undefined);
    assert.equal((await ask()).isReused, true);
    assert.equal(asked.length, 4);
    await letGo();
  });

  test('whoever has no token waits for the answer', async () => {
    const { ask, letGo } = await hanging();
    const other = ask({ audience: ['vault'] });
    await ask();
    await letGo();
    assert.equal((await other).isReused, undefined);
  });
});
