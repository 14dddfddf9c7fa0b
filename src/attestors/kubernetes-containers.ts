/** Which container of its pod a caller runs in: the sidecar says the id, and the live pod whose it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { IssuerError } from '../core/errors.ts';
import type { Selector, SelectorKind } from '../core/ports.ts';

/** What rules name; the sidecar says the id only. */
export const CONTAINER_KIND = 'sidecar:container-name';
const CLAIM = 'sidecar:container-id:';

export type ContainerProof = { readonly name: string } | { readonly unproven: string };

/** The name of the container that the sidecar says, or why there is none. */
export function containerOf(pod: V1Pod, claimed: readonly Selector[]): ContainerProof {
  const { spec, status } = pod;
  // Without these a sidecar sees no process but its own.
  if (spec?.shareProcessNamespace !== true && spec?.hostPID !== true)
    return { unproven: 'processes_not_shared' };
  const [id, ...more] = new Set(claimed.filter((claim) => claim.startsWith(CLAIM)));
  if (id === undefined || more.length > 0) return { unproven: 'no_container_claimed' };
  const all = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])];
  const found = all.find((one) => isRunning(one) && idOf(one) === id.slice(CLAIM.length));
  if (found !== undefined) return { name: found.name };
  return { unproven: isStarting(pod, all) ? 'container_starting' : 'not_a_container_of_the_pod' };
}

const isRunning = ({ state }: V1ContainerStatus): boolean => state?.running != null;

/** `containerd://<id>` → `<id>`. */
function idOf({ containerID = '' }: V1ContainerStatus): string | undefined {
  return /^[a-z0-9-]+:\/\/([0-9a-f]{64})$/.exec(containerID)?.[1];
}

/** One of its containers is yet to run, or to run again: the kubelet tells the id about a second after it does. */
function isStarting({ spec, status }: V1Pod, all: readonly V1ContainerStatus[]): boolean {
  const expected = (spec?.containers.length ?? 0) + (spec?.initContainers?.length ?? 0);
  const once = new Set((spec?.initContainers ?? []).filter(isOnce).map(({ name }) => name));
  const isDone = ({ name, state, ready }: V1ContainerStatus) =>
    state?.terminated != null && (once.has(name) ? ready : spec?.restartPolicy === 'Never');
  return status === undefined || all.length < expected || !all.every((one) => isRunning(one) || isDone(one));
}

const isOnce = ({ restartPolicy }: { readonly restartPolicy?: string }): boolean =>
  restartPolicy !== 'Always';

/** Shorter together than a sidecar waits for an answer, which is 2 s. */
const LOOKS = 5;
const LOOK_AGAIN_MS = 250;

/**
 * The pod, once it has the container that is claimed, where rules want to know it, and is settled or does not
 * become so. Throws `temporarily_unavailable` where the container may still turn up.
 */
export async function podWithContainer(
  look: () => Promise<V1Pod>,
  claimed: readonly Selector[],
  wanted: ReadonlySet<SelectorKind>,
  isSettled: (pod: V1Pod) => boolean = () => true,
): Promise<V1Pod> {
  for (let left = LOOKS; ; left -= 1) {
    const pod = await look();
    const proof = containerOf(pod, claimed);
    const isStarting = 'unproven' in proof && proof.unproven === 'container_starting';
    const isWaiting = isStarting && wanted.has(CONTAINER_KIND);
    if (!isWaiting && (left === 0 || isSettled(pod))) return pod;
    if (left === 0) break;
    await sleep(LOOK_AGAIN_MS);
  }
  throw new IssuerError('temporarily_unavailable', 'the kubelet has not told the id of the container yet', {
    retryAfterSeconds: 1,
  });
}
