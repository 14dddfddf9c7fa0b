import { setTimeout as sleep } from 'node:timers/promises';

/** Waits for the task, and for no longer than that. */
export async function atMost(seconds: number, task: Promise<unknown>): Promise<void> {
  const timer = new AbortController();
  const late = sleep(seconds * 1000, undefined, { signal: timer.signal }).catch(() => undefined);
  try {
    await Promise.race([task, late]);
  } finally {
    timer.abort();
  }
}
