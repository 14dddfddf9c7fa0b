/**
 * Which image a pod runs. All its containers share its identity, so there is one only
 * where all have the same; the injected sidecar does not count, if it is ours by its image.
 */
import type { V1Container, V1Pod } from '@kubernetes/client-node';

export type PodImages = {
  readonly image?: string | undefined;
  readonly digest?: string | undefined;
  readonly unproven: Readonly<Record<string, string>>;
};

const SIDECAR = 'mintmark';
const DIGEST = /@(sha256:[0-9a-f]{64})$/;

/** `sidecarImages`: those of the sidecars that do not count, of any tag and digest. */
export function imagesOf(pod: V1Pod, sidecarImages: readonly string[]): PodImages {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  const repositories = new Set(sidecarImages.map(repositoryOf));
  const sidecar = initContainers.find((container) => isSidecar(container, repositories));
  const all = [...containers, ...initContainers.filter((one) => one !== sidecar), ...ephemeralContainers];
  // The sidecar starts before all others and has the pod's token alone: what it waits for is told by the specification.
  const isPinned = sidecar !== undefined && startedDigest(pod, sidecar.name) !== undefined;
  const digest = shared(
    all.map(({ name, image = '' }) => startedDigest(pod, name) ?? (isPinned ? digestIn(image) : '')),
  );
  const image = shared(all.map((container) => container.image ?? ''));
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
function isSidecar({ name, restartPolicy, image }: V1Container, repositories: ReadonlySet<string>): boolean {
  return name === SIDECAR && restartPolicy === 'Always' && repositories.has(repositoryOf(image ?? ''));
}

/** `registry:5000/mintmark:1@sha256:…` → `registry:5000/mintmark`. */
function repositoryOf(image: string): string {
  return image.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
}

/** Undefined where the container has not started, empty where what started has no digest. */
function startedDigest({ status }: V1Pod, name: string): string | undefined {
  const {
    containerStatuses = [],
    initContainerStatuses = [],
    ephemeralContainerStatuses = [],
  } = status ?? {};
  const all = [...containerStatuses, ...initContainerStatuses, ...ephemeralContainerStatuses];
  const started = all.find((one) => one.name === name)?.imageID ?? '';
  return started === '' ? undefined : digestIn(`@${started.split('@').at(-1)}`);
}

function digestIn(image: string): string {
  return DIGEST.exec(image)?.[1] ?? '';
}

function shared(values: readonly string[]): { readonly value: string | undefined; readonly why: string } {
  const [first = '', ...more] = new Set(values);
  if (more.length > 0) return { value: undefined, why: 'several_images' };
  return { value: first === '' ? undefined : first, why: 'not_started' };
}
