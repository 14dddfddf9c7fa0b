/**
 * What the Kubernetes API says of a service account token (TokenReview,
 * authentication.k8s.io/v1). A yes is kept for seconds; everything else is asked again.
 */
import { createHash } from 'node:crypto';
import type { AuthenticationV1Api, V1TokenReviewStatus } from '@kubernetes/client-node';
import { IssuerError } from '../core/errors.ts';
import { apiFault } from './kubernetes-faults.ts';
import { createTurns } from './turns.ts';

/** The pod that a token is bound to, and its service account. */
export type ReviewedPod = {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly serviceAccountUid: string;
  readonly podName: string;
  readonly podUid: string;
};

export type ReviewParts = {
  readonly api: Pick<AuthenticationV1Api, 'createTokenReview'>;
  readonly audience: string;
  readonly keepSeconds: number;
  /** Monotonic seconds. */
  readonly elapsed: () => number;
};

const KEPT_MAX = 10_000;
/**
 * More at once would keep the API server from answering those of honest pods: the others wait, up to a number.
 * Forged tokens look like any other before they are asked about, so addresses take turns.
 */
const IN_FLIGHT_MAX = 64;
const WAITING_MAX = 4096;
const POD_NAME = 'authentication.kubernetes.io/pod-name';
const POD_UID = 'authentication.kubernetes.io/pod-uid';
const USERNAME = /^system:serviceaccount:([a-z0-9-]{1,63}):([a-z0-9.-]{1,253})$/;

type Kept = { readonly pod: Promise<ReviewedPod>; readonly askedAt: number };

/** `address`: where the token came from. */
export type Reviewer = (token: string, address: string | undefined) => Promise<ReviewedPod>;

/** Throws `peer_unproven` where the token proves no pod, `temporarily_unavailable` where the API does not answer. */
export function createReviewer(parts: ReviewParts): Reviewer {
  const kept = new Map<string, Kept>();
  const turn = createTurns({ inFlightMax: IN_FLIGHT_MAX, waitingMax: WAITING_MAX });
  return async (token, address) => {
    assertPlausible(token, parts.audience);
    const key = createHash('sha256').update(token).digest('base64');
    const known = kept.get(key);
    const now = parts.elapsed();
    if (known !== undefined && now - known.askedAt < parts.keepSeconds) return known.pod;
    const pod = turn(address, () => review(parts, token));
    kept.delete(key);
    kept.set(key, { pod, askedAt: now });
    pod.catch(() => kept.get(key)?.pod === pod && kept.delete(key));
    const [oldest] = kept.keys();
    if (kept.size > KEPT_MAX && oldest !== undefined) kept.delete(oldest);
    return pod;
  };
}

/** Not verified, only looked at: what cannot be a bound token for us is not worth a call. */
function assertPlausible(token: string, audience: string): void {
  const [, payload = '', ...more] = token.split('.');
  let claims: Readonly<Record<string, unknown>> = {};
  try {
    claims = Object(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')));
  } catch {
    throw unproven('the token is no service account token');
  }
  if (more.length !== 1) throw unproven('the token is no service account token');
  if (![claims.aud].flat().includes(audience))
    throw unproven(`the token is not for the audience ${audience}`);
  if (Object(claims['kubernetes.io']).pod === undefined) throw unproven('the token is bound to no pod');
}

async function review({ api, audience }: ReviewParts, token: string): Promise<ReviewedPod> {
  let status: V1TokenReviewStatus | undefined;
  try {
    const spec = { token, audiences: [audience] };
    const body = { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenReview', spec };
    ({ status } = await api.createTokenReview({ body }));
  } catch (error) {
    throw apiFault(error, { verb: 'create', resource: 'tokenreviews.authentication.k8s.io' });
  }
  return parseReview(status, audience);
}

/** Throws `peer_unproven` with what is missing. */
export function parseReview(status: V1TokenReviewStatus | undefined, audience: string): ReviewedPod {
  if (status?.authenticated !== true)
    throw unproven('the Kubernetes API does not know the token, or no longer');
  // An authenticator that knows no audiences says yes to any: it names none.
  if (status.audiences?.includes(audience) !== true)
    throw unproven(`the token is not for the audience ${audience}`);
  const [, namespace, serviceAccount] = USERNAME.exec(status.user?.username ?? '') ?? [];
  if (namespace === undefined || serviceAccount === undefined)
    throw unproven('the token is no service account’s');
  const podName = only(status.user?.extra?.[POD_NAME]);
  const podUid = only(status.user?.extra?.[POD_UID]);
  if (podName === undefined || podUid === undefined) throw unproven('the token is bound to no pod');
  const serviceAccountUid = status.user?.uid;
  if (serviceAccountUid === undefined || serviceAccountUid === '')
    throw unproven('the service account has no uid');
  return { namespace, serviceAccount, serviceAccountUid, podName, podUid };
}

function only(values: readonly string[] | undefined): string | undefined {
  return values?.length === 1 && values[0] !== '' ? values[0] : undefined;
}

function unproven(reason: string): IssuerError {
  return new IssuerError('peer_unproven', reason, { shown: { reason } });
}
