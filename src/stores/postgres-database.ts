/**
 * A pool of connections to one PostgreSQL. What fails is an IssuerError without any value of a query;
 * a connection that failed is given up, so that the next call finds the server that is there by then.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, ClientConfig, Pool, PoolClient, QueryResult } from 'pg';
import { IssuerError } from '../core/errors.ts';
import { type Connection, loadConnection, type PostgresBlock } from './postgres-config.ts';
import { migrate } from './postgres-schema.ts';

export type Query = {
  /** Of the prepared statement, which each connection keeps. */
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
};

export interface Database {
  /** For messages; no password. */
  readonly label: string;
  /** Of the tables, an SQL identifier. */
  readonly schema: string;
  /**
   * `isRead`: it may run twice. Throws `conflict` where a unique name is taken, else
   * `temporarily_unavailable`, after which a change was made or not; `server_error` on corruption.
   */
  query<R>(query: Query, isRead?: boolean): Promise<{ readonly rows: readonly R[]; readonly count: number }>;
  /** A connection outside of the pool, not yet made. */
  createClient(): Client;
  /** What a failed call becomes. */
  faultOf(error: unknown): IssuerError;
  assertOpen(): void;
  close(): Promise<void>;
}

/** Less than limitTime's, whose fault says no more than that it is late. */
const CONNECT_MS = 4_000;
const STATEMENT_MS = 7_000;
const QUERY_MS = 8_000;
const IDLE_MS = 30_000;
/** A pool comes to all servers behind one name, and forgets old ones. */
const LIFE_SECONDS = 1_800;
const RETRY_SECONDS = 1;
const ATTEMPTS = 5;
/** What took longer than this is not tried again. */
const REPEAT_MS = 1_000;
const PAUSE_MS = 50;
/** The type int8, which pg hands out as text: ours are all below 2^53. */
const INT8 = 20;

/** Connects and brings the tables up to date. */
export async function openDatabase(block: PostgresBlock): Promise<Database> {
  const [pg, connection] = await Promise.all([import('pg'), loadConnection(block)]);
  const settings: ClientConfig = {
    ...connection,
    application_name: 'mintmark',
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_MS,
    statement_timeout: STATEMENT_MS,
    query_timeout: QUERY_MS,
    types: {
      getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
        oid === INT8 ? Number : pg.types.getTypeParser(oid, format)) as typeof pg.types.getTypeParser,
    },
  };
  const pool = new pg.Pool({
    ...settings,
    max: block.maxConnections,
    idleTimeoutMillis: IDLE_MS,
    maxLifetimeSeconds: LIFE_SECONDS,
  });
  // Without a listener a lost connection would end the process. The next call says what there is to say.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => void client.on('error', () => undefined));
  const database = new PooledDatabase(pool, connection, block.schema, () => {
    const client = new pg.Client(settings);
    client.on('error', () => undefined);
    return client;
  });
  try {
    await database.migrate();
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

class PooledDatabase implements Database {
  readonly label: string;
  readonly schema: string;
  readonly createClient: () => Client;
  readonly #pool: Pool;
  #closing: Promise<void> | undefined;

  constructor(pool: Pool, connection: Connection, schema: string, createClient: () => Client) {
    this.label = connection.label;
    this.schema = schema;
    this.createClient = createClient;
    this.#pool = pool;
  }

  async migrate(): Promise<void> {
    await this.#use(
      (client) => migrate(client, this.schema, this.label),
      () => false,
    );
  }

  async query<R>(
    query: Query,
    isRead = false,
  ): Promise<{ readonly rows: readonly R[]; readonly count: number }> {
    const config = { ...query, values: [...query.values] };
    const mayRepeat = (error: unknown) => isUndone(error) || (isRead && isLost(error));
    const { rows, rowCount } = await this.#use<QueryResult>((client) => client.query(config), mayRepeat);
    return { rows, count: rowCount ?? 0 };
  }

  faultOf(error: unknown): IssuerError {
    if (error instanceof IssuerError) return error;
    const state = stateOf(error);
    const detail = `${this.label}: ${reasonOf(error)}`;
    if (state === UNIQUE_VIOLATION) return new IssuerError('conflict', detail);
    if (state !== undefined && LASTING.test(state)) return new IssuerError('server_error', detail);
    return new IssuerError('temporarily_unavailable', detail, { retryAfterSeconds: RETRY_SECONDS });
  }

  assertOpen(): void {
    if (this.#closing !== undefined)
      throw new IssuerError('temporarily_unavailable', `${this.label}: the store is closed`);
  }

  close(): Promise<void> {
    this.#closing ??= this.#pool.end();
    return this.#closing;
  }

  /** Again where nothing has happened yet, since there was no connection, or where `mayRepeat` says so. */
  async #use<T>(
    task: (client: PoolClient) => Promise<T>,
    mayRepeat: (error: unknown) => boolean,
  ): Promise<T> {
    const begunAt = performance.now();
    for (let attempt = 1; ; attempt++) {
      this.assertOpen();
      let client: PoolClient | undefined;
      try {
        client = await this.#pool.connect();
        const answer = await task(client);
        client.release();
        return answer;
      } catch (error) {
        client?.release(!isHarmless(error));
        const isAgain = client === undefined ? attempt === 1 : mayRepeat(error);
        const isLate = performance.now() - begunAt > REPEAT_MS;
        if (!isAgain || isLate || attempt >= ATTEMPTS) throw this.faultOf(error);
        await sleep(PAUSE_MS * (attempt + Math.random()));
      }
    }
  }
}

/** SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const UNIQUE_VIOLATION = '23505';
const UNDONE = ['40001', '40P01'];
/** Data, syntax and corruption: the same call fails again. Missing rights (42501) may be given. */
const LASTING = /^(?:22|42(?!501)|XX00[12])/;

function stateOf(error: unknown): string | undefined {
  const code = error instanceof Error && 'severity' in error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** A deadlock or a serialization failure: rolled back. */
const isUndone = (error: unknown): boolean => UNDONE.includes(stateOf(error) ?? '');

/** The connection is gone, by its own or by the server's word (class 57: it shuts down). */
function isLost(error: unknown): boolean {
  const state = stateOf(error);
  if (state !== undefined) return state.startsWith('57P') || state.startsWith('08');
  return !(error instanceof IssuerError) && !/timeout/i.test((error as Error).message);
}

/** The connection can be used again. */
const isHarmless = (error: unknown): boolean => stateOf(error) === UNIQUE_VIOLATION || isUndone(error);

/** PostgreSQL's sentence; of class 22 and of TLS keys not even that, which would quote a value. */
function reasonOf(error: unknown): string {
  const state = stateOf(error);
  if (state?.startsWith('22')) return `SQLSTATE ${state}`;
  if (error instanceof AggregateError) return error.errors.map(reasonOf).join('; ');
  const message = error instanceof Error ? error.message : 'failed';
  return state === undefined ? message : `${message} (SQLSTATE ${state})`;
}
