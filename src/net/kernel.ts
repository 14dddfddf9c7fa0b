/**
 * The kernel calls that Node does not offer, as plain synchronous functions.
 * Every call is flat: memory is handed over for its duration only, and lives
 * outside of the JavaScript heap, where nothing moves it.
 * Sources: unix(7), pidfd_open(2), poll(2), flock(2), prctl(2) and the kernel's
 * include/uapi/linux/pidfd.h.
 */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';

const libc = koffi.load(null);
const calls = {
  getsockopt: libc.func('int getsockopt(int fd, int level, int option, void *value, void *length)'),
  ioctl: libc.func('int ioctl(int fd, unsigned long request, void *argument)'),
  poll: libc.func('int poll(void *fds, unsigned long count, int timeout)'),
  syscall: libc.func('long syscall(long number, long first, long second)'),
  flock: libc.func('int flock(int fd, int operation)'),
  prctl: libc.func('int prctl(int option, unsigned long value)'),
  umask: libc.func('uint32_t umask(uint32_t mask)'),
  geteuid: libc.func('uint32_t geteuid()'),
  getpid: libc.func('int getpid()'),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  sendto: libc.func(
    'long sendto(int fd, void *data, size_t size, int flags, void *address, uint32_t length)',
  ),
  close: libc.func('int close(int fd)'),
};

const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_PEERCRED = 17;
const SO_ACCEPTCONN = 30;
const SO_DOMAIN = 39;
const SO_PEERGROUPS = 59;
const SO_PEERPIDFD = 77;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const SOCK_DGRAM_CLOEXEC = 0o2000002;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const LOCK_EX_NB = 6;
const PR_SET_DUMPABLE = 4;
const SYS_PIDFD_OPEN = 434;
const PIDFD_GET_INFO = 0xc040ff0b;
const PIDFD_INFO_PID_CREDS = 3;
const NGROUPS_MAX = 65_536;

const memory = new ArrayBuffer(256);
const value = new Uint8Array(memory, 0, 64);
const length = new Uint8Array(memory, 64, 4);
const pollfd = new Uint8Array(memory, 128, 8);
const u32 = new Uint32Array(memory);
const i32 = new Int32Array(memory);
const LENGTH = 16; // where `length` lies in u32
const POLLFD = 32; // where `pollfd` lies in i32

/** A failed kernel call; `code` is the errno's name, for example ENOPROTOOPT. */
export type KernelError = Error & { readonly code: string; readonly syscall: string };

function systemError(syscall: string): KernelError {
  const code = getSystemErrorName(-koffi.errno());
  return Object.assign(new Error(`${syscall}: ${code}`), { code, syscall });
}

/** The name of the errno of a failed call (`ENOENT`), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function getOption(fd: number, option: number, name: string, target: Uint8Array): number {
  u32[LENGTH] = target.byteLength;
  if (calls.getsockopt(fd, SOL_SOCKET, option, target, length) !== 0) throw systemError(name);
  return u32[LENGTH] ?? 0;
}

function getIntegerOption(fd: number, option: number, name: string): number {
  getOption(fd, option, name, value.subarray(0, 4));
  return i32[0] ?? 0;
}

export type Credentials = { readonly pid: number; readonly uid: number; readonly gid: number };

/** SO_PEERCRED: who called connect(). pid 0 is a process that our pid namespace does not see. */
export function peerCredentials(fd: number): Credentials {
  getOption(fd, SO_PEERCRED, 'SO_PEERCRED', value.subarray(0, 12));
  return { pid: i32[0] ?? 0, uid: u32[1] ?? 0, gid: u32[2] ?? 0 };
}

/** SO_PEERPIDFD (Linux 6.5): a new descriptor of the process that called connect(). Older: throws ENOPROTOOPT. */
export function peerPidfd(fd: number): number {
  return getIntegerOption(fd, SO_PEERPIDFD, 'SO_PEERPIDFD');
}

/** Whether the kernel knows that option: a socket without a peer has no process to name, which is another error. */
export function hasPeerPidfd(): boolean {
  const fd = calls.socket(AF_UNIX, SOCK_STREAM_CLOEXEC, 0);
  if (fd < 0) throw systemError('socket');
  try {
    calls.close(peerPidfd(fd));
    return true;
  } catch (error) {
    return errnoOf(error) !== 'ENOPROTOOPT';
  } finally {
    calls.close(fd);
  }
}

/** SO_PEERGROUPS (Linux 4.13): the supplementary groups of whoever called connect(). */
export function peerGroups(fd: number): number[] {
  const groups = new Uint32Array(64);
  try {
    return readGroups(fd, groups);
  } catch (error) {
    if (errnoOf(error) === 'ERANGE') return readGroups(fd, new Uint32Array(NGROUPS_MAX));
    throw error;
  }
}

function readGroups(fd: number, groups: Uint32Array): number[] {
  const size = getOption(fd, SO_PEERGROUPS, 'SO_PEERGROUPS', new Uint8Array(groups.buffer));
  return Array.from(groups.subarray(0, size / 4));
}

/** Real, effective, saved and file-system ids, in the order of /proc/<pid>/status. */
export type Ids = readonly [number, number, number, number];
export type ProcessIds = { readonly uids: Ids; readonly gids: Ids };

/**
 * PIDFD_GET_INFO (Linux 6.13): the process' ids as they are now, no privilege
 * needed. Succeeds for a zombie too. Throws ESRCH once it was reaped, EREMOTE
 * where our pid namespace does not see it, ENOTTY or EINVAL on older kernels.
 */
export function pidfdIds(pidfd: number): ProcessIds {
  u32[0] = PIDFD_INFO_PID_CREDS;
  u32[1] = 0;
  if (calls.ioctl(pidfd, PIDFD_GET_INFO, value) !== 0) throw systemError('PIDFD_GET_INFO');
  const at = (index: number) => u32[index] ?? 0;
  // struct pidfd_info: ruid rgid euid egid suid sgid fsuid fsgid from byte 28 on.
  return { uids: [at(7), at(9), at(11), at(13)], gids: [at(8), at(10), at(12), at(14)] };
}

/** Whether the process of a pidfd still runs; a zombie does not. */
export function isRunning(pidfd: number): boolean {
  i32[POLLFD] = pidfd;
  i32[POLLFD + 1] = POLLIN; // events; the upper half, revents, is cleared with it
  let ready = calls.poll(pollfd, 1, 0);
  while (ready < 0 && koffi.errno() === constants.errno.EINTR) ready = calls.poll(pollfd, 1, 0); // a signal came
  if (ready < 0) throw systemError('poll');
  return ready === 0;
}

/** pidfd_open(2): pins a process by its number. Throws ESRCH where there is none, EINVAL for a mere thread. */
export function openPidfd(pid: number): number {
  const fd = calls.syscall(SYS_PIDFD_OPEN, pid, 0);
  if (fd < 0) throw systemError('pidfd_open');
  return fd;
}

/** Whether `fd` is a UNIX stream socket that listens. */
export function isUnixListener(fd: number): boolean {
  try {
    return (
      getIntegerOption(fd, SO_DOMAIN, 'SO_DOMAIN') === AF_UNIX &&
      getIntegerOption(fd, SO_TYPE, 'SO_TYPE') === SOCK_STREAM &&
      getIntegerOption(fd, SO_ACCEPTCONN, 'SO_ACCEPTCONN') === 1
    );
  } catch {
    return false;
  }
}

/** flock(fd, LOCK_EX | LOCK_NB): whether the lock is now ours. It is freed when the last copy of `fd` is closed. */
export function tryLock(fd: number): boolean {
  if (calls.flock(fd, LOCK_EX_NB) === 0) return true;
  const error = systemError('flock');
  if (error.code === 'EWOULDBLOCK' || error.code === 'EAGAIN') return false;
  throw error;
}

/** Closes /proc/<pid> of this process (environ, mem, root …) to other processes of its uid, and turns core dumps off. */
export function forbidDumping(): void {
  if (calls.prctl(PR_SET_DUMPABLE, 0) !== 0) throw systemError('prctl');
}

/** Sets the mode bits that new files do not get; returns the ones before. */
export const setUmask = (mask: number): number => calls.umask(mask);

export const effectiveUid = (): number => calls.geteuid();

export const processId = (): number => calls.getpid();

/** Sends one datagram to a UNIX socket; a leading `@` names an abstract one. */
export function sendUnixDatagram(address: string, text: string): void {
  const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : address);
  const family = new Uint8Array(Uint16Array.of(AF_UNIX).buffer);
  const sockaddr = outsideHeap(Buffer.concat([family, name]));
  const data = outsideHeap(Buffer.from(text));
  const fd = calls.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) throw systemError('socket');
  try {
    const sent = calls.sendto(fd, data, data.length, MSG_NOSIGNAL, sockaddr, sockaddr.length);
    if (sent < 0) throw systemError('sendto');
  } finally {
    calls.close(fd);
  }
}

/** A copy that the garbage collector never moves; small Buffers may lie where it does. */
function outsideHeap(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new ArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}
