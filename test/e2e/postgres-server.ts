/**
 * PostgreSQL as Debian packs it, in a directory of the test's own: it listens on a UNIX socket there, and
 * where TCP is asked for on a port of the loopback. Ended by its pid.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chownSync,
  existsSync,
  globSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { defer, type Scope, until } from '../system/start.ts';

/** The newest; undefined where there is none. */
export const POSTGRES_BIN = globSync('/usr/lib/postgresql/*/bin/postgres')
  .sort((a, b) => Number(a.split('/')[4]) - Number(b.split('/')[4]))
  .at(-1)
  ?.replace(/\/postgres$/, '');

/** Why tests of it cannot run here; false where they can. MINTMARK_TEST_REQUIRE_ALL=1 makes that a failure. */
export function postgresMissing(): string | false {
  if (POSTGRES_BIN !== undefined) return false;
  const reason = 'no PostgreSQL server in /usr/lib/postgresql (apt-get install postgresql)';
  assert.notEqual(process.env.MINTMARK_TEST_REQUIRE_ALL, '1', reason);
  return reason;
}

export type PostgresServer = {
  readonly port: number;
  /** A database of its own, as its owner, who is no superuser. */
  createDatabase(): Promise<string>;
  /** Runs SQL as the superuser. */
  sql(text: string, database?: string): Promise<pg.QueryResult>;
  start(): Promise<void>;
  /** `fast` ends connections in order, `immediate` as a crash does. */
  stop(mode: 'fast' | 'immediate'): Promise<void>;
};

const USER = 'postgres';
const PASSWORD = 'p%ss/w:rd@';

export type PostgresOptions = {
  /** Lines of postgresql.conf. */
  readonly settings?: readonly string[];
  /** In PEM: it then listens on a port of the loopback too, where it takes passwords. */
  readonly tls?: { readonly certificate: string; readonly key: string };
};

/** postgres does not run as root: then it is the account that Debian's package makes. */
const asUser = (command: string, args: readonly string[]): readonly [string, readonly string[]] =>
  process.getuid?.() === 0
    ? ['setpriv', ['--reuid', USER, '--regid', USER, '--clear-groups', command, ...args]]
    : [command, args];

export async function startPostgres(scope: Scope, options: PostgresOptions = {}): Promise<PostgresServer> {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-pg-'));
  defer(scope, () => rmSync(directory, { recursive: true, force: true }));
  if (process.getuid?.() === 0) chownSync(directory, idOf('-u'), idOf('-g'));
  const data = join(directory, 'data');
  const [command, args] = asUser(join(POSTGRES_BIN ?? '', 'initdb'), [
    ...['--pgdata', data, '--username', USER, '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C.UTF-8'],
    '--no-sync',
  ]);
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'pipe'], cwd: '/' });
  const port = 20_000 + Math.floor(Math.random() * 12_000);
  appendFileSync(
    join(data, 'postgresql.conf'),
    [
      `port = ${port}`,
      `listen_addresses = '${options.tls === undefined ? '' : '127.0.0.1'}'`,
      `unix_socket_directories = '${directory}'`,
      'max_connections = 60',
      'shared_buffers = 16MB',
      // Tests end the server, not the machine.
      'fsync = off',
      ...(options.settings ?? []),
      ...(options.tls === undefined ? [] : ['ssl = on', ...writeTls(data, options.tls)]),
      '',
    ].join('\n'),
  );
  const access = `local all ${USER} trust\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n`;
  writeFileSync(join(data, 'pg_hba.conf'), access);
  return run(scope, directory, data, port);
}

const idOf = (flag: string): number => Number(execFileSync('id', [flag, USER], { encoding: 'utf8' }));

/** The settings that name them. PostgreSQL wants the key to be its own. */
function writeTls(data: string, tls: NonNullable<PostgresOptions['tls']>): readonly string[] {
  for (const [name, text] of Object.entries({ 'server.crt': tls.certificate, 'server.key': tls.key })) {
    writeFileSync(join(data, name), text, { mode: 0o600 });
    if (process.getuid?.() === 0) chownSync(join(data, name), idOf('-u'), idOf('-g'));
  }
  return ["ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'"];
}

async function run(scope: Scope, directory: string, data: string, port: number): Promise<PostgresServer> {
  let child: ChildProcess | undefined;
  const host = encodeURIComponent(directory);
  const log = join(directory, 'log');

  const sql = async (text: string, database = 'postgres') => {
    const client = new pg.Client({ host: directory, port, user: USER, database, password: async () => '' });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await client.query(text);
    } finally {
      await client.end();
    }
  };
  const stop = async (mode: 'fast' | 'immediate') => {
    if (child === undefined) return;
    const running = child;
    child = undefined;
    const ended = once(running, 'exit');
    // setpriv has become the server: the pid is its own.
    running.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
    await ended;
  };
  const start = async () => {
    const out = openSync(log, 'a');
    const [command, args] = asUser(join(POSTGRES_BIN ?? '', 'postgres'), ['-D', data]);
    child = spawn(command, args, { stdio: ['ignore', out, out], cwd: '/' });
    await until(
      () =>
        existsSync(join(directory, `.s.PGSQL.${port}`)) &&
        sql('SELECT 1').then(
          () => true,
          () => false,
        ),
      () => `PostgreSQL: ${readFileSync(log, 'utf8')}`,
    );
  };
  defer(scope, () => stop('immediate'));
  await start();
  let databases = 0;
  return {
    port,
    sql,
    start,
    stop,
    async createDatabase() {
      const name = `db${++databases}`;
      await sql(`CREATE ROLE ${name} LOGIN PASSWORD '${PASSWORD}'`);
      await sql(`CREATE DATABASE ${name} OWNER ${name}`);
      return `postgres://${name}:${encodeURIComponent(PASSWORD)}@${host}:${port}/${name}`;
    },
  };
}
