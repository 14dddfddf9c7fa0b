/**
 * Documents as rows of one table in PostgreSQL, for any number of replicas.
 *
 * A row's version counts its writes; with a digest of its bytes it makes up the store's version. A
 * write is one conditional statement, which notifies the others as it commits.
 *
 * Each process remembers the highest count that it has seen: a table that was put back from a backup,
 * or a standby that had not heard of the last write, is refused until a restart accepts it, since keys
 * that others have retired would sign again.
 */
import { createHash } from 'node:crypto';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore, StoredBytes, StoreVersion } from '../core/key-ports.ts';
import { assertDocumentName, assertDocumentSize } from './document.ts';
import type { StoreContext } from './index.ts';
import { config, type PostgresBlock } from './postgres-config.ts';
import { type Database, openDatabase } from './postgres-database.ts';
import { listen } from './postgres-listen.ts';

export { config };

/** Throws `temporarily_unavailable` where PostgreSQL does not answer, `server_error` where its schema is too new. */
export async function open(block: PostgresBlock, context: Pick<StoreContext, 'warn'>): Promise<KeyStore> {
  return new PostgresStore(await openDatabase(block), context.warn);
}

const CHANNEL = 'mintmark_documents';
const DIGEST_CHARACTERS = 32;
const VERSION = /^([1-9]\d{0,15})\.([0-9a-f]{32})$/;

type Watch = { readonly document: string; readonly onChange: () => void };

class PostgresStore implements KeyStore {
  readonly shared = true;
  readonly #database: Database;
  readonly #table: string;
  readonly #warn: (message: string) => void;
  /** The highest count of each document. */
  readonly #seen = new Map<string, number>();
  readonly #watches = new Set<Watch>();
  /** One connection listens for all of them. */
  #stopListening: (() => void) | undefined;

  constructor(database: Database, warn: (message: string) => void) {
    this.#database = database;
    this.#table = `${database.schema}.documents`;
    this.#warn = warn;
  }

  async read(name: string): Promise<StoredBytes | undefined> {
    assertDocumentName(name);
    const seen = this.#seen.get(name);
    const { rows } = await this.#database.query<{ readonly version: number; readonly bytes: Buffer }>(
      { name: 'read', text: `SELECT version, bytes FROM ${this.#table} WHERE name = $1`, values: [name] },
      true,
    );
    const found = rows[0];
    if (seen !== undefined && (found === undefined || found.version < seen))
      throw this.#older(name, seen, found);
    if (found === undefined) return undefined;
    this.#remember(name, found.version);
    return { bytes: found.bytes, version: versionOf(found.version, found.bytes) };
  }

  async write(name: string, bytes: Uint8Array, expected: StoreVersion | undefined): Promise<StoreVersion> {
    assertDocumentName(name);
    assertDocumentSize(name, bytes.length);
    const copy = Buffer.from(bytes);
    const [, count, digest] = VERSION.exec(expected ?? '') ?? [];
    const message = [CHANNEL, `${this.#database.schema}/${name}`];
    if (expected !== undefined && count === undefined) throw this.#conflict(name);
    const { rows } = await this.#database.query<{ readonly version: number }>(
      count === undefined
        ? { name: 'create', text: notifying(insertInto(this.#table)), values: [...message, name, copy] }
        : {
            name: 'replace',
            text: notifying(update(this.#table)),
            values: [...message, name, copy, count, digest],
          },
    );
    const written = rows[0];
    if (written === undefined) throw this.#conflict(name);
    this.#remember(name, written.version);
    return versionOf(written.version, copy);
  }

  async remove(name: string): Promise<boolean> {
    assertDocumentName(name);
    const text = notifying(`DELETE FROM ${this.#table} WHERE name = $3 RETURNING version`);
    const values = [CHANNEL, `${this.#database.schema}/${name}`, name];
    const { rows } = await this.#database.query({ name: 'remove', text, values });
    this.#seen.delete(name);
    return rows.length > 0;
  }

  watch(name: string, onChange: () => void): () => void {
    assertDocumentName(name);
    this.#database.assertOpen();
    const watch = { document: `${this.#database.schema}/${name}`, onChange };
    this.#watches.add(watch);
    this.#stopListening ??= listen(this.#database, CHANNEL, this.#warn, (payload) => {
      for (const each of this.#watches)
        if (payload === undefined || payload === each.document) each.onChange();
    });
    return () => {
      this.#watches.delete(watch);
      if (this.#watches.size === 0) this.#endListening();
    };
  }

  async close(): Promise<void> {
    this.#watches.clear();
    this.#endListening();
    await this.#database.close();
  }

  #endListening(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
  }

  /** Answers of calls that ran at once may come in any order. */
  #remember(name: string, version: number): void {
    this.#seen.set(name, Math.max(version, this.#seen.get(name) ?? 0));
  }

  #conflict(name: string): IssuerError {
    return new IssuerError(
      'conflict',
      `${this.#database.label}: document ${name} is not at the expected version`,
    );
  }

  #older(name: string, seen: number, found: { readonly version: number } | undefined): IssuerError {
    const what =
      found === undefined
        ? `has lost its document ${name}, which was at version ${seen}`
        : `has version ${found.version} of ${name}, but version ${seen} was seen: an older copy was put back, with keys that may be retired or revoked`;
    return new IssuerError(
      'server_error',
      `${this.#database.label} ${what}; put the newest copy back (to accept it as it is, restart every replica)`,
    );
  }
}

const insertInto = (table: string) =>
  `INSERT INTO ${table} (name, version, bytes) VALUES ($3, 1, $4) ON CONFLICT DO NOTHING RETURNING version`;

const update = (table: string) =>
  `UPDATE ${table} SET version = version + 1, bytes = $4 WHERE name = $3 AND version = $5
    AND left(encode(sha256(bytes), 'hex'), ${DIGEST_CHARACTERS}) = $6 RETURNING version`;

const notifying = (change: string) =>
  `WITH written AS (${change}) SELECT version, pg_notify($1, $2) FROM written`;

function versionOf(count: number, bytes: Uint8Array): StoreVersion {
  return `${count}.${createHash('sha256').update(bytes).digest('hex').slice(0, DIGEST_CHARACTERS)}`;
}
