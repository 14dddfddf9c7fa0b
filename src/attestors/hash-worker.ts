/** A thread that hashes executables, one message after the other, so that no disk holds up the event loop. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { versionOf } from './file-version.ts';

/** `path` leads to the very file (/proc/self/fd/N); `version` is what versionOf said of it. */
export type HashRequest = { readonly path: string; readonly version: string };
/** `changed`: the file is not, or was not all the time, of that version. */
export type HashAnswer =
  | { readonly sha256: string }
  | { readonly changed: true }
  | { readonly error: string };

const chunk = Buffer.allocUnsafeSlow(1024 * 1024);

function hashFile({ path, version }: HashRequest): HashAnswer {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const { size } = fstatSync(fd);
    const isVersion = () => versionOf(fstatSync(fd, { bigint: true })) === version;
    if (!isVersion()) return { changed: true };
    const hash = createHash('sha256');
    for (let position = 0; position < size; ) {
      const length = readSync(fd, chunk, 0, Math.min(chunk.length, size - position), position);
      if (length === 0) return { changed: true };
      hash.update(chunk.subarray(0, length));
      position += length;
    }
    return isVersion() ? { sha256: hash.digest('hex') } : { changed: true };
  } finally {
    closeSync(fd);
  }
}

parentPort?.on('message', (request: HashRequest) => {
  let answer: HashAnswer;
  try {
    answer = hashFile(request);
  } catch (error) {
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  parentPort?.postMessage(answer);
});
