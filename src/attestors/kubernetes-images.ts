/**
 * Which image a pod runs. All its containers share its identity, so there is one only
 * where all have the same; the injected sidecar does not count.
 */
import type { V1Pod } from '@kubernetes/client-node';

export type PodImages = {
  readonly image?: string | undefined;
  readonly digest?: string | undefined;
  readonly unproven: Readonly<Record<string, string>>;
};

const SIDECAR = 'mintmark';
const DIGEST = /@(sha256:[0-9a-f]{64})$/;

export function imagesOf(pod: V1Pod): PodImages {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  const all = [...containers, ...initContainers.filter(isWorkload), ...ephemeralContainers];
  const image = shared(all.map((container) => container.image ?? ''));
  const digest = shared(all.map((container) => digestOf(pod, container.name, container.image ?? '')));
  return {
    image: image.value,
    digest: digest.value,
    unproven: {
      ...(image.value === undefined ? { 'k8s:image': image.why } : {}),
      ...(digest.value === undefined ? { 'k8s:image-digest': digest.why } : {}),
    },
  };
}

/** The injected one is an init container that goes on running; no other of its name is left out. */
function isWorkload({
  name,
  restartPolicy,
}: {
  readonly name: string;
  readonly restartPolicy?: string;
}): boolean {
  return name !== SIDECAR || restartPolicy !== 'Always';
}

/** Of what has started; before that of the specification where it is pinned there, since the kubelet runs no other. */
function digestOf(pod: V1Pod, name: string, image: string): string {
  const {
    containerStatuses = [],
    initContainerStatuses = [],
    ephemeralContainerStatuses = [],
  } = pod.status ?? {};
  const status = [...containerStatuses, ...initContainerStatuses, ...ephemeralContainerStatuses].find(
    (one) => one.name === name,
  );
  const started = status?.imageID ?? '';
  return DIGEST.exec(started === '' ? image : `@${started.split('@').at(-1)}`)?.[1] ?? '';
}

function shared(values: readonly string[]): { readonly value: string | undefined; readonly why: string } {
  const [first = '', ...more] = new Set(values);
  if (more.length > 0) return { value: undefined, why: 'several_images' };
  return { value: first === '' ? undefined : first, why: 'not_started' };
}
