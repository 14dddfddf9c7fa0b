/**
 * A pod, by the word of the Kubernetes API: whoever holds its bound token is the pod,
 * as long as that very pod (by uid) is there, is not being deleted, and has the same
 * service account. Names and labels are read of the live pod, never of the request.
 */
import type { V1Pod } from '@kubernetes/client-node';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { Attestor, BearerPeer, Selector, SelectorKind, Workload } from '../core/ports.ts';
import type { AttestorContext } from './index.ts';
import {
  CONTAINER_KIND,
  type ContainerProof,
  containerOf,
  podWithContainer,
} from './kubernetes-containers.ts';
import { imagesOf, type PodImages, RESTARTING } from './kubernetes-images.ts';
import { type PodSource, watchPods } from './kubernetes-pods.ts';
import { createLimiter } from './rate-limit.ts';
import { createReviewer, type ReviewedPod, type Reviewer } from './token-review.ts';

const keys = (description: string) =>
  v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(),
          v.regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,316}$/, 'must be the key of a label'),
          v.description('A key.'),
        ),
      ),
      v.description(description),
    ),
    [],
  );

export const config = v.strictObject({
  audience: v.optional(
    v.pipe(
      v.string(),
      v.minLength(1),
      v.maxLength(255),
      v.description('The audience of the sidecars’ own tokens'),
    ),
    'mintmark',
  ),
  labels: keys('Labels of pods that rules may name; whoever may edit a pod sets them'),
  annotations: keys('Annotations of pods that rules may name'),
  sidecarImages: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(),
          v.regex(/^[\w][\w.:/@-]{0,510}$/, 'must name an image'),
          v.description('An image.'),
        ),
      ),
      v.description(
        'Images of injected sidecars, whatever their tag: those do not count for k8s:image and k8s:image-digest',
      ),
    ),
    [],
  ),
  requestsPerSecond: v.optional(
    v.pipe(v.number(), v.minValue(0.1), v.maxValue(10_000), v.description('Of one pod, in the long run')),
    20,
  ),
  burst: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(1), v.description('Of one pod, at once')),
    100,
  ),
});

const PROVEN = [
  'k8s:ns',
  'k8s:ns-uid',
  'k8s:sa',
  'k8s:sa-uid',
  'k8s:pod-name',
  'k8s:pod-uid',
  'k8s:pod-label',
  'k8s:pod-annotation',
  'k8s:node',
  'k8s:image',
  'k8s:image-digest',
] as const;
/** Taken from the sidecar as they are. */
const IDS = ['sidecar:unix-uid', 'sidecar:unix-gid'] as const;
export const claimedKinds = [...IDS, CONTAINER_KIND] as const;

export const kinds = [...PROVEN, ...claimedKinds] as const;
/** Each key is one of its own. */
export const pluralKinds = ['k8s:pod-label', 'k8s:pod-annotation'] as const;

/** The API takes a token back within seconds of its pod's end; a yes is not kept longer. */
const KEEP_SECONDS = 10;

export async function open(
  block: v.InferOutput<typeof config>,
  { clock, kubernetes, warn }: AttestorContext,
): Promise<Attestor<BearerPeer>> {
  const [kube, { AuthenticationV1Api, CoreV1Api }] = await Promise.all([
    kubernetes(),
    import('@kubernetes/client-node'),
  ]);
  const elapsed = () => clock.elapsed();
  const { audience, requestsPerSecond, burst } = block;
  const api = kube.makeApiClient(AuthenticationV1Api);
  const limit = createLimiter({ perSecond: requestsPerSecond, burst, elapsed });
  const review = createReviewer({ api, audience, keepSeconds: KEEP_SECONDS, elapsed });
  return createAttestor(block, review, watchPods(kube, kube.makeApiClient(CoreV1Api), warn), limit);
}

type PodSettings = Pick<v.InferOutput<typeof config>, 'labels' | 'annotations' | 'sidecarImages'>;

/** Shape: Attestor of core/ports.ts. */
export function createAttestor(
  settings: PodSettings,
  review: Reviewer,
  source: PodSource,
  limit: (podUid: string) => void,
): Attestor<BearerPeer> {
  return {
    peers: ['bearer'],
    kinds,
    claimedKinds,
    pluralKinds,
    async attest({ token, claimed, address }, wanted) {
      const reviewed = await review(token, address);
      limit(reviewed.podUid);
      const { namespace, podName, podUid } = reviewed;
      const look = async () => assertLive(await source.pod(namespace, podName, podUid), reviewed);
      const images = (pod: V1Pod) => imagesOf(pod, settings.sidecarImages, source.changedIn(pod));
      const isSettled = (pod: V1Pod) => !wanted.has(DIGEST) || images(pod).unproven[DIGEST] !== RESTARTING;
      const [pod, namespaceUid] = await Promise.all([
        podWithContainer(look, claimed, wanted, isSettled),
        source.namespaceUid(namespace),
      ]);
      return describePod(settings, reviewed, pod, namespaceUid, { claimed, wanted, images: images(pod) });
    },
    // A token names one pod for ever, and was asked about for this very request.
    confirm: () => undefined,
    close: () => source.close(),
  };
}

/** Throws `peer_unproven` unless it is the pod that the token was made for, and still in use. */
export function assertLive(pod: V1Pod | undefined, reviewed: ReviewedPod): V1Pod {
  const { namespace, podName, podUid, serviceAccount } = reviewed;
  const refuse = (reason: string) =>
    new IssuerError('peer_unproven', `${reason}: ${namespace}/${podName} (${podUid})`, { shown: { reason } });
  if (pod?.metadata?.uid !== podUid) throw refuse('the pod of the token is gone');
  if (pod.metadata.deletionTimestamp !== undefined) throw refuse('the pod of the token is being deleted');
  if ((pod.spec?.serviceAccountName ?? 'default') !== serviceAccount)
    throw refuse('the pod has another service account than the token');
  const phase = pod.status?.phase;
  if (phase === 'Succeeded' || phase === 'Failed') throw refuse(`the pod of the token has ended (${phase})`);
  return pod;
}

const DIGEST = 'k8s:image-digest';

/** What comes with the request, and what the pod's containers run. */
type Claim = {
  readonly claimed: readonly Selector[];
  readonly wanted: ReadonlySet<SelectorKind>;
  readonly images: PodImages;
};

/** Where the sidecar sees who asks, that must be a container which the status tells of: its image is known then. */
function imagesFor(container: ContainerProof, images: PodImages): PodImages {
  const why = 'unproven' in container ? container.unproven : '';
  if (why !== 'container_starting' && why !== 'not_a_container_of_the_pod') return images;
  return { ...images, digest: undefined, unproven: { ...images.unproven, [DIGEST]: why } };
}

function describePod(
  { labels, annotations }: PodSettings,
  reviewed: ReviewedPod,
  pod: V1Pod,
  namespaceUid: string | undefined,
  { claimed, wanted, images: ofPod }: Claim,
): Workload {
  const container = containerOf(pod, claimed);
  const images = imagesFor(container, ofPod);
  const values: readonly (readonly [SelectorKind, string | undefined])[] = [
    ['k8s:ns', reviewed.namespace],
    ['k8s:ns-uid', namespaceUid],
    ['k8s:sa', reviewed.serviceAccount],
    ['k8s:sa-uid', reviewed.serviceAccountUid],
    ['k8s:pod-name', reviewed.podName],
    ['k8s:pod-uid', reviewed.podUid],
    ['k8s:node', pod.spec?.nodeName],
    ['k8s:image', images.image],
    ['k8s:image-digest', images.digest],
    [CONTAINER_KIND, 'name' in container ? container.name : undefined],
    ...claimed.map((selector) => claimOf(selector)),
  ];
  const proven = values.filter((entry): entry is readonly [SelectorKind, string] => entry[1] !== undefined);
  return {
    facts: Object.fromEntries(proven.map(([kind, value]) => [kind.replace(':', '.'), value])),
    selectors: new Set([
      ...proven.map(([kind, value]) => `${kind}:${value}`),
      ...keyed('k8s:pod-label', labels, pod.metadata?.labels),
      ...keyed('k8s:pod-annotation', annotations, pod.metadata?.annotations),
    ]),
    unproven: {
      ...images.unproven,
      ...('unproven' in container && wanted.has(CONTAINER_KIND)
        ? { [CONTAINER_KIND]: container.unproven }
        : {}),
    },
  };
}

/** Claims of a kind that is not known are left out. */
function claimOf(selector: Selector): readonly [SelectorKind, string | undefined] {
  const kind = IDS.find((known) => selector.startsWith(`${known}:`));
  return kind === undefined ? ['', undefined] : [kind, selector.slice(kind.length + 1)];
}

function keyed(
  kind: SelectorKind,
  keys: readonly string[],
  map: Readonly<Record<string, string>> = {},
): Selector[] {
  return keys.filter((key) => Object.hasOwn(map, key)).map((key) => `${kind}:${key}:${map[key]}`);
}
