/**
 * The table of stores of OAuth's records (core/records.ts): one line for each, loaded only where
 * the configuration names it.
 */
import type { StoreContext } from './index.ts';

/** What compose.ts hands to one. */
export type RecordContext = Pick<StoreContext, 'uid' | 'warn'>;

export const recordStores = {
  sqlite: () => import('./sqlite.ts'),
  postgres: () => import('./postgres-records.ts'),
} as const;

export type RecordStoreName = keyof typeof recordStores;
