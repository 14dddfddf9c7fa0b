/**
 * Documents as files of one directory of a local disk, for one process (flock
 * is not to be trusted on NFS or on volumes that several machines mount).
 *
 * Each document is two files, `NAME.sealed` and `NAME.counter` (document-bytes.ts),
 * written in this order. A document that is older than its counter was put back
 * from somewhere, one that is missing beside its counter was lost: both are
 * refused, since keys that others have retired would sign again, or new ones
 * would be made in silence. A document that is one ahead is a write that was cut
 * short between the two files, and is completed.
 */
import fs from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore, StoredBytes, StoreVersion } from '../core/key-ports.ts';
import { ABSOLUTE_PATH } from '../core/path-pattern.ts';
import { assertOwnDirectory, type DirectoryLock, lockDirectory } from './directory.ts';
import { assertDocumentName, assertDocumentSize, assertExpected, MAX_DOCUMENT_BYTES } from './document.ts';
import {
  type CountedDocument,
  decodeCounter,
  decodeDocument,
  encodeCounter,
  encodeDocument,
  HEADER_BYTES,
} from './document-bytes.ts';
import { commit, discard, erase, errnoOf, type Files, readBounded, stage } from './durable.ts';
import type { StoreContext } from './index.ts';

const directoryPath = v.pipe(
  v.string(),
  v.regex(ABSOLUTE_PATH, 'must be the absolute path of a directory, in normal form'),
  v.description('Directory of the key store, on a local disk; made with mode 0700 if it is not there'),
);

export const config = v.union([directoryPath, v.strictObject({ path: directoryPath })]);

const STAGED_NAME = /^[a-z0-9-]{1,63}\.(?:sealed|counter)\.tmp$/;

/**
 * Opens the directory and takes its lock until `close`. Throws `conflict` where
 * another process has it, `server_error` where the directory is not safe, and
 * `temporarily_unavailable` where the disk fails.
 */
export async function open(
  block: v.InferOutput<typeof config>,
  context: Pick<StoreContext, 'uid' | 'lock'>,
  files: Files = fs,
): Promise<KeyStore> {
  const directory = typeof block === 'string' ? block : block.path;
  return await withFaultsNamed(directory, async () => {
    await assertOwnDirectory(files, directory, context.uid);
    const lock = await lockDirectory(files, directory, context.lock);
    try {
      // A process that was killed while it wrote has left these; under the lock they are nobody's.
      const left = (await files.readdir(directory)).filter((name) => STAGED_NAME.test(name));
      for (const name of left) await files.unlink(join(directory, name));
    } catch (error) {
      await lock.release();
      throw error;
    }
    return new FileStore(directory, lock, files);
  });
}

async function withFaultsNamed<T>(directory: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    const code = errno === 'ELOOP' ? 'server_error' : 'temporarily_unavailable';
    throw new IssuerError(code, `key store ${directory}: ${(error as Error).message}`, { cause: error });
  }
}

class FileStore implements KeyStore {
  readonly shared = false;
  readonly #directory: string;
  readonly #lock: DirectoryLock;
  readonly #files: Files;
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(directory: string, lock: DirectoryLock, files: Files) {
    this.#directory = directory;
    this.#lock = lock;
    this.#files = files;
  }

  async read(name: string): Promise<StoredBytes | undefined> {
    return await this.#alone(async () => {
      const found = await this.#load(name);
      return found && { bytes: found.bytes, version: String(found.counter) };
    });
  }

  async write(name: string, bytes: Uint8Array, expected: StoreVersion | undefined): Promise<StoreVersion> {
    return await this.#alone(async () => {
      assertDocumentSize(name, bytes.length);
      await this.#lock.assertHeld();
      const found = await this.#load(name);
      assertExpected(name, found && String(found.counter), expected);
      const counter = (found?.counter ?? 0n) + 1n;
      await this.#replace(name, counter, bytes);
      return String(counter);
    });
  }

  /** The document goes first: its counter alone says that it was lost, and is removed by the next call. */
  async remove(name: string): Promise<boolean> {
    return await this.#alone(async () => {
      const { document, counter } = this.#paths(name);
      await this.#lock.assertHeld();
      for (const path of [document, counter]) await discard(this.#files, path);
      const removed = [await erase(this.#files, document), await erase(this.#files, counter)];
      return removed.includes(true);
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#last;
    await this.#lock.release();
  }

  /** One call after the other: what one has read, no other changes before it has written. */
  async #alone<T>(task: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new IssuerError('temporarily_unavailable', 'the key store is closed');
    const running = this.#last.then(() => withFaultsNamed(this.#directory, task));
    this.#last = running.catch(() => {});
    return await running;
  }

  #paths(name: string): { readonly document: string; readonly counter: string } {
    assertDocumentName(name);
    const path = join(this.#directory, name);
    return { document: `${path}.sealed`, counter: `${path}.counter` };
  }

  async #load(name: string): Promise<CountedDocument | undefined> {
    const paths = this.#paths(name);
    const file = await readBounded(this.#files, paths.document, HEADER_BYTES + MAX_DOCUMENT_BYTES);
    const counterFile = await readBounded(this.#files, paths.counter, 64);
    const highest = counterFile ? decodeCounter(paths.counter, counterFile) : 0n;
    if (file === undefined) {
      if (counterFile === undefined) return undefined;
      throw new IssuerError(
        'server_error',
        `${paths.document} is missing, although it was written ${highest} times: put the newest copy back; no new keys are made in its place (to begin anew on purpose, remove ${paths.counter} too)`,
      );
    }
    const found = decodeDocument(paths.document, file);
    if (found.counter === highest + 1n) await this.#complete(paths.counter, found.counter);
    else if (found.counter !== highest) throw this.#outOfStep(paths, found.counter, highest);
    return found;
  }

  /** A write ended between its two files: neither may be relied on before the second is there. */
  async #complete(path: string, counter: bigint): Promise<void> {
    await this.#lock.assertHeld();
    await stage(this.#files, path, encodeCounter(counter));
    await commit(this.#files, path);
  }

  #outOfStep(paths: { document: string; counter: string }, found: bigint, highest: bigint): IssuerError {
    const why =
      found < highest
        ? `${paths.document} is version ${found}, but version ${highest} was written: an older copy was put back, with keys that may be retired or revoked`
        : `${paths.document} is version ${found}, but ${paths.counter} ${highest === 0n ? 'is missing' : `says ${highest}`}: it was removed, or an older copy of it was put back`;
    return new IssuerError(
      'server_error',
      `${why}; put the newest copies back (to accept version ${found} on purpose, write ${found} into ${paths.counter})`,
    );
  }

  /** Both files are on the disk before the first takes its place, so a full disk changes nothing. */
  async #replace(name: string, counter: bigint, bytes: Uint8Array): Promise<void> {
    const paths = this.#paths(name);
    try {
      await stage(this.#files, paths.document, encodeDocument(counter, bytes));
      await stage(this.#files, paths.counter, encodeCounter(counter));
      await commit(this.#files, paths.document);
      await commit(this.#files, paths.counter);
    } catch (error) {
      for (const path of Object.values(paths)) await discard(this.#files, path).catch(() => {});
      throw error;
    }
  }
}
