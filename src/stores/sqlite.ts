/**
 * Records in one SQLite file of a local disk, for the processes of one machine, or in memory.
 *
 * In WAL mode with synchronous=NORMAL a commit is at once seen by every process and survives the end
 * of ours, but not a power cut, which would bring back consumed codes and revoked tokens.
 * synchronous=FULL would hold up the whole program for each commit. So the log is synced by ourselves,
 * in the thread pool, before a change is answered: one sync serves all changes that wait (sqlite-file.ts).
 */
import type { StatementSync } from 'node:sqlite';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { EpochSeconds } from '../core/ports.ts';
import type {
  FoundRecord,
  NewRecord,
  RecordFields,
  RecordKey,
  RecordPayload,
  RecordStore,
} from '../core/records.ts';
import {
  assertFields,
  assertKey,
  assertNames,
  COLUMNS,
  decodeRow,
  encodePayload,
  REPLACED,
  type RecordRow,
} from './record-fields.ts';
import type { RecordContext } from './records.ts';
import { openFile, type RecordFile, withFaultsNamed } from './sqlite-file.ts';

const filePath = v.pipe(
  v.string(),
  v.regex(/^(?:\/[^\0]*[^/\0]|:memory:)$/, 'must be the absolute path of a file, or :memory:'),
  v.description(
    'File of the database, on a local disk, in a directory of our own that is made if it is not there; or :memory:, gone when the process ends',
  ),
);

export const config = v.union([filePath, v.strictObject({ path: filePath })]);

/**
 * Opens the file, makes it where there is none. Throws `server_error` where it or its directory is
 * not safe or is another program's, `temporarily_unavailable` where the disk fails.
 */
export async function open(
  block: v.InferOutput<typeof config>,
  context: RecordContext,
): Promise<RecordStore> {
  const file = await openFile(typeof block === 'string' ? block : block.path, context);
  return new SqliteStore(file);
}

const AT = 'realm = :realm AND model = :model AND id = :id';
const LIVE = '(expires_at IS NULL OR expires_at > :now)';
const VALUES = ':realm, :model, :id, :payload, :expires_at, NULL, :family, :uid, :user_code';

/** INDEXED BY, since without statistics the planner would walk through the realm by the primary key. */
const SQL = {
  insert: `INSERT INTO records (realm, model, ${COLUMNS}) VALUES (${VALUES})
    ON CONFLICT (realm, model, id) DO UPDATE SET ${REPLACED}, consumed_at = NULL
    WHERE records.expires_at <= :now`,
  upsert: `INSERT INTO records (realm, model, ${COLUMNS}) VALUES (${VALUES})
    ON CONFLICT (realm, model, id) DO UPDATE SET ${REPLACED}`,
  dropUid: `DELETE FROM records INDEXED BY records_uid
    WHERE realm = :realm AND model = :model AND uid = :name AND expires_at <= :now`,
  dropUserCode: `DELETE FROM records INDEXED BY records_user_code
    WHERE realm = :realm AND model = :model AND user_code = :name AND expires_at <= :now`,
  replace: `UPDATE records SET payload = :payload, uid = coalesce(:uid, uid) WHERE ${AT} AND payload = :expected`,
  find: `SELECT ${COLUMNS} FROM records WHERE ${AT} AND ${LIVE}`,
  uid: `SELECT ${COLUMNS} FROM records INDEXED BY records_uid
    WHERE realm = :realm AND model = :model AND uid = :name AND ${LIVE}`,
  userCode: `SELECT ${COLUMNS} FROM records INDEXED BY records_user_code
    WHERE realm = :realm AND model = :model AND user_code = :name AND ${LIVE}`,
  consume: `UPDATE records SET consumed_at = :now WHERE ${AT} AND consumed_at IS NULL AND ${LIVE}`,
  remove: `DELETE FROM records WHERE ${AT}`,
  removeFamily: `DELETE FROM records INDEXED BY records_family WHERE family = :family AND realm = :realm`,
  removeRealm: 'DELETE FROM records WHERE realm = :realm',
  list: `SELECT ${COLUMNS} FROM records WHERE realm = :realm AND model = :model AND id > :after AND ${LIVE}
    ORDER BY id LIMIT :limit`,
  count: `INSERT INTO records (realm, model, id, payload, expires_at)
    VALUES (:realm, :model, :id, '{"count":1}', :now + :window)
    ON CONFLICT (realm, model, id) DO UPDATE SET
      payload = iif(expires_at > :now, json_object('count', json_extract(payload, '$.count') + 1), excluded.payload),
      expires_at = iif(expires_at > :now, expires_at, excluded.expires_at)
    RETURNING json_extract(payload, '$.count') AS count`,
  sweep: `DELETE FROM records WHERE (realm, model, id) IN (
    SELECT realm, model, id FROM records INDEXED BY records_expiry
    WHERE expires_at <= :before ORDER BY expires_at LIMIT :limit)`,
} as const;

type Name = keyof typeof SQL;
type Parameters = Readonly<Record<string, string | number | null>>;

class SqliteStore implements RecordStore {
  readonly #file: RecordFile;
  readonly #statements: Readonly<Record<Name, StatementSync>>;

  constructor(file: RecordFile) {
    this.#file = file;
    const prepared = Object.entries(SQL).map(([name, text]) => [name, file.database.prepare(text)]);
    this.#statements = Object.fromEntries(prepared) as Record<Name, StatementSync>;
  }

  async insert(key: RecordKey, fields: RecordFields, now: EpochSeconds): Promise<boolean> {
    const row = rowOf(key, fields);
    const { realm, model } = key;
    const { uid, userCode } = fields;
    if (uid !== undefined) this.#run('dropUid', { realm, model, name: uid, now });
    if (userCode !== undefined) this.#run('dropUserCode', { realm, model, name: userCode, now });
    try {
      return (await this.#change('insert', { ...row, now })) === 1;
    } catch (error) {
      if (error instanceof IssuerError && error.code === 'conflict') return false;
      throw error;
    }
  }

  async upsert(key: RecordKey, fields: RecordFields): Promise<void> {
    await this.#change('upsert', rowOf(key, fields));
  }

  async replace(
    key: RecordKey,
    expected: RecordPayload,
    payload: RecordPayload,
    uid?: string,
  ): Promise<boolean> {
    assertNames(uid);
    const texts = { expected: encodePayload(expected), payload: encodePayload(payload), uid: uid ?? null };
    return (await this.#change('replace', { ...placeOf(key), ...texts })) === 1;
  }

  async find(key: RecordKey, now: EpochSeconds): Promise<FoundRecord | undefined> {
    return this.#first('find', { ...placeOf(key), now });
  }

  async findBy(
    { realm, model }: Omit<RecordKey, 'id'>,
    name: 'uid' | 'userCode',
    value: string,
    now: EpochSeconds,
  ): Promise<FoundRecord | undefined> {
    assertNames(realm, model, value);
    return this.#first(name, { realm, model, name: value, now });
  }

  async consume(key: RecordKey, now: EpochSeconds): Promise<boolean> {
    return (await this.#change('consume', { ...placeOf(key), now })) === 1;
  }

  async redeem(key: RecordKey, made: readonly NewRecord[], now: EpochSeconds): Promise<boolean> {
    const used = { ...placeOf(key), now };
    const rows = made.map((each) => ({ ...rowOf(each.key, each.fields), now }));
    const isRedeemed = this.#file.transact(() => {
      if (this.#run('consume', used) !== 1) return false;
      for (const row of rows) this.#run('insert', row);
      return true;
    });
    if (isRedeemed) await this.#file.sync();
    return isRedeemed;
  }

  async remove(key: RecordKey): Promise<boolean> {
    return (await this.#change('remove', placeOf(key))) === 1;
  }

  async removeFamily(realm: string, family: string): Promise<number> {
    assertNames(realm, family);
    return await this.#change('removeFamily', { realm, family });
  }

  async removeRealm(realm: string): Promise<number> {
    assertNames(realm);
    return await this.#change('removeRealm', { realm });
  }

  async list(
    { realm, model }: Omit<RecordKey, 'id'>,
    { after, limit }: { readonly after?: string | undefined; readonly limit: number },
    now: EpochSeconds,
  ): Promise<readonly FoundRecord[]> {
    assertNames(realm, model, after);
    const parameters = { realm, model, after: after ?? '', limit, now };
    return this.#ask('list', (statement) => statement.all(parameters)).map((row) =>
      decodeRow(row as RecordRow),
    );
  }

  async count(key: RecordKey, windowSeconds: number, now: EpochSeconds): Promise<number> {
    const parameters = { ...placeOf(key), window: windowSeconds, now };
    const row = this.#ask('count', (statement) => statement.get(parameters));
    return Number(row?.count);
  }

  async sweep(before: EpochSeconds, limit: number): Promise<number> {
    return this.#run('sweep', { before, limit });
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  #first(name: 'find' | 'uid' | 'userCode', parameters: Parameters): FoundRecord | undefined {
    const row = this.#ask(name, (statement) => statement.get(parameters));
    return row && decodeRow(row as RecordRow);
  }

  /** How many rows it changed, once that is on the disk. */
  async #change(name: Name, parameters: Parameters): Promise<number> {
    const changes = this.#run(name, parameters);
    if (changes > 0) await this.#file.sync();
    return changes;
  }

  #run(name: Name, parameters: Parameters): number {
    return this.#ask(name, (statement) => Number(statement.run(parameters).changes));
  }

  #ask<T>(name: Name, ask: (statement: StatementSync) => T): T {
    this.#file.assertOpen();
    return withFaultsNamed(this.#file.path, () => ask(this.#statements[name]));
  }
}

function placeOf(key: RecordKey): { readonly realm: string; readonly model: string; readonly id: string } {
  assertKey(key);
  return { realm: key.realm, model: key.model, id: key.id };
}

function rowOf(key: RecordKey, fields: RecordFields): Parameters {
  assertFields(fields);
  return {
    ...placeOf(key),
    payload: encodePayload(fields.payload),
    expires_at: fields.expiresAt ?? null,
    family: fields.family ?? null,
    uid: fields.uid ?? null,
    user_code: fields.userCode ?? null,
  };
}
