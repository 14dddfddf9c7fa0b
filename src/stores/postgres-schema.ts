/**
 * The tables in PostgreSQL, of the key ring and of OAuth's records. A migration runs while older
 * programs still use the tables: it only adds what they do not see.
 */
import type { ClientBase } from 'pg';
import { IssuerError } from '../core/errors.ts';

/** What each version of the schema adds; the table schema_version says which is there. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE documents (
    name text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, bytes bytea NOT NULL
  );
  CREATE TABLE records (
    realm text COLLATE "C" NOT NULL, model text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
    payload text NOT NULL, expires_at bigint, consumed_at bigint,
    family text COLLATE "C", uid text COLLATE "C", user_code text COLLATE "C",
    PRIMARY KEY (realm, model, id)
  );
  CREATE UNIQUE INDEX records_uid ON records (realm, model, uid) WHERE uid IS NOT NULL;
  CREATE UNIQUE INDEX records_user_code ON records (realm, model, user_code) WHERE user_code IS NOT NULL;
  CREATE INDEX records_family ON records (family, realm) WHERE family IS NOT NULL;
  CREATE INDEX records_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;`,
];

const KNOWN = MIGRATIONS.length;
/** Of pg_advisory_xact_lock: everyone who migrates, whatever the schema. */
const LOCK = 0x4d696e74;
const LOCK_MS = 60_000;

/**
 * Brings the schema to the version that this program knows; of many that start at once one does so,
 * the others wait. Throws `server_error` where a newer program was there, and what PostgreSQL throws.
 */
export async function migrate(client: ClientBase, schema: string, label: string): Promise<void> {
  // Who may not make tables can still use those that are there.
  const found = await versionOf(client, schema);
  if (found === KNOWN) return;
  assertKnown(found, schema, label);
  const run = (text: string) => client.query({ text, query_timeout: LOCK_MS } as { text: string });
  await run(`BEGIN; SET LOCAL statement_timeout = ${LOCK_MS}; SELECT pg_advisory_xact_lock(${LOCK})`);
  try {
    const version = await versionOf(client, schema);
    assertKnown(version, schema, label);
    if (version === 0) {
      const { rowCount } = await client.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schema]);
      if (rowCount === 0) await run(`CREATE SCHEMA ${schema}`);
    }
    await run(`SET LOCAL search_path = ${schema}`);
    if (version === 0)
      await run('CREATE TABLE schema_version (version int NOT NULL); INSERT INTO schema_version VALUES (0)');
    for (const migration of MIGRATIONS.slice(version)) await run(migration);
    await run(`UPDATE schema_version SET version = ${KNOWN}`);
    await run('COMMIT');
  } catch (error) {
    await run('ROLLBACK').catch(() => undefined);
    throw error;
  }
}

/**
 * 0 where there is none. Asks the catalog's tables: to_regclass may still say what it said before the
 * lock was ours.
 */
async function versionOf(client: ClientBase, schema: string): Promise<number> {
  const { rowCount } = await client.query(
    `SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = $1 AND relname = 'schema_version'`,
    [schema],
  );
  if (rowCount === 0) return 0;
  const { rows } = await client.query(`SELECT version FROM ${schema}.schema_version`);
  return Number(rows[0]?.version ?? 0);
}

function assertKnown(version: number, schema: string, label: string): void {
  if (version > KNOWN)
    throw new IssuerError(
      'server_error',
      `${label}: the schema ${schema} has version ${version}, and this Mintmark knows ${KNOWN}: a newer one has used it; run that one`,
    );
}
