/**
 * Which image a pod runs. All its containers share its identity, so there is one only
 * where all have the same; the injected sidecar does not count, if it is ours by its image.
 */
import type { V1Container, V1ContainerState, V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { allStatuses } from './kubernetes-changes.ts';

export type PodImages = {
  readonly image?: string | undefined;
  readonly digest?: string | undefined;
  readonly unproven: Readonly<Record<string, string>>;
};

const SIDECAR = 'mintmark';
const DIGEST = /@(sha256:[0-9a-f]{64})$/;

/** How a digest is not known while a container of the pod is between two runs. */
export const RESTARTING = 'restarting';

/** `sidecarImages`: those of the sidecars that do not count, of any tag and digest. `changed`: see ImageChanges. */
export function imagesOf(
  pod: V1Pod,
  sidecarImages: readonly string[],
  changed: ReadonlySet<string> = new Set(),
): PodImages {
  const { containers = [] } = pod.spec ?? {};
  const [initContainers, ephemeralContainers] = [
    pod.spec?.initContainers ?? [],
    pod.spec?.ephemeralContainers ?? [],
  ];
  const repositories = new Set(sidecarImages.map(repositoryOf));
  const sidecar = initContainers.find((container) => isSidecar(container, repositories));
  const all = [...containers, ...initContainers.filter((one) => one !== sidecar), ...ephemeralContainers];
  const statuses = new Map(allStatuses(pod).map((status) => [status.name, status]));
  // The sidecar starts before all others and has the pod's token alone: what it waits for is told by the specification.
  const isPinned = sidecar !== undefined && isStarted(statuses.get(sidecar.name));
  const proofs = all.map((container): Proof => {
    if (changed.has(container.name)) return { why: 'image_changed' };
    const status = statuses.get(container.name);
    if (isStarted(status)) return digestOf(pod, container, status);
    return isPinned ? { value: digestIn(container.image ?? '') } : { why: 'not_started' };
  });
  const digest = shared(proofs);
  const image = shared(
    all.map((one): Proof => (changed.has(one.name) ? { why: 'image_changed' } : { value: one.image ?? '' })),
  );
  return {
    image: image.value,
    digest: digest.value,
    unproven: {
      ...(image.value === undefined ? { 'k8s:image': image.why } : {}),
      ...(digest.value === undefined ? { 'k8s:image-digest': digest.why } : {}),
    },
  };
}

type Proof = { readonly value: string } | { readonly why: string };
type Runnable = Pick<V1Container, 'name' | 'image' | 'restartPolicy' | 'restartPolicyRules'>;

function isStarted(status: V1ContainerStatus | undefined): status is V1ContainerStatus {
  return status !== undefined && status.imageID !== '';
}

/** Of what runs, or has run for the last time: what was before a restart does not tell what comes after it. */
function digestOf(pod: V1Pod, container: Runnable, { imageID, state }: V1ContainerStatus): Proof {
  const value = digestIn(`@${imageID.split('@').at(-1)}`);
  const isPinned = value !== '' && digestIn(container.image ?? '') === value;
  if (isPinned || state?.running != null || isDone(pod, container, state)) return { value };
  return { why: state?.waiting?.reason?.endsWith('BackOff') === true ? 'not_running' : RESTARTING };
}

/** It has ended and is not started again. Its own policy goes before the pod's; its rules may start it again after any end. */
function isDone(
  { spec }: V1Pod,
  { name, restartPolicy, restartPolicyRules = [] }: Runnable,
  state: V1ContainerState | undefined,
) {
  const exitCode = state?.terminated?.exitCode;
  if (exitCode === undefined || restartPolicy === 'Always' || restartPolicyRules.length > 0) return false;
  const { initContainers, containers = [], restartPolicy: ofPod } = spec ?? {};
  const isLasting = containers.some((one) => one.name === name);
  const isDebugger = !isLasting && !(initContainers ?? []).some((one) => one.name === name);
  const policy = restartPolicy ?? ofPod;
  return isDebugger || policy === 'Never' || (exitCode === 0 && (!isLasting || policy === 'OnFailure'));
}

/** The injected one is an init container that goes on running; no other of its name is left out. */
function isSidecar({ name, restartPolicy, image }: V1Container, repositories: ReadonlySet<string>): boolean {
  return name === SIDECAR && restartPolicy === 'Always' && repositories.has(repositoryOf(image ?? ''));
}

/** `registry:5000/mintmark:1@sha256:…` → `registry:5000/mintmark`. */
function repositoryOf(image: string): string {
  return image.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
}

function digestIn(image: string): string {
  return DIGEST.exec(image)?.[1] ?? '';
}

/** A reason goes before a value: what is not known may be anything. */
function shared(proofs: readonly Proof[]): { readonly value: string | undefined; readonly why: string } {
  const values = new Set(proofs.flatMap((proof) => ('value' in proof ? [proof.value] : [])));
  if (values.size > 1) return { value: undefined, why: 'several_images' };
  const [unknown] = proofs.flatMap((proof) => ('why' in proof ? [proof.why] : []));
  if (unknown !== undefined) return { value: undefined, why: unknown };
  const [value = ''] = values;
  return { value: value === '' ? undefined : value, why: 'not_started' };
}
