/** /proc/<pid>/status, see proc_pid_status(5). */
import type { Ids, ProcessIds } from './kernel.ts';

export type ProcessStatus = ProcessIds & {
  /** False for a zombie. */
  readonly running: boolean;
  readonly groups: readonly number[];
};

/** Throws a plain Error for anything that is not such a file. The name in its first line is escaped by the kernel. */
export function parseProcessStatus(text: string): ProcessStatus {
  const state = field(text, 'State')[0];
  if (state === undefined) throw new Error('/proc status has no State');
  return {
    running: !['Z', 'X', 'x'].includes(state),
    uids: fourIds(text, 'Uid'),
    gids: fourIds(text, 'Gid'),
    groups: field(text, 'Groups').map(parseId),
  };
}

function field(text: string, name: string): string[] {
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}:`));
  if (lines.length !== 1) throw new Error(`/proc status has ${lines.length} lines ${name}`);
  return (lines[0] ?? '')
    .slice(name.length + 1)
    .split(/[\t ]+/)
    .filter((word) => word !== '');
}

function fourIds(text: string, name: string): Ids {
  const [real, effective, saved, fileSystem, ...more] = field(text, name).map(parseId);
  if (
    real === undefined ||
    effective === undefined ||
    saved === undefined ||
    fileSystem === undefined ||
    more.length > 0
  )
    throw new Error(`/proc status has no four ids in ${name}`);
  return [real, effective, saved, fileSystem];
}

function parseId(word: string): number {
  if (!/^\d{1,10}$/.test(word)) throw new Error('/proc status has an id that is no number');
  return Number(word);
}
