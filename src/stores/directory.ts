/** The directory of a store on disk: ours alone, and (file.ts) used by one process at a time. */
import { constants } from 'node:fs/promises';
import { join } from 'node:path';
import { IssuerError } from '../core/errors.ts';
import { type Files, unlessAbsent } from './durable.ts';

/**
 * Makes the directory (mode 0700) where there is none; throws `server_error` unless it is safe to keep
 * keys in. `what` is kept there, for its words.
 */
export async function assertOwnDirectory(
  files: Files,
  path: string,
  uid: number,
  what = 'key store',
): Promise<void> {
  if ((await unlessAbsent(files.lstat(path))) === undefined) {
    await files.mkdir(path, { recursive: true, mode: 0o700 });
  }
  const found = await files.lstat(path);
  const refuse = (why: string) => new IssuerError('server_error', `${what} ${path} ${why}`);
  if (found.isSymbolicLink()) throw refuse('is a symbolic link: name the directory that it points to');
  if (!found.isDirectory()) throw refuse('is not a directory');
  if (found.uid !== uid) {
    throw refuse(`belongs to uid ${found.uid}, and Mintmark runs as uid ${uid}: chown ${uid} ${path}`);
  }
  if ((found.mode & 0o022) !== 0) {
    const mode = (found.mode & 0o7777).toString(8).padStart(4, '0');
    throw refuse(`can be written by its group or by others (mode ${mode}): chmod go-w ${path}`);
  }
}

export type DirectoryLock = {
  /** Throws `server_error` where the lock file is no longer the one that we hold. */
  assertHeld(): Promise<void>;
  release(): Promise<void>;
};

/**
 * Takes the directory for this process. The lock file is never deleted: one
 * that is deleted and made again could be held by two. Throws `conflict` where
 * another process has it.
 */
export async function lockDirectory(
  files: Files,
  directory: string,
  lock: (fd: number) => boolean,
): Promise<DirectoryLock> {
  const path = join(directory, 'lock');
  // Not for writing: a disk that turned read-only must still give up its keys.
  const { O_RDONLY, O_CREAT, O_NOFOLLOW } = constants;
  const handle = await files.open(path, O_RDONLY | O_CREAT | O_NOFOLLOW, 0o600);
  const assertHeld = async () => {
    const held = await handle.stat({ bigint: true });
    const there = await unlessAbsent(files.lstat(path, { bigint: true }));
    if (there?.dev !== held.dev || there.ino !== held.ino) {
      throw new IssuerError(
        'server_error',
        `the lock file ${path} was deleted or replaced, so another Mintmark may use this directory: nothing is written any more; stop all that use it and start one`,
      );
    }
  };
  try {
    if (!lock(handle.fd)) {
      throw new IssuerError(
        'conflict',
        `another Mintmark uses this directory: ${directory}; a file store serves one process`,
      );
    }
    await assertHeld();
  } catch (error) {
    await handle.close();
    throw error;
  }
  return { assertHeld, release: () => handle.close() };
}
