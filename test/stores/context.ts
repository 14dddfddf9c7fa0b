/** What compose.ts hands to a store, for tests: a real flock and a list of the warnings. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import koffi from 'koffi';
import type { StoreContext } from '../../src/stores/index.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const flock = koffi.load('libc.so.6').func('int flock(int fd, int operation)');

export function storeContext(): StoreContext & { readonly warnings: string[] } {
  const warnings: string[] = [];
  return {
    uid: process.geteuid!(),
    gids: process.getgroups!(),
    lock: (fd) => flock(fd, LOCK_EX | LOCK_NB) === 0,
    warn: (message) => warnings.push(message),
    kubernetes: async () => {
      throw new Error('no cluster here');
    },
    warnings,
  };
}

/** A directory of this test's own that goes when it ends. */
export async function scratch(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'mintmark-store-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}
