/**
 * Who is at the other end of a UNIX connection, by the kernel's word, pinned so
 * that a process number used again is never taken for the one that connected.
 */
import { closeSync, constants, openSync, readFileSync, readlinkSync } from 'node:fs';
import { type Caller, IssuerError } from '../core/errors.ts';
import type { UnixPeer } from '../core/ports.ts';
import * as kernel from './kernel.ts';
import { type ProcessStatus, parseProcessStatus } from './process-status.ts';

export type CapturedPeer = UnixPeer & {
  /** Gives the descriptors back; from then on the peer is refused. */
  close(): void;
};

export type CaptureOptions = {
  /** Refuse where the kernel cannot pin the process at connect, or does not show it to us. */
  readonly strict: boolean;
};

/** What is asked of the kernel; tests hand in an older or a stranger one. */
export type PeerKernel = Pick<
  typeof kernel,
  'peerCredentials' | 'peerPidfd' | 'peerGroups' | 'openPidfd' | 'pidfdIds' | 'isRunning' | 'processId'
> & { readonly overflowIds: () => OverflowIds };

/** The ids that stand for every id that our user namespace does not know; undefined where it knows all. */
export type OverflowIds = { readonly uid: number | undefined; readonly gid: number | undefined };

/** Errnos of a kernel, or a seccomp filter, that has no PIDFD_GET_INFO. */
const NO_PIDFD_INFO = ['ENOTTY', 'EINVAL', 'ENOSYS', 'EPERM', 'EACCES'];
const INVALID_ID = 0xffff_ffff;

/**
 * The peer of an accepted socket. `fd` stays the caller's. Throws
 * `peer_unproven`, and `temporarily_unavailable` when descriptors run out.
 */
export function capturePeer(fd: number, options: CaptureOptions, calls: PeerKernel = linux): CapturedPeer {
  const held: Held = { pidfd: undefined, directory: undefined };
  const naming: { caller?: Caller } = {};
  return closingOnError(held, naming, () => {
    const { pid, uid, gid } = calls.peerCredentials(fd);
    naming.caller = { pid, uid, gid };
    held.pidfd = unlessMissing(() => calls.peerPidfd(fd), 'ENOPROTOOPT');
    if (options.strict && held.pidfd === undefined) throw unproven('this kernel has no SO_PEERPIDFD');
    if (options.strict && pid === 0) throw unproven('the caller is outside of our pid namespace');
    held.directory = openProcess(pid, calls);
    const supplementaryGids = unlessMissing(() => calls.peerGroups(fd), 'ENOPROTOOPT') ?? [];
    return pin({ pid, uid, gid, supplementaryGids }, held, calls);
  });
}

/** Pins a process by its number (`mintmark explain --pid`). Throws `not_found` where there is none, else as above. */
export function peerOfPid(pid: number, calls: PeerKernel = linux): CapturedPeer {
  if (!Number.isInteger(pid) || pid < 1) throw unproven(`${pid} is no process number`);
  const held: Held = { pidfd: undefined, directory: undefined };
  return closingOnError(held, {}, () => {
    held.pidfd = openPidfd(pid, calls);
    held.directory = openProcess(pid, calls);
    if (held.directory === undefined) throw unproven(`/proc does not show process ${pid}`);
    const { uids, gids, groups } = readStatus(held.directory);
    return pin({ pid, uid: uids[1], gid: gids[1], supplementaryGids: groups }, held, calls);
  });
}

function openPidfd(pid: number, calls: PeerKernel): number | undefined {
  try {
    return unlessMissing(() => calls.openPidfd(pid), 'ENOSYS');
  } catch (error) {
    const code = kernel.errnoOf(error);
    if (code === 'ESRCH' || code === 'EINVAL' || code === 'ENOENT')
      throw new IssuerError('not_found', `there is no process ${pid}`, {
        shown: { reason: `there is no process ${pid}` },
      });
    throw error;
  }
}

type Held = { pidfd: number | undefined; directory: number | undefined };
type Identity = Pick<UnixPeer, 'pid' | 'uid' | 'gid' | 'supplementaryGids'>;

function pin(identity: Identity, held: Held, calls: PeerKernel): CapturedPeer {
  const { uid, gid, supplementaryGids } = identity;
  const overflow = calls.overflowIds();
  if (uid === INVALID_ID || gid === INVALID_ID) throw unproven('the socket has no peer');
  if (uid === overflow.uid || gid === overflow.gid)
    throw unproven(`uid ${uid}, gid ${gid} is how unmapped ids look inside a user namespace`);
  const proven = supplementaryGids.filter((id) => id !== overflow.gid);
  const peer = new PinnedPeer({ ...identity, supplementaryGids: proven }, held, calls);
  peer.assertProven();
  return peer;
}

class PinnedPeer implements CapturedPeer {
  readonly kind = 'unix';
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  readonly supplementaryGids: readonly number[];
  readonly #held: Held;
  readonly #calls: PeerKernel;
  readonly #proc: string | undefined;
  #hasPidfdInfo: boolean;
  #closed = false;

  constructor(identity: Identity, held: Held, calls: PeerKernel) {
    this.pid = identity.pid;
    this.uid = identity.uid;
    this.gid = identity.gid;
    this.supplementaryGids = identity.supplementaryGids;
    this.#held = held;
    this.#calls = calls;
    this.#proc = held.directory === undefined ? undefined : `/proc/self/fd/${held.directory}`;
    this.#hasPidfdInfo = held.pidfd !== undefined && identity.pid !== 0;
  }

  // A closed descriptor's number soon names another process' directory.
  get proc(): string | undefined {
    if (this.#closed) throw new IssuerError('peer_changed', 'the connection is closed');
    return this.#proc;
  }

  assertSame(): void {
    const difference = this.#findDifference();
    if (difference !== undefined) throw new IssuerError('peer_changed', difference);
  }

  assertProven(): void {
    const difference = this.#findDifference();
    if (difference !== undefined) throw unproven(difference);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    release(this.#held);
  }

  #findDifference(): string | undefined {
    if (this.#closed) return 'the connection is closed';
    const { pidfd } = this.#held;
    // PIDFD_GET_INFO alone would not do: it succeeds for a zombie.
    if (pidfd !== undefined && !this.#calls.isRunning(pidfd)) return `process ${this.pid} has ended`;
    if (pidfd !== undefined && this.#hasPidfdInfo) {
      const difference = this.#compareInfo(pidfd);
      if (this.#hasPidfdInfo) return difference;
    }
    return this.#compareStatus();
  }

  #compareInfo(pidfd: number): string | undefined {
    try {
      return this.#compareIds(this.#calls.pidfdIds(pidfd));
    } catch (error) {
      const code = kernel.errnoOf(error);
      if (code === undefined || !NO_PIDFD_INFO.includes(code)) return `process ${this.pid} is gone (${code})`;
      this.#hasPidfdInfo = false;
      return undefined;
    }
  }

  #compareStatus(): string | undefined {
    const { directory, pidfd } = this.#held;
    // Outside of our pid namespace nothing but the pidfd can be asked.
    if (directory === undefined && this.pid === 0 && pidfd !== undefined) return undefined;
    if (directory === undefined) return `the kernel does not show process ${this.pid} to us`;
    try {
      const status = readStatus(directory);
      return status.running ? this.#compareIds(status) : `process ${this.pid} has ended`;
    } catch (error) {
      return `process ${this.pid} is gone (${kernel.errnoOf(error) ?? error})`;
    }
  }

  #compareIds({ uids, gids }: kernel.ProcessIds): string | undefined {
    if (uids.every((id) => id === this.uid) && gids.every((id) => id === this.gid)) return undefined;
    return `connected as uid ${this.uid}, gid ${this.gid}, now has uids ${uids}, gids ${gids}`;
  }
}

/**
 * The directory of a process, held open: everything read through it is that
 * very process' or fails. It is the right one if the pidfd, taken before, is
 * still alive after. Undefined where /proc does not show the process.
 */
function openProcess(pid: number, calls: PeerKernel): number | undefined {
  try {
    // The /proc of another pid namespace would show a stranger under this number.
    if (pid === 0 || readlinkSync('/proc/self') !== String(calls.processId())) return undefined;
    return openSync(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    const code = kernel.errnoOf(error);
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return undefined;
    throw error;
  }
}

const readStatus = (directory: number): ProcessStatus =>
  parseProcessStatus(readFileSync(`/proc/self/fd/${directory}/status`, 'latin1'));

function readOverflowIds(): OverflowIds {
  return { uid: readOverflowId('uid'), gid: readOverflowId('gid') };
}

function readOverflowId(kind: 'uid' | 'gid'): number | undefined {
  const mapped = readFileSync(`/proc/self/${kind}_map`, 'latin1').trim().split(/\s+/);
  if (mapped.length === 3 && mapped[0] === '0' && mapped[2] === '4294967295') return undefined;
  return Number(readFileSync(`/proc/sys/kernel/overflow${kind}`, 'latin1'));
}

let overflowIds: OverflowIds | undefined;
const linux: PeerKernel = {
  ...kernel,
  overflowIds: () => {
    overflowIds ??= readOverflowIds();
    return overflowIds;
  },
};

function unlessMissing<T>(call: () => T, missing: string): T | undefined {
  try {
    return call();
  } catch (error) {
    if (kernel.errnoOf(error) === missing) return undefined;
    throw error;
  }
}

/** Its faults say whom the kernel `naming` has, where it has. */
function closingOnError<T>(held: Held, naming: { readonly caller?: Caller }, capture: () => T): T {
  try {
    return capture();
  } catch (error) {
    release(held);
    const { caller } = naming;
    if (error instanceof IssuerError)
      throw caller === undefined ? error : new IssuerError(error.code, error.detail, { caller });
    const code = kernel.errnoOf(error);
    const why = { cause: error, caller };
    if (code === 'EMFILE' || code === 'ENFILE')
      throw new IssuerError('temporarily_unavailable', 'no descriptor is left', why);
    throw new IssuerError('peer_unproven', `the kernel would not say: ${code ?? error}`, why);
  }
}

function release({ pidfd, directory }: Held): void {
  if (pidfd !== undefined) closeSync(pidfd);
  if (directory !== undefined) closeSync(directory);
}

const unproven = (detail: string) => new IssuerError('peer_unproven', detail);
