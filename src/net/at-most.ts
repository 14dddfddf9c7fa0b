import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for the task, and for no longer than that: undefined then. */
export async function atMost<T>(seconds: number, task: Promise<T>): Promise<T | undefined> {
  const timer = new AbortController();
  const late = sleep(seconds * 1000, undefined, { signal: timer.signal }).catch(() => undefined);
  try {
    return await Promise.race([task, late]);
  } finally {
    timer.abort();
  }
}
