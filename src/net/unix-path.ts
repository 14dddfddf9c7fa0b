/**
 * A socket's place in the file system: taken under a lock, seen by others only
 * with its final mode and group, given back only if it is still ours.
 */
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  renameSync,
  type Stats,
  unlinkSync,
} from 'node:fs';
import { connect } from 'node:net';
import { basename, dirname, isAbsolute, join, normalize } from 'node:path';
import { IssuerError } from '../core/errors.ts';
import { effectiveUid, errnoOf, setUmask, tryLock } from './kernel.ts';

export type SocketPath = {
  readonly path: string;
  /** Mode bits; default 0o660. Connecting takes the write bit. */
  readonly mode?: number | undefined;
  /** Group id; default our own. */
  readonly gid?: number | undefined;
};

export type ClaimedPath = {
  /** Runs `listen` with the name to bind: nobody else can connect to it yet. */
  bind(listen: (boundPath: string) => void): void;
  /** Puts the bound socket in its place. */
  publish(): void;
  /** Removes the socket if it is still the one published, and gives the lock back. */
  release(): void;
};

/** sun_path holds 108 bytes, the last of them a zero (unix(7)). */
const MAX_PATH_BYTES = 107;
const OWNER_ONLY = 0o177;

/**
 * Claims the path for this process. Throws `conflict` where another server
 * serves it or something that is no socket lies there, `server_error` where the
 * directory is not safe. What lies there is untouched then.
 */
export async function claimPath({ path, mode = 0o660, gid }: SocketPath): Promise<ClaimedPath> {
  const bound = join(dirname(path), `.${randomBytes(4).toString('hex')}`);
  assertPath(path, bound);
  assertDirectory(dirname(path));
  const lock = lockBeside(path);
  try {
    await assertReplaceable(path);
  } catch (error) {
    closeSync(lock);
    throw error;
  }
  let published: Stats | undefined;
  return {
    bind(listen) {
      const before = setUmask(OWNER_ONLY);
      try {
        listen(bound);
      } finally {
        setUmask(before);
      }
    },
    publish() {
      if (gid !== undefined) chownSync(bound, effectiveUid(), gid);
      chmodSync(bound, mode);
      published = lstatSync(bound);
      renameSync(bound, path);
    },
    release() {
      if (published && isSameFile(published, lstatSync(path, { throwIfNoEntry: false }))) unlinkSync(path);
      closeSync(lock);
    },
  };
}

function assertPath(path: string, bound: string): void {
  if (!isAbsolute(path) || normalize(path) !== path || path.includes('\0'))
    throw new IssuerError('server_error', `the socket's path must be absolute and in normal form: ${path}`);
  const bytes = Math.max(Buffer.byteLength(path), Buffer.byteLength(bound));
  if (bytes > MAX_PATH_BYTES)
    throw new IssuerError(
      'server_error',
      `the socket's path takes ${bytes} bytes, more than ${MAX_PATH_BYTES}: ${path}`,
    );
}

/** Whoever may write to the directory could put a socket of his own there. */
function assertDirectory(directory: string): void {
  const stats = lstatSync(directory, { throwIfNoEntry: false });
  if (!stats?.isDirectory())
    throw new IssuerError('server_error', `no directory (or a symbolic link): ${directory}`);
  if (stats.uid !== 0 && stats.uid !== effectiveUid())
    throw new IssuerError('server_error', `${directory} belongs to uid ${stats.uid}, neither root nor us`);
  if (stats.mode & 0o022 && !isVolume(directory, stats))
    throw new IssuerError('server_error', `${directory} is writable by its group or by everybody`);
}

/** Mounted for everyone on many machines. */
const COMMON = ['/tmp', '/var/tmp', '/dev/shm'];

/**
 * A volume of its own that root made open to all, as the kubelet makes an emptyDir (sticky
 * where it is in memory): whoever mounted it, and how, is the boundary.
 */
function isVolume(directory: string, { uid, dev }: Stats): boolean {
  return uid === 0 && dev !== lstatSync(dirname(directory)).dev && !COMMON.includes(directory);
}

/** The lock file is never deleted: two processes could hold a lock of that name then. */
function lockBeside(path: string): number {
  const name = `${path}.lock`;
  const fd = openSync(name, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  const isOurs = tryLock(fd) && isSameFile(fstatSync(fd), lstatSync(name, { throwIfNoEntry: false }));
  if (isOurs) return fd;
  closeSync(fd);
  throw new IssuerError('conflict', `another Mintmark serves ${path} (it holds ${basename(name)})`);
}

async function assertReplaceable(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return;
  if (!stats.isSocket()) throw new IssuerError('conflict', `${path} is no socket; it was left as it is`);
  const answer = await tryConnect(path);
  if (answer !== 'ECONNREFUSED')
    throw new IssuerError(
      'conflict',
      `${path} is a socket in use (connect: ${answer}); it was left as it is`,
    );
}

function tryConnect(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve('accepted');
    });
    socket.on('error', (error) => resolve(errnoOf(error) ?? error.message));
  });
}

const isSameFile = (one: Stats, other: Stats | undefined): boolean =>
  one.dev === other?.dev && one.ino === other.ino;
