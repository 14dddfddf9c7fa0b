/** One watch of the Secret after the other, until it is stopped: no fault ends it, and none brings a storm of calls. */
import { setTimeout as sleep } from 'node:timers/promises';
import { IssuerError } from '../core/errors.ts';
import type { Secret, SecretApi } from './secret-api.ts';

const PAUSE_MIN_MS = 250;
const PAUSE_MAX_MS = 15_000;
/** A watch that went on for this long was a good one. */
const LIVED_MS = 10_000;

/** Each watch begins with the Secret as it is. The first fault of a row is told. Returns what stops it. */
export function followSecret(
  api: Pick<SecretApi, 'watch'>,
  warn: (message: string) => void,
  onSecret: (secret: Secret | undefined) => void,
): () => void {
  const stopping = new AbortController();
  void follow(api, warn, onSecret, stopping.signal);
  return () => stopping.abort(new Error('the watch was stopped'));
}

async function follow(
  api: Pick<SecretApi, 'watch'>,
  warn: (message: string) => void,
  onSecret: (secret: Secret | undefined) => void,
  signal: AbortSignal,
): Promise<void> {
  let faults = 0;
  while (!signal.aborted) {
    const begunAt = performance.now();
    const fault = await api.watch(onSecret, signal).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (signal.aborted) return;
    if (performance.now() - begunAt > LIVED_MS) faults = 0;
    if (fault !== undefined && faults === 0) {
      const why = fault instanceof IssuerError ? fault.detail : String(fault);
      warn(`${why}; until it is watched again, it is read every few seconds`);
    }
    faults++;
    const pause = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(faults - 1, 10));
    await sleep(pause * (0.5 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
  }
}
