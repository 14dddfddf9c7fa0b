/**
 * Containers that may be of another image than their pod's specification names. The image of a running pod can
 * be changed; the kubelet then ends the container, starts another, and tells of it about a second later. Until
 * then the status is that of the container before, which must not speak for the new one.
 */
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';

type Container = {
  /** What the specification names. */
  readonly image: string;
  /** The container that the status told of last. */
  readonly id: string;
  /** The one that does not count, since it was started for another image, or may have been. */
  readonly stale: string | undefined;
};

type Seen = { readonly uid: string; readonly containers: ReadonlyMap<string, Container> };

export type ImageChanges = {
  /** Takes a change of the pod in. */
  note(pod: V1Pod): void;
  forget(pod: V1Pod): void;
  /** The names of its containers whose status tells nothing of their image. */
  changedIn(pod: V1Pod): ReadonlySet<string>;
};

export function createImageChanges(): ImageChanges {
  const seen = new Map<string, Seen>();
  const keyOf = ({ metadata }: V1Pod) => `${metadata?.namespace}/${metadata?.name}`;
  const look = (pod: V1Pod): Seen => {
    const uid = pod.metadata?.uid ?? '';
    const before = seen.get(keyOf(pod));
    return { uid, containers: containersOf(pod, before?.uid === uid ? before.containers : undefined) };
  };
  return {
    note: (pod) => void seen.set(keyOf(pod), look(pod)),
    forget: (pod) => void seen.delete(keyOf(pod)),
    changedIn(pod) {
      const stale = [...look(pod).containers].filter(([, { id, stale: other }]) => id !== '' && id === other);
      return new Set(stale.map(([name]) => name));
    },
  };
}

function containersOf(pod: V1Pod, before: Seen['containers'] | undefined): Seen['containers'] {
  const { containers = [], initContainers = [] } = pod.spec ?? {};
  const statuses = new Map(allStatuses(pod).map((status) => [status.name, status]));
  return new Map(
    [...containers, ...initContainers].map(({ name, image = '' }) => {
      const status = statuses.get(name);
      const id = status?.containerID ?? '';
      const known = before?.get(name);
      return [name, { image, id, stale: staleOf(pod, { image, id, status, known }) }];
    }),
  );
}

type Look = {
  readonly image: string;
  readonly id: string;
  readonly status: V1ContainerStatus | undefined;
  readonly known: Container | undefined;
};

function staleOf({ metadata }: V1Pod, { image, id, status, known }: Look): string | undefined {
  if (known?.image === image) return known.stale;
  if (known?.id === id) return id; // the status is from before the change
  // Seen for the first time, or after a gap: whether it was started for this image is told by what it says of it.
  const isUnchanged = known === undefined && metadata?.generation === 1;
  return isUnchanged || status === undefined || isOf(image, status) ? undefined : id;
}

/** Whether a container says of itself that it is of an image of this name. */
function isOf(image: string, { image: own, imageID }: V1ContainerStatus): boolean {
  const [, digest] = image.split('@');
  return digest === undefined ? fullName(image) === fullName(own) : imageID.endsWith(digest);
}

/** `busybox` → `docker.io/library/busybox:latest`, as a runtime writes it. */
function fullName(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  const path = isHost ? image : `docker.io/${rest.length === 0 ? 'library/' : ''}${image}`;
  return /:[^/]*$/.test(path) ? path : `${path}:latest`;
}

export function allStatuses({ status }: V1Pod): readonly V1ContainerStatus[] {
  const {
    containerStatuses = [],
    initContainerStatuses = [],
    ephemeralContainerStatuses = [],
  } = status ?? {};
  return [...containerStatuses, ...initContainerStatuses, ...ephemeralContainerStatuses];
}
