/** Records in one table in PostgreSQL, for any number of replicas: each call is one conditional statement. */
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
import { config, type PostgresBlock } from './postgres-config.ts';
import { type Database, openDatabase } from './postgres-database.ts';
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

export { config };

/** Throws `temporarily_unavailable` where PostgreSQL does not answer, `server_error` where its schema is too new. */
export async function open(block: PostgresBlock): Promise<RecordStore> {
  return new PostgresRecords(await openDatabase(block));
}

const AT = 'realm = $1 AND model = $2 AND id = $3';
const live = (now: string) => `(expires_at IS NULL OR expires_at > ${now})`;

/** `t` is the table. */
const sqlFor = (t: string) => ({
  insert: `INSERT INTO ${t} AS old (realm, model, id, payload, expires_at, family, uid, user_code)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (realm, model, id) DO UPDATE SET ${REPLACED}, consumed_at = NULL WHERE old.expires_at <= $9`,
  upsert: `INSERT INTO ${t} (realm, model, id, payload, expires_at, family, uid, user_code)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (realm, model, id) DO UPDATE SET ${REPLACED}`,
  dropNames: `DELETE FROM ${t} WHERE realm = $1 AND model = $2 AND (uid = $3 OR user_code = $4) AND expires_at <= $5`,
  replace: `UPDATE ${t} SET payload = $5, uid = coalesce($6, uid) WHERE ${AT} AND payload = $4`,
  find: `SELECT ${COLUMNS} FROM ${t} WHERE ${AT} AND ${live('$4')}`,
  uid: `SELECT ${COLUMNS} FROM ${t} WHERE realm = $1 AND model = $2 AND uid = $3 AND ${live('$4')}`,
  userCode: `SELECT ${COLUMNS} FROM ${t} WHERE realm = $1 AND model = $2 AND user_code = $3 AND ${live('$4')}`,
  consume: `UPDATE ${t} SET consumed_at = $4 WHERE ${AT} AND consumed_at IS NULL AND ${live('$4')}`,
  redeem: `WITH used AS (UPDATE ${t} SET consumed_at = $4
      WHERE ${AT} AND consumed_at IS NULL AND ${live('$4')} RETURNING 1),
    made AS (INSERT INTO ${t} (realm, model, id, payload, expires_at, family, uid, user_code)
      SELECT realm, model, id, payload, expires_at, family, uid, user_code
      FROM json_populate_recordset(NULL::${t}, $5::json) WHERE EXISTS (SELECT 1 FROM used))
    SELECT 1 FROM used`,
  remove: `DELETE FROM ${t} WHERE ${AT}`,
  removeFamily: `DELETE FROM ${t} WHERE family = $2 AND realm = $1`,
  removeRealm: `DELETE FROM ${t} WHERE realm = $1`,
  list: `SELECT ${COLUMNS} FROM ${t} WHERE realm = $1 AND model = $2 AND id > $3 AND ${live('$5')}
    ORDER BY id LIMIT $4`,
  count: `INSERT INTO ${t} AS old (realm, model, id, payload, expires_at)
    VALUES ($1, $2, $3, '{"count":1}', $4::bigint + $5)
    ON CONFLICT (realm, model, id) DO UPDATE SET
      payload = CASE WHEN old.expires_at > $4 THEN
        '{"count":' || ((old.payload::json->>'count')::bigint + 1) || '}' ELSE excluded.payload END,
      expires_at = CASE WHEN old.expires_at > $4 THEN old.expires_at ELSE excluded.expires_at END
    RETURNING payload`,
  sweep: `DELETE FROM ${t} WHERE expires_at <= $1 AND (realm, model, id) IN (
    SELECT realm, model, id FROM ${t} WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
    FOR UPDATE SKIP LOCKED)`,
});

type Name = keyof ReturnType<typeof sqlFor>;
/** Two who upsert one record at once may meet at its second name before they meet at its key. */
const UPSERT_ATTEMPTS = 3;

const isConflict = (error: unknown) => error instanceof IssuerError && error.code === 'conflict';

class PostgresRecords implements RecordStore {
  readonly #database: Database;
  readonly #sql: Readonly<Record<Name, string>>;

  constructor(database: Database) {
    this.#database = database;
    this.#sql = sqlFor(`${database.schema}.records`);
  }

  async insert(key: RecordKey, fields: RecordFields, now: EpochSeconds): Promise<boolean> {
    const row = rowOf(key, fields);
    const { uid, userCode } = fields;
    if (uid !== undefined || userCode !== undefined)
      await this.#change('dropNames', [key.realm, key.model, uid ?? null, userCode ?? null, now]);
    try {
      return (await this.#change('insert', [...row, now])) === 1;
    } catch (error) {
      if (isConflict(error)) return false;
      throw error;
    }
  }

  async upsert(key: RecordKey, fields: RecordFields): Promise<void> {
    const row = rowOf(key, fields);
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#change('upsert', row);
        return;
      } catch (error) {
        if (!isConflict(error) || attempt >= UPSERT_ATTEMPTS) throw error;
      }
    }
  }

  async replace(
    key: RecordKey,
    expected: RecordPayload,
    payload: RecordPayload,
    uid?: string,
  ): Promise<boolean> {
    assertNames(uid);
    const texts = [encodePayload(expected), encodePayload(payload), uid ?? null];
    return (await this.#change('replace', [...placeOf(key), ...texts])) === 1;
  }

  async find(key: RecordKey, now: EpochSeconds): Promise<FoundRecord | undefined> {
    return (await this.#rows('find', [...placeOf(key), now]))[0];
  }

  async findBy(
    { realm, model }: Omit<RecordKey, 'id'>,
    name: 'uid' | 'userCode',
    value: string,
    now: EpochSeconds,
  ): Promise<FoundRecord | undefined> {
    assertNames(realm, model, value);
    return (await this.#rows(name, [realm, model, value, now]))[0];
  }

  async consume(key: RecordKey, now: EpochSeconds): Promise<boolean> {
    return (await this.#change('consume', [...placeOf(key), now])) === 1;
  }

  async redeem(key: RecordKey, made: readonly NewRecord[], now: EpochSeconds): Promise<boolean> {
    const rows = made.map(({ key: made, fields }) => {
      const [realm, model, id, payload, expires_at, family, uid, user_code] = rowOf(made, fields);
      return { realm, model, id, payload, expires_at, family, uid, user_code };
    });
    return (await this.#change('redeem', [...placeOf(key), now, JSON.stringify(rows)])) === 1;
  }

  async remove(key: RecordKey): Promise<boolean> {
    return (await this.#change('remove', placeOf(key))) === 1;
  }

  async removeFamily(realm: string, family: string): Promise<number> {
    assertNames(realm, family);
    // A statement does not see what was committed while it waited for a row that was being redeemed.
    for (let removed = 0; ; ) {
      const more = await this.#change('removeFamily', [realm, family]);
      if (more === 0) return removed;
      removed += more;
    }
  }

  async removeRealm(realm: string): Promise<number> {
    assertNames(realm);
    return await this.#change('removeRealm', [realm]);
  }

  async list(
    { realm, model }: Omit<RecordKey, 'id'>,
    { after, limit }: { readonly after?: string | undefined; readonly limit: number },
    now: EpochSeconds,
  ): Promise<readonly FoundRecord[]> {
    assertNames(realm, model, after);
    return await this.#rows('list', [realm, model, after ?? '', limit, now]);
  }

  async count(key: RecordKey, windowSeconds: number, now: EpochSeconds): Promise<number> {
    const query = this.#query('count', [...placeOf(key), now, windowSeconds]);
    const { rows } = await this.#database.query<Pick<RecordRow, 'payload'>>(query);
    return Number(JSON.parse(rows[0]?.payload ?? '{}').count);
  }

  async sweep(before: EpochSeconds, limit: number): Promise<number> {
    return await this.#change('sweep', [before, limit]);
  }

  async close(): Promise<void> {
    await this.#database.close();
  }

  #query(name: Name, values: readonly unknown[]) {
    return { name, text: this.#sql[name], values };
  }

  async #change(name: Name, values: readonly unknown[]): Promise<number> {
    return (await this.#database.query(this.#query(name, values))).count;
  }

  async #rows(name: Name, values: readonly unknown[]): Promise<readonly FoundRecord[]> {
    const { rows } = await this.#database.query<RecordRow>(this.#query(name, values), true);
    return rows.map(decodeRow);
  }
}

function placeOf(key: RecordKey): readonly string[] {
  assertKey(key);
  return [key.realm, key.model, key.id];
}

function rowOf(key: RecordKey, fields: RecordFields): readonly unknown[] {
  assertFields(fields);
  const { expiresAt = null, family = null, uid = null, userCode = null } = fields;
  return [...placeOf(key), encodePayload(fields.payload), expiresAt, family, uid, userCode];
}
