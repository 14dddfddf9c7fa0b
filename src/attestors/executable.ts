/**
 * What a process runs, looked at without touching the file: a file system in
 * the caller's hand (FUSE) could keep us waiting or show us something else.
 */
import { closeSync, openSync, readFileSync, readlinkSync, statSync } from 'node:fs';

/** O_PATH, which Node has no name for: the place of a file, not its content (open(2)). */
export const O_PATH = 0o10000000;

/** What the kernel adds to the path of a file that is gone. */
export const DELETED = / \(deleted\)$/;

/** An executable held by an O_PATH descriptor. */
export type Executable = {
  readonly fd: number;
  /** Its path as we would say it. */
  readonly link: string;
  /** The mount it lies on, as in mountinfo. */
  readonly mountId: number;
  /** The same text as long as the process runs the same file. */
  readonly identity: string;
};

/** Undefined where the kernel does not show it (another uid without CAP_SYS_PTRACE, a kernel thread, an ended process). */
export function openExecutable(proc: string): Executable | undefined {
  let fd: number | undefined;
  try {
    fd = openSync(`${proc}/exe`, O_PATH);
    const link = readlinkSync(`/proc/self/fd/${fd}`);
    const { mountId, inode } = parseFdInfo(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
    // A running file that is replaced stays the same file, under the same name.
    const identity = `${mountId} ${inode} ${link.replace(DELETED, '')}`;
    return { fd, link, mountId, identity };
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (!isRefusal(error)) throw error;
    return undefined;
  }
}

export function closeExecutable(executable: Executable | undefined): void {
  if (executable !== undefined) closeSync(executable.fd);
}

const isRefusal = (error: unknown): boolean =>
  error instanceof Error &&
  'code' in error &&
  ['EACCES', 'EPERM', 'ENOENT', 'ESRCH'].includes(String(error.code));

/** proc_pid_fdinfo(5). The inode is there since Linux 5.14; without it the path and the mount must do. */
export function parseFdInfo(text: string): { readonly mountId: number; readonly inode: string | undefined } {
  const mountId = /^mnt_id:\t(\d+)$/m.exec(text)?.[1];
  if (mountId === undefined) throw new Error('fdinfo has no mnt_id');
  return { mountId: Number(mountId), inode: /^ino:\t(\d+)$/m.exec(text)?.[1] };
}

/** The file-system type of a mount in a mountinfo (proc_pid_mountinfo(5)), or undefined. */
export function parseFileSystemType(mountinfo: string, mountId: number): string | undefined {
  const line = mountinfo.split('\n').find((candidate) => candidate.startsWith(`${mountId} `));
  const fields = line?.split(' ') ?? [];
  const separator = fields.indexOf('-', 6); // optional fields come before it
  return separator === -1 ? undefined : fields[separator + 1];
}

/**
 * Local file systems of the kernel itself, whose page cache is what runs and
 * what we read, and whose change time a user cannot set.
 */
const TRUSTED = ['ext2', 'ext3', 'ext4', 'xfs', 'btrfs', 'f2fs', 'zfs', 'erofs', 'squashfs', 'tmpfs'];

/**
 * Whether what we read of the executable is what runs. Must be asked before the
 * file is touched in any way. An overlay is as good as its layers, and in a
 * user namespace of his own the caller picks those (FUSE, for example).
 */
export function isTrustworthy(executable: Executable, proc: string): boolean {
  const type = parseFileSystemType(readFileSync(`${proc}/mountinfo`, 'latin1'), executable.mountId);
  if (type === 'overlay') return isSameNamespace(proc, 'user');
  return type !== undefined && TRUSTED.includes(type);
}

/**
 * Whether the paths that the process sees are those that the operator means: in
 * our own mount namespace, or in that of the machine's init, since a hardened
 * service has one of its own. Only root can make another process enter either.
 */
export function seesOrdinaryPaths(proc: string): boolean {
  return isSameNamespace(proc, 'mnt') || (isRoot(INIT) && isSameNamespace(proc, 'mnt', INIT));
}

const INIT = '/proc/1';

function isRoot(process: string): boolean {
  return statSync(process, { throwIfNoEntry: false })?.uid === 0;
}

/** Whether the process is in our own namespace of a kind, or in that of `other`. */
function isSameNamespace(proc: string, kind: 'mnt' | 'user', other = '/proc/self'): boolean {
  const namespace = namespaceOf(proc, kind);
  return namespace !== undefined && namespace === namespaceOf(other, kind);
}

/** Undefined where the kernel does not show it. */
function namespaceOf(proc: string, kind: 'mnt' | 'user'): string | undefined {
  try {
    return readlinkSync(`${proc}/ns/${kind}`);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return undefined;
  }
}
