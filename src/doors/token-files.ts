/**
 * The door for SDKs that read a file (AWS_WEB_IDENTITY_TOKEN_FILE and its kin):
 * keeps each file fresh. A file is replaced as a whole, and the last good one
 * stays while no token can be had.
 */
import { constants } from 'node:fs';
import { type FileHandle, open as openFile, rename, unlink } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import type { EpochSeconds, Workload } from '../core/ports.ts';
import { temporaryName } from '../core/temporary-name.ts';

export type TokenFile = {
  readonly path: string;
  readonly audience: string;
  readonly uid: number;
  readonly gid: number;
  /** Permission bits. */
  readonly mode: number;
  readonly principalTags: boolean;
  /** Whom the token is for, and by which rule: what the configuration vouches for. */
  readonly vouched: () => { readonly workload: Workload; readonly rule: string | undefined };
};

export type TokenFilesParts = {
  readonly files: readonly TokenFile[];
  readonly issuer: Issuer;
  readonly now: () => EpochSeconds;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** The key is published still; every key is where nobody here knows. */
  readonly isPublished?: (keyId: string) => boolean;
  readonly onRefresh: (
    file: TokenFile,
    outcome: { readonly expiresAt: EpochSeconds } | { readonly error: unknown },
  ) => void;
};

export interface TokenFiles {
  /** Paths that hold no token of this run yet. */
  missing(): readonly string[];
  /** Refreshes at once what was signed by a key that is published no more. */
  keysChanged(): void;
  /** No file changes once it resolves. */
  close(): Promise<void>;
}

/** At most; after a fault all sidecars try again, and not in step. */
const RETRY_SECONDS = 5;
const RETRY_SPREAD = 0.6;
const NAP_SECONDS = 30;
/** A jump back by more makes what was signed before it useless. */
const SET_BACK_SECONDS = 5;
/** Files that are written at the same time, at the start. */
const AT_ONCE = 16;

type Span = { readonly from: EpochSeconds; readonly to: EpochSeconds };

/** open(2): only to name what is below it, so that no right to list it is needed. */
const O_PATH = 0o10000000;
/** Of half a token's life, so that many machines do not renew in step. */
const JITTER = 0.1;

/** Before they are opened: all are missing. */
export function untried(files: readonly Pick<TokenFile, 'path'>[]): TokenFiles {
  return {
    missing: () => files.map(({ path }) => path),
    keysChanged: () => undefined,
    close: async () => undefined,
  };
}

/** Resolves when each file was tried once. */
export async function open(parts: TokenFilesParts): Promise<TokenFiles> {
  const { isPublished = () => true } = parts;
  /** The key of the token in each file. */
  const written = new Map<string, string>();
  /** Of the files that are not being refreshed. */
  const timers = new Map<string, NodeJS.Timeout>();
  const writing = new Map<string, Promise<void>>();
  let isClosed = false;

  const isRevoked = ({ path }: TokenFile) => !isPublished(written.get(path) ?? '');

  async function refresh(file: TokenFile): Promise<void> {
    clearTimeout(timers.get(file.path));
    timers.delete(file.path);
    let seconds = RETRY_SECONDS * (1 - RETRY_SPREAD * parts.random());
    try {
      const { workload, rule } = file.vouched();
      const request = { audience: [file.audience], principalTags: file.principalTags, rule };
      const { token, claims, keyId } = await parts.issuer.issueTokenFor('token-files', workload, request);
      if (isClosed) return; // whoever opened the files anew may have written a newer one
      writing.set(file.path, replaceFile(file.path, token, file));
      await writing.get(file.path);
      written.set(file.path, keyId);
      parts.onRefresh(file, { expiresAt: claims.exp });
      // Else it was revoked meanwhile, and is tried again soon.
      if (!isRevoked(file)) seconds = ((claims.exp - claims.iat) / 2) * (1 - JITTER * parts.random());
    } catch (error) {
      parts.onRefresh(file, { error });
    }
    if (!isClosed) sleep(file, seconds, { from: parts.now(), to: parts.now() + seconds });
  }

  /**
   * A timer stands still while the machine sleeps, and a clock that was set back makes the token one
   * of the future: so the clock is looked at now and then.
   */
  function sleep(file: TokenFile, seconds: number, { from, to }: Span): void {
    const nap = Math.min(seconds, NAP_SECONDS);
    const wake = () => {
      const now = parts.now();
      const isDue = nap === seconds || now >= to || now < from - SET_BACK_SECONDS;
      return isDue ? refresh(file) : sleep(file, seconds - nap, { from, to });
    };
    timers.set(file.path, setTimeout(wake, nap * 1000));
  }

  const waiting = [...parts.files];
  const next = async (): Promise<void> => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) await refresh(file);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, next));
  return {
    missing: () => parts.files.map((file) => file.path).filter((path) => !written.has(path)),
    keysChanged() {
      if (isClosed) return;
      for (const file of parts.files) if (timers.has(file.path) && isRevoked(file)) refresh(file);
    },
    async close() {
      isClosed = true;
      for (const timer of timers.values()) clearTimeout(timer);
      await Promise.allSettled(writing.values());
    },
  };
}

/** Permission bits, and whose it is; -1: our own. */
type Rights = { readonly mode: number; readonly uid: number; readonly gid: number };

/**
 * Temporary file, fsync, rename, all through a held directory: its owner may be
 * the workload, which could swap the path under us.
 */
export async function replaceFile(path: string, text: string, rights: Rights): Promise<void> {
  const directory = await openDirectory(dirname(path));
  const inside = (name: string) => `/proc/self/fd/${directory.fd}/${name}`;
  const temporary = inside(temporaryName(basename(path)));
  try {
    // One that a killed process left.
    await unlink(temporary).catch(() => undefined);
    const handle = await openFile(
      temporary,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    try {
      await fill(handle, text, rights);
      await rename(temporary, inside(basename(path)));
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      throw error;
    }
  } catch (error) {
    throw named(error, inside(''), path);
  } finally {
    await directory.close();
  }
}

/** The system's error with the path that people know, not the one through the held directory. */
function named(error: unknown, held: string, path: string): unknown {
  const { message } = error as Error;
  if (!message.includes(held)) return error;
  const text = message.replaceAll(held, `${dirname(path)}/`.replace('//', '/'));
  return new IssuerError('server_error', text);
}

/** From the root down, one name at a time: a symbolic link anywhere in the path could lead to any directory. */
async function openDirectory(path: string): Promise<FileHandle> {
  const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  let directory = await openFile('/', flags);
  for (const name of path.split('/').filter((each) => each !== '')) {
    const parent = directory;
    try {
      directory = await openFile(`/proc/self/fd/${parent.fd}/${name}`, flags);
    } catch (cause) {
      throw new IssuerError('server_error', `${path}: "${name}" is no directory, or a symbolic link`, {
        cause,
      });
    } finally {
      await parent.close();
    }
  }
  return directory;
}

async function fill(handle: FileHandle, text: string, { mode, uid, gid }: Rights): Promise<void> {
  try {
    await handle.writeFile(text);
    await handle.chmod(mode);
    await handle.chown(uid, gid);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The refusal's code where there is one, for logs and metrics. */
export function codeOf(error: unknown): string {
  return (error as Partial<IssuerError>).code ?? 'server_error';
}
