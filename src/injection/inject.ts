/**
 * Pod → the pod with its sidecar: pure, and the same again for a pod that has it.
 * Containers that came in between (another webhook's) get what the others have.
 */
import { posix } from 'node:path';
import { readAnnotations } from './annotations.ts';
import { provisionOf } from './clouds.ts';
import { resolvable } from './dns.ts';
import {
  CONTAINER,
  INJECTED_ANNOTATION,
  RUN_DIRECTORY,
  SOCKET,
  SOCKET_VOLUME,
  TOKEN_VOLUME,
} from './names.ts';
import { annotationsOf, type Container, containersOf, type Env, type Pod } from './pod.ts';
import { variable } from './provision.ts';
import { refuse } from './refuse.ts';
import type { InjectionContext, InjectionSettings } from './settings.ts';
import { SOCKET_MOUNT, sidecar, volumes } from './sidecar.ts';
import { statusPort } from './status-port.ts';

/** A new object; what is not changed is shared with the old. Throws `invalid_request` with a reason to show. */
export function injectPod(pod: Pod, settings: InjectionSettings, context: InjectionContext): Pod {
  const annotations = readAnnotations(pod);
  const provision = provisionOf(annotations, pod.metadata?.name ?? undefined);
  assertFits(pod);
  const env = [variable('MINTMARK_SOCKET', SOCKET), ...provision.env];
  const connected = connectAll(pod, env);
  if (isInjected(pod)) return connected;
  const { spec, metadata } = connected;
  const port = statusPort(pod, annotations, portOf(settings));
  const added = sidecar({ settings, context, annotations, provision, statusPort: port });
  return {
    ...connected,
    metadata: {
      ...metadata,
      annotations: { ...annotationsOf(pod), [INJECTED_ANNOTATION]: context.version },
    },
    spec: {
      ...resolvable(spec, settings.url),
      // First, so that the init containers of the workload have their identity too.
      initContainers: [added, ...(spec.initContainers ?? [])],
      volumes: [...(spec.volumes ?? []), ...volumes(settings)],
    },
  };
}

function portOf({ statusListen }: InjectionSettings): number {
  return Number(statusListen.split(':').at(-1));
}

/** The annotation and all that goes with it. Throws where the pod has part of it only, or its names for something else. */
function isInjected(pod: Pod): boolean {
  const { spec } = pod;
  const names = new Set((spec.volumes ?? []).map(({ name }) => name));
  const version = annotationsOf(pod)[INJECTED_ANNOTATION];
  const isThere = {
    [`init container ${CONTAINER}`]: (spec.initContainers ?? []).some(({ name }) => name === CONTAINER),
    [`volume ${SOCKET_VOLUME}`]: names.has(SOCKET_VOLUME),
    [`volume ${TOKEN_VOLUME}`]: names.has(TOKEN_VOLUME),
  };
  const missing = Object.entries(isThere).find(([, is]) => !is)?.[0];
  const taken = Object.entries(isThere).find(([, is]) => is)?.[0];
  if (version !== undefined && missing !== undefined)
    throw refuse(`annotation ${INJECTED_ANNOTATION} says that it was injected, and it has no ${missing}`);
  if (version === undefined && taken !== undefined)
    throw refuse(`it has the ${taken} already, and not from an injection: give yours another name`);
  return version !== undefined;
}

/** Throws where what is to be added cannot work. */
function assertFits(pod: Pod): void {
  const { spec } = pod;
  if ((spec.os as { readonly name?: unknown } | null | undefined)?.name === 'windows')
    throw refuse('it is for Windows, where there is no sidecar for it');
  const others = [...spec.containers, ...(spec.ephemeralContainers ?? [])];
  if (others.some(({ name }) => name === CONTAINER))
    throw refuse(`it has a container named ${CONTAINER} already: give yours another name`);
  for (const container of workloadOf(pod)) assertMounts(container);
}

function workloadOf(pod: Pod): readonly Container[] {
  return containersOf(pod).filter(({ name }) => name !== CONTAINER);
}

/** The sidecar's token is for nobody else, and whoever could write to the socket's directory could pose as the sidecar. */
function assertMounts({ name: container, volumeMounts }: Container): void {
  for (const { name, mountPath, readOnly } of volumeMounts ?? []) {
    if (name === TOKEN_VOLUME)
      throw refuse(`container ${container} mounts ${TOKEN_VOLUME}, which is the sidecar's alone`);
    if (name === SOCKET_VOLUME && readOnly !== true)
      throw refuse(`container ${container} mounts ${SOCKET_VOLUME} and must do so with readOnly: true`);
    // In most images /var/run is a link to /run.
    const path = normalPath(mountPath).replace(/^\/var(?=\/run\/)/, '');
    if (name !== SOCKET_VOLUME && (path === RUN_DIRECTORY || path.startsWith(`${RUN_DIRECTORY}/`)))
      throw refuse(
        `container ${container} mounts ${name} at ${mountPath}, where the socket's directory goes`,
      );
  }
}

/** `/run/./mintmark/` → `/run/mintmark`, as the kernel goes there. */
function normalPath(mountPath: string): string {
  return posix.resolve('/', mountPath);
}

function connectAll(pod: Pod, env: readonly Env[]): Pod {
  const { spec } = pod;
  const connect = (container: Container) =>
    container.name === CONTAINER ? container : connectContainer(container, env);
  const containers = mapShared(spec.containers, connect);
  const initContainers = spec.initContainers && mapShared(spec.initContainers, connect);
  if (containers === spec.containers && initContainers === spec.initContainers) return pod;
  return { ...pod, spec: { ...spec, ...(initContainers && { initContainers }), containers } };
}

/** The same list where nothing in it changes. */
function mapShared<T>(list: readonly T[], change: (item: T) => T): readonly T[] {
  const changed = list.map(change);
  return changed.every((item, index) => item === list[index]) ? list : changed;
}

/** A variable that the container sets itself stays as it is. */
function connectContainer(container: Container, env: readonly Env[]): Container {
  const mounts = container.volumeMounts ?? [];
  const own = new Set((container.env ?? []).map(({ name }) => name));
  const missing = env.filter(({ name }) => !own.has(name));
  const isMounted = mounts.some(({ mountPath }) => normalPath(mountPath) === RUN_DIRECTORY);
  if (missing.length === 0 && isMounted) return container;
  return {
    ...container,
    env: [...(container.env ?? []), ...missing],
    volumeMounts: isMounted ? mounts : [...mounts, SOCKET_MOUNT],
  };
}
