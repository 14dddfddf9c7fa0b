/**
 * Files that are replaced whole or not at all, through a crash, a full disk or
 * a lost power supply: a new file beside the old, fsync, rename, fsync of the
 * directory.
 */
import type fs from 'node:fs/promises';
import { constants } from 'node:fs/promises';
import { dirname } from 'node:path';
import { IssuerError } from '../core/errors.ts';

/** The few calls that the stores make; tests hand in others to inject faults. */
export type Files = Pick<typeof fs, 'open' | 'lstat' | 'mkdir' | 'readdir' | 'rename' | 'unlink'>;

/** Where the new bytes of a file wait to be renamed. */
const stagedPath = (path: string): string => `${path}.tmp`;

/** The errno of a failed call, for example `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error && 'errno' in error && 'code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** Undefined instead of ENOENT. */
export async function unlessAbsent<T>(pending: Promise<T>): Promise<T | undefined> {
  try {
    return await pending;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The whole file, undefined where there is none; `server_error` for a link, another kind of file or a larger one. */
export async function readBounded(files: Files, path: string, maxBytes: number): Promise<Buffer | undefined> {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const handle = await unlessAbsent(files.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  if (handle === undefined) return undefined;
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new IssuerError('server_error', `${path} is not a regular file`);
    if (found.size > maxBytes) {
      throw new IssuerError(
        'server_error',
        `${path} has ${found.size} bytes; at most ${maxBytes} are expected`,
      );
    }
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

/** Writes the bytes beside `path`, mode 0600, and waits until they are on the disk. */
export async function stage(files: Files, path: string, bytes: Uint8Array): Promise<void> {
  await discard(files, path);
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
  const handle = await files.open(stagedPath(path), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await handle.writeFile(bytes);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Forgets staged bytes, if there are any. */
export async function discard(files: Files, path: string): Promise<void> {
  await unlessAbsent(files.unlink(stagedPath(path)));
}

/** Removes the file, and waits until the directory says so on the disk; false where there was none. */
export async function erase(files: Files, path: string): Promise<boolean> {
  const isThere = (await unlessAbsent(files.lstat(path))) !== undefined;
  await unlessAbsent(files.unlink(path));
  await syncDirectory(files, path);
  return isThere;
}

/** Puts the staged bytes in the place of `path` and waits until the directory says so on the disk. */
export async function commit(files: Files, path: string): Promise<void> {
  await files.rename(stagedPath(path), path);
  await syncDirectory(files, path);
}

async function syncDirectory(files: Files, path: string): Promise<void> {
  const directory = await files.open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
