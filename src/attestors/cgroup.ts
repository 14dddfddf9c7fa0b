/** The systemd unit of a process, from /proc/<pid>/cgroup (cgroups(7)). */
import { IssuerError } from '../core/errors.ts';
import type { UnprovenReason } from './reasons.ts';

export type UnitProof = { readonly value: string } | { readonly unproven: UnprovenReason };

const MAX_UNIT_LENGTH = 255;
const SLICE = /^[A-Za-z0-9:_.\\@-]+\.slice$/;
const UNIT = /^[A-Za-z0-9:_.\\@-]+\.(?:service|scope|socket|mount|swap)$/;

/**
 * Finds the unit in the file's text. The outermost component that is no slice
 * counts: what lies further inside is named by the unit itself. Throws
 * `peer_unproven` where systemd's v1 hierarchy and v2 name different places.
 */
export function parseUnit(text: string): UnitProof {
  const hierarchies = hierarchiesOf(text);
  const unified = pathOf(hierarchies, '0', '');
  const named = pathOf(hierarchies, undefined, 'name=systemd');
  if (unified === null || named === null) return { unproven: 'cgroup_unreadable' };
  if (named !== undefined && unified !== undefined && unified !== '/' && unified !== named)
    throw new IssuerError('peer_unproven', 'its cgroup v1 and v2 hierarchies name different places');
  return unitOf(named ?? unified ?? '/');
}

export type Hierarchy = { readonly id: string; readonly controllers: string; readonly path: string };

/** The lines of the file; those that are not of its form are left out. */
export function hierarchiesOf(text: string): readonly Hierarchy[] {
  return text.split('\n').flatMap((line) => {
    const [, id, controllers, path] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
    return id === undefined || controllers === undefined || path === undefined
      ? []
      : [{ id, controllers, path }];
  });
}

/** The path of a hierarchy; undefined where it is not there, null where it is there twice or is no path. */
function pathOf(
  hierarchies: readonly Hierarchy[],
  id: string | undefined,
  controllers: string,
): string | undefined | null {
  const [only, ...more] = hierarchies.filter(
    (hierarchy) => hierarchy.controllers === controllers && (id === undefined || hierarchy.id === id),
  );
  if (only === undefined) return undefined;
  return more.length === 0 && only.path.startsWith('/') ? only.path : null;
}

function unitOf(path: string): UnitProof {
  const components = path.split('/').slice(1);
  if (components.includes('..')) return { unproven: 'cgroup_outside' };
  const outermost = components.find((component) => !SLICE.test(component)) ?? '';
  // systemd puts `_` before names that the kernel could take for its own files.
  const unit = outermost.startsWith('_') ? outermost.slice(1) : outermost;
  return UNIT.test(unit) && unit.length <= MAX_UNIT_LENGTH ? { value: unit } : { unproven: 'no_unit' };
}
