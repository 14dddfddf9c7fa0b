/** The container of a process, from /proc/<pid>/cgroup (cgroups(7)): names that others than the runtime may have made. */
import { IssuerError } from '../core/errors.ts';
import { hierarchiesOf } from './cgroup.ts';
import type { UnprovenReason } from './reasons.ts';

/** A container's id and the path of its cgroup; what lies below belongs to the container. */
export type Place = { readonly id: string; readonly path: string };
export type Located = Place | { readonly unproven: UnprovenReason };

/** `docker-<id>.scope` below a slice, `<id>` elsewhere; Podman's are `libpod-<id>`, those of pods `cri-containerd-<id>`. */
const CONTAINER = /^(?:cri-containerd-|[a-z]+-)?([0-9a-f]{64})(?:\.scope)?$/;
const HAS_CONTAINER_ID = /[0-9a-f]{64}/i;
/** Whatever could be the id of a container or a pod to somebody. */
const ID_LIKE = /[0-9a-f]{32}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}/i;
/** How the cgroups beside our own look from inside a cgroup namespace (cgroup_namespaces(7)). */
const BESIDE_OURS = '/..';

/** Whether a component of a path is what a runtime calls the cgroup of a container. */
export const isContainerName = (component: string): boolean => CONTAINER.test(component);

/**
 * Finds the container in the file's text. The outermost component with an
 * id in it is the container, directly below one of `parents` or beside our own;
 * another one further inside makes it doubtful. Throws `peer_unproven` where the
 * hierarchies (cgroup v1) name different places.
 */
export function locateContainer(text: string, parents: readonly string[]): Located {
  const [first = { unproven: 'no_container' as const }, ...more] = hierarchiesOf(text)
    .filter(({ path }) => path !== '/')
    .map(({ path }) => locate(path, parents));
  const different = more.find((other) => !isSame(first, other));
  if (different === undefined) return first;
  if ('id' in first || more.some((other) => 'id' in other))
    throw new IssuerError('peer_unproven', 'its cgroup hierarchies name different containers');
  return 'unproven' in first && first.unproven !== 'no_container' ? first : different;
}

function locate(path: string, parents: readonly string[]): Located {
  const components = path.split('/').slice(1);
  if (!path.startsWith('/')) return { unproven: 'cgroup_unreadable' };
  const index = components.findIndex((component) => HAS_CONTAINER_ID.test(component));
  if (index === -1) return { unproven: components.includes('..') ? 'cgroup_outside' : 'no_container' };
  const parent = `/${components.slice(0, index).join('/')}`;
  const id = CONTAINER.exec(components[index] ?? '')?.[1];
  if (id === undefined || !(parent === BESIDE_OURS || parents.includes(parent)))
    return { unproven: 'container_elsewhere' };
  const inner = components.slice(index + 1);
  if (inner.some((component) => ID_LIKE.test(component) || component === '..'))
    return { unproven: 'container_nested' };
  return { id, path: components.slice(0, index + 1).reduce((above, name) => `${above}/${name}`, '') };
}

function isSame(one: Located, other: Located): boolean {
  if ('id' in one) return 'id' in other && one.path === other.path;
  return 'unproven' in other && one.unproven === other.unproven;
}

/** Field 22 of /proc/<pid>/stat, in ticks since the boot. The name before it may hold anything, `) R 1` too. */
export function parseStartTime(stat: string): number {
  const ticks = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .at(19);
  if (ticks === undefined || !/^\d{1,15}$/.test(ticks)) throw new Error('/proc/<pid>/stat has no start time');
  return Number(ticks);
}
