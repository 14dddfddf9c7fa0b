/** Replicas of one issuer, whose keys and records are in one PostgreSQL. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Site, startSite } from '../oauth/site.ts';
import type { Scope, Settings } from '../system/start.ts';
import type { PostgresServer } from './postgres-server.ts';

export type SharedSite = Site & {
  /** Every row of the tables, as text. */
  rows(): Promise<string>;
};

export async function startSharedSite(
  scope: Scope,
  postgres: PostgresServer,
  count: number,
  oauth: Settings = {},
  more: Settings = {},
): Promise<SharedSite> {
  const url = await postgres.createDatabase();
  const kek = randomBytes(32);
  const settingsOf = ({ directory }: { readonly directory: string }) => {
    const [urlFile, file] = [join(directory, 'url'), join(directory, 'kek')];
    writeFileSync(urlFile, url, { mode: 0o400 });
    writeFileSync(file, kek, { mode: 0o400 });
    return { keys: { store: { postgres: { urlFile } }, encryption: { file } }, ...more };
  };
  const site = await startSite(scope, count, settingsOf, oauth);
  const read = async (table: string) => {
    const database = new URL(url).pathname.slice(1);
    const { rows } = await postgres.sql(`SELECT t::text AS row FROM mintmark.${table} t`, database);
    return rows.map(({ row }) => row).join('\n');
  };
  return Object.assign(site, {
    rows: async () => (await read('records')) + (await read('documents')),
  });
}
