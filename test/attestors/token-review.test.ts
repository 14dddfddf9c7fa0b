import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReviewer, parseReview } from '../../src/attestors/token-review.ts';
import { refusal } from '../conformance/key-store.ts';

const POD = {
  namespace: 'prod',
  serviceAccount: 'web',
  serviceAccountUid: 'sa-uid',
  podName: 'web-1',
  podUid: 'pod-uid',
};

const extra: Record<string, string[]> = {
  'authentication.kubernetes.io/pod-name': ['web-1'],
  'authentication.kubernetes.io/pod-uid': ['pod-uid'],
};
const user = { username: 'system:serviceaccount:prod:web', uid: 'sa-uid', extra };
const YES = { authenticated: true, audiences: ['mintmark'], user };

test('a review names the pod that the token is bound to', () => {
  assert.deepEqual(parseReview(YES, 'mintmark'), POD);
});

const without = (name: string) => ({
  ...YES,
  user: { ...user, extra: Object.fromEntries(Object.entries(extra).filter(([key]) => !key.endsWith(name))) },
});

for (const [title, status, why] of [
  ['none at all', undefined, /does not know/],
  ['a no', { ...YES, authenticated: false }, /does not know/],
  [
    'an audience of others',
    { ...YES, audiences: ['https://kubernetes.default.svc'] },
    /not for the audience/,
  ],
  ['an authenticator that knows no audiences', { authenticated: true, user }, /not for the audience/],
  ['a person', { ...YES, user: { ...user, username: 'admin' } }, /no service account/],
  [
    'a name that is longer',
    { ...YES, user: { ...user, username: 'system:serviceaccount:a:b:c' } },
    /no service/,
  ],
  ['no pod', without('pod-name'), /bound to no pod/],
  ['no uid of a pod', without('pod-uid'), /bound to no pod/],
  [
    'two pods',
    { ...YES, user: { ...user, extra: { ...extra, 'authentication.kubernetes.io/pod-uid': ['a', 'b'] } } },
    /bound to no pod/,
  ],
  ['no uid of the account', { ...YES, user: { ...user, uid: '' } }, /has no uid/],
] as const)
  test(`${title} proves nothing`, () => {
    assert.throws(() => parseReview(status as never, 'mintmark'), refusal('peer_unproven', why));
  });

const payload = (claims: object) => Buffer.from(JSON.stringify(claims)).toString('base64url');
const tokenOf = (name: string) =>
  `e30.${payload({ aud: ['mintmark'], name, 'kubernetes.io': { pod: {} } })}.c2ln`;

function reviewer(answers: (() => unknown)[]) {
  let now = 0;
  const asked: unknown[] = [];
  const review = createReviewer({
    api: {
      async createTokenReview({ body }) {
        asked.push(body);
        return { status: answers[asked.length - 1]?.() } as never;
      },
    },
    audience: 'mintmark',
    keepSeconds: 10,
    elapsed: () => now,
  });
  return { review, asked, advance: (seconds: number) => (now += seconds) };
}

test('a yes is kept for seconds, and calls at once ask once', async () => {
  const { review, asked, advance } = reviewer([() => YES, () => YES, () => YES]);
  await Promise.all([
    review(tokenOf('token'), undefined),
    review(tokenOf('token'), undefined),
    review(tokenOf('token'), undefined),
  ]);
  assert.equal(asked.length, 1);
  assert.deepEqual((asked[0] as { spec: unknown }).spec, {
    token: tokenOf('token'),
    audiences: ['mintmark'],
  });
  await review(tokenOf('other'), undefined);
  assert.equal(asked.length, 2);
  advance(10);
  await review(tokenOf('token'), undefined);
  assert.equal(asked.length, 3);
});

test('a no and a fault are not kept, and a fault is no yes', async () => {
  const fault = () => {
    throw Object.assign(new Error('boom'), { code: 500 });
  };
  const forbidden = () => {
    throw Object.assign(new Error('no'), { code: 403 });
  };
  const { review } = reviewer([() => ({ authenticated: false }), fault, forbidden, () => YES]);
  await assert.rejects(review(tokenOf('t'), undefined), refusal('peer_unproven'));
  await assert.rejects(
    review(tokenOf('t'), undefined),
    refusal('temporarily_unavailable', /failed to create tokenreviews/),
  );
  await assert.rejects(
    review(tokenOf('t'), undefined),
    refusal('temporarily_unavailable', /RBAC: .* may not create tokenreviews/),
  );
  assert.deepEqual(await review(tokenOf('t'), undefined), POD);
});

test('what cannot be a bound token is not asked about', async () => {
  const { review, asked } = reviewer([]);
  for (const claims of [{ aud: 'mintmark' }, { aud: ['api'], 'kubernetes.io': { pod: {} } }])
    await assert.rejects(review(`e30.${payload(claims)}.c2ln`, undefined), refusal('peer_unproven'));
  for (const token of ['', 'a.b', 'a.b.c', `${tokenOf('x')}.d.e`])
    await assert.rejects(review(token, undefined), refusal('peer_unproven'));
  assert.equal(asked.length, 0);
});

test('of a flood only some are asked about at once, the others wait, and too many are refused', async () => {
  let [now, most] = [0, 0];
  const review = createReviewer({
    api: {
      async createTokenReview() {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 1));
        now--;
        return { status: YES } as never;
      },
    },
    audience: 'mintmark',
    keepSeconds: 10,
    elapsed: () => 0,
  });
  const flood = Array.from({ length: 5_000 }, (_, index) => review(tokenOf(String(index)), undefined));
  const settled = await Promise.allSettled(flood);
  assert.equal(most, 64);
  assert.equal(settled.filter(({ status }) => status === 'fulfilled').length, 64 + 4096);
  assert.equal((await review(tokenOf('later'), undefined)).podName, 'web-1');
});
