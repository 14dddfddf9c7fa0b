/** The store of OAuth's records: the configured one, or one beside the keys. */
import { join } from 'node:path';
import type { Config } from '../config.ts';
import { IssuerError } from '../core/errors.ts';
import type { Clock } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';
import { type RecordContext, type RecordStoreName, recordStores } from '../stores/records.ts';
import { sweepRecords } from '../stores/sweep.ts';

type OpenRecords = (block: unknown, context: RecordContext) => Promise<RecordStore>;

/** What has expired is swept out of it now and then, of every realm. */
export async function openRecords(
  config: Config,
  { clock, ...context }: RecordContext & { readonly clock: Clock },
): Promise<RecordStore> {
  const { name, block } = config.records ?? besideKeys(config.keys.store);
  const { open } = await recordStores[name as RecordStoreName]();
  const records = await (open as OpenRecords)(block, context);
  const stopSweeping = sweepRecords({ records, clock, warn: context.warn });
  const close = records.close.bind(records);
  return Object.assign(records, {
    async close() {
      await stopSweeping();
      await close();
    },
  });
}

/** Throws `server_error` where there is no room for them. */
function besideKeys({ name, block }: Config['keys']['store']): {
  readonly name: string;
  readonly block: unknown;
} {
  if (name === 'memory') return { name: 'sqlite', block: ':memory:' };
  if (name === 'postgres') return { name, block };
  if (name === 'file') {
    const directory = typeof block === 'string' ? block : (block as { readonly path: string }).path;
    return { name: 'sqlite', block: join(directory, 'records.db') };
  }
  throw new IssuerError('server_error', `records must be set: ${name} keeps none`);
}
