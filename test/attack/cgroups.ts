/** Control groups of the test's own, in every hierarchy in which this machine's processes could be told apart. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { hierarchiesOf } from '../../src/attestors/cgroup.ts';
import { isRoot } from './program.ts';

export const CGROUPS_NEEDED = 'takes root and a cgroup file system to write to';

/** Where the hierarchies are mounted that matter: the new one, systemd's, and those where we are not at the root. */
const roots = hierarchiesOf(readFileSync('/proc/self/cgroup', 'latin1'))
  .filter(({ id, controllers, path }) => id === '0' || controllers === 'name=systemd' || path !== '/')
  .map(({ controllers }) => mountOf(controllers.replace('name=', '')));
export const hasCgroups = isRoot && roots.length > 0 && roots.every(isWritable);

function mountOf(controllers: string): string {
  const [found = '/sys/fs/cgroup'] = [controllers || 'unified', controllers.split(',')[0] ?? '']
    .map((name) => join('/sys/fs/cgroup', name))
    .filter((path) => existsSync(join(path, 'cgroup.procs')));
  return found;
}

function isWritable(root: string): boolean {
  try {
    accessSync(join(root, 'cgroup.procs'), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** Makes the group. With the outermost of its groups everything in it goes away after the test, processes too. */
export function makeCgroup(t: TestContext, path: string): { enter(pid: number): void } {
  const [outermost = ''] = path.split('/').slice(1);
  for (const root of roots) {
    const isNew = !existsSync(join(root, outermost));
    mkdirSync(join(root, path), { recursive: true });
    if (isNew) t.after(() => remove(join(root, outermost)));
  }
  return {
    enter(pid) {
      for (const root of roots) writeFileSync(join(root, path, 'cgroup.procs'), String(pid));
    },
  };
}

async function remove(directory: string): Promise<void> {
  const inner = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  for (const { name } of inner) await remove(join(directory, name));
  for (let tries = 0; tries < 100; tries += 1) {
    const pids = readFileSync(join(directory, 'cgroup.procs'), 'latin1').match(/[1-9]\d*/g) ?? [];
    for (const pid of pids) killIfThere(Number(pid));
    if (pids.length === 0) return rmdirSync(directory);
    await setTimeout(20);
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** Back to where they started, which here is the root. */
export function leaveCgroups(pid: number): void {
  for (const root of roots) writeFileSync(join(root, 'cgroup.procs'), String(pid));
}
