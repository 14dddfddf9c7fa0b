/** The file of sqlite.ts: who may open it, its schema, and when what was written to it is on the disk. */
import fs, { constants, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { IssuerError } from '../core/errors.ts';
import { assertOwnDirectory } from './directory.ts';
import { errnoOf, unlessAbsent } from './durable.ts';
import type { RecordContext } from './records.ts';

export type RecordFile = {
  readonly path: string;
  readonly database: DatabaseSync;
  /** Throws `temporarily_unavailable` after `close`, and for good where a sync has failed. */
  assertOpen(): void;
  /** All that `change` does, or nothing. */
  transact<T>(change: () => T): T;
  /** Resolves once everything that was committed before is on the disk. */
  sync(): Promise<void>;
  close(): Promise<void>;
};

const MEMORY = ':memory:';
/** Other processes hold the lock for the time of one statement; ours stands still while it waits. */
const BUSY_MS = 2_000;
const OPEN_MS = 10_000;
const RETRY_SECONDS = 1;

/**
 * What each version of the schema adds; PRAGMA user_version counts them. WITHOUT ROWID: the record lies
 * in the index of its key.
 */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE records (
    realm TEXT NOT NULL, model TEXT NOT NULL, id TEXT NOT NULL,
    payload TEXT NOT NULL, expires_at INTEGER, consumed_at INTEGER, family TEXT, uid TEXT, user_code TEXT,
    PRIMARY KEY (realm, model, id)
  ) STRICT, WITHOUT ROWID;
  CREATE UNIQUE INDEX records_uid ON records (realm, model, uid) WHERE uid IS NOT NULL;
  CREATE UNIQUE INDEX records_user_code ON records (realm, model, user_code) WHERE user_code IS NOT NULL;
  CREATE INDEX records_family ON records (family) WHERE family IS NOT NULL;
  CREATE INDEX records_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;`,
];
/** "Mint", PRAGMA application_id: the file is ours. */
const APPLICATION_ID = 0x4d696e74;

export async function openFile(path: string, context: RecordContext): Promise<RecordFile> {
  if (path !== MEMORY) await assertOwnFile(path, context.uid);
  const database = await openDatabase(path);
  try {
    const log = path === MEMORY ? undefined : await fs.open(`${path}-wal`, constants.O_RDONLY);
    return new SyncedFile(path, database, log);
  } catch (error) {
    database.close();
    throw faultOf(path, error);
  }
}

/**
 * Makes the file (mode 0600) where there is none. Only looked at where there is one: to close a file
 * that SQLite has open in this process would give up its locks (fcntl(2)).
 */
async function assertOwnFile(path: string, uid: number): Promise<void> {
  const refuse = (why: string) => new IssuerError('server_error', `record store ${path} ${why}`);
  try {
    await assertOwnDirectory(fs, dirname(path), uid, 'directory of the record store');
    const { O_RDWR, O_CREAT, O_EXCL } = constants;
    if ((await unlessAbsent(fs.lstat(path))) === undefined) {
      const made = await fs.open(path, O_RDWR | O_CREAT | O_EXCL, 0o600).catch(unlessThere);
      await made?.close();
    }
    const found = await fs.lstat(path);
    if (!found.isFile()) throw refuse('is not a regular file');
    if (found.uid !== uid)
      throw refuse(`belongs to uid ${found.uid}, and Mintmark runs as uid ${uid}: chown ${uid} ${path}`);
    if ((found.mode & 0o077) !== 0) throw refuse(`is open to its group or to others: chmod 0600 ${path}`);
  } catch (error) {
    throw faultOf(path, error);
  }
}

/** Another process has made it meanwhile. */
function unlessThere(error: unknown): undefined {
  if (errnoOf(error) !== 'EEXIST') throw error;
}

/** To turn a new file into WAL mode fails at once where another process does so. */
async function openDatabase(path: string): Promise<DatabaseSync> {
  const giveUpAt = performance.now() + OPEN_MS;
  for (;;) {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(path, { timeout: BUSY_MS });
      prepare(path, database);
      return database;
    } catch (error) {
      database?.close();
      if (!isBusy(error) || performance.now() > giveUpAt) throw faultOf(path, error);
      await sleep(10 + Math.random() * 40);
    }
  }
}

function prepare(path: string, database: DatabaseSync): void {
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA trusted_schema = OFF;
    PRAGMA secure_delete = ON`); // what is removed, such as a password's hash, stays on no freed page
  database.exec('BEGIN IMMEDIATE');
  try {
    migrate(path, database);
    database.exec('COMMIT');
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

function migrate(path: string, database: DatabaseSync): void {
  const numberOf = (pragma: string) =>
    Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  const version = numberOf('user_version');
  const isNew = version === 0 && numberOf('schema_version') === 0;
  if (!isNew && numberOf('application_id') !== APPLICATION_ID)
    throw new IssuerError('server_error', `record store ${path} is a database of another program`);
  if (version > MIGRATIONS.length)
    throw new IssuerError(
      'server_error',
      `record store ${path} has schema ${version}, and this Mintmark knows ${MIGRATIONS.length}: a newer one has used it; run that one or put an older copy back`,
    );
  for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${MIGRATIONS.length}`);
}

class SyncedFile implements RecordFile {
  readonly path: string;
  readonly database: DatabaseSync;
  readonly #log: FileHandle | undefined;
  #closed = false;
  #failed: IssuerError | undefined;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(path: string, database: DatabaseSync, log: FileHandle | undefined) {
    this.path = path;
    this.database = database;
    this.#log = log;
  }

  assertOpen(): void {
    if (this.#closed) throw new IssuerError('temporarily_unavailable', 'the record store is closed');
    if (this.#failed !== undefined) throw this.#failed;
  }

  transact<T>(change: () => T): T {
    this.assertOpen();
    try {
      this.database.exec('BEGIN IMMEDIATE');
      const answer = change();
      this.database.exec('COMMIT');
      return answer;
    } catch (error) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      throw faultOf(this.path, error);
    }
  }

  async sync(): Promise<void> {
    if (this.#log === undefined) return;
    // The one that runs may have begun before our commit: the next one covers it.
    if (this.#running === undefined) this.#running = this.#start(this.#log);
    else this.#next ??= this.#running.catch(() => undefined).then(() => this.#advance());
    await (this.#next ?? this.#running);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#running !== undefined) await (this.#next ?? this.#running).catch(() => undefined);
    // The last connection writes the log into the database and removes it.
    this.database.close();
    await this.#log?.close();
  }

  #advance(): Promise<void> {
    this.#next = undefined;
    if (this.#log === undefined) return Promise.resolve();
    this.#running = this.#start(this.#log);
    return this.#running;
  }

  /** After a failed sync the kernel may forget what it could not write: no later one says that it is there. */
  async #start(log: FileHandle): Promise<void> {
    try {
      await log.datasync();
    } catch (error) {
      this.#failed = new IssuerError(
        'temporarily_unavailable',
        `record store ${this.path}: the disk failed (${(error as Error).message}); nothing is kept any more until a restart`,
        { cause: error },
      );
      throw this.#failed;
    } finally {
      if (this.#next === undefined) this.#running = undefined;
    }
  }
}

/** Runs a call of SQLite; what it throws becomes an IssuerError. */
export function withFaultsNamed<T>(path: string, call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw faultOf(path, error);
  }
}

/** Result codes: https://www.sqlite.org/rescode.html */
const BUSY = 5;
const LOCKED = 6;
const CORRUPT = 11;
const NOT_A_DATABASE = 26;
const CONSTRAINT_UNIQUE = 2067;

const codeOf = (error: unknown): number =>
  error instanceof Error && 'errcode' in error ? Number(error.errcode) : -1;

function isBusy(error: unknown): boolean {
  const primary = codeOf(error) & 0xff;
  return primary === BUSY || primary === LOCKED;
}

function faultOf(path: string, error: unknown): IssuerError {
  if (error instanceof IssuerError) return error;
  const code = codeOf(error);
  const options = { cause: error, retryAfterSeconds: RETRY_SECONDS };
  const detail = `record store ${path}: ${(error as Error).message}`;
  if (code === CONSTRAINT_UNIQUE) return new IssuerError('conflict', detail, { cause: error });
  const isDamaged = [CORRUPT, NOT_A_DATABASE].includes(code & 0xff);
  if (isDamaged) return new IssuerError('server_error', `${detail}; put a good copy back`, { cause: error });
  return new IssuerError('temporarily_unavailable', detail, options);
}
