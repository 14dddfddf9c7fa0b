/**
 * The table of key stores: one line for each, loaded only where the
 * configuration names it (`keys.store`).
 */
import type { KubeConfig } from '@kubernetes/client-node';

/** What compose.ts hands to a store. */
export type StoreContext = {
  /** Our own effective user id. */
  readonly uid: number;
  /** Our group ids, the supplementary ones too. */
  readonly gids: readonly number[];
  /** flock(fd, LOCK_EX | LOCK_NB): whether the lock is now ours; it is freed when the fd is closed. */
  lock(fd: number): boolean;
  /** One line for the operator. */
  warn(message: string): void;
  /** How the Kubernetes API is reached; throws where it is not known. */
  kubernetes(): Promise<KubeConfig>;
};

export const stores = {
  memory: () => import('./memory.ts'),
  file: () => import('./file.ts'),
  'kubernetes-secret': () => import('./kubernetes-secret.ts'),
  postgres: () => import('./postgres.ts'),
} as const;

export type StoreName = keyof typeof stores;
