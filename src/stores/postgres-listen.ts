/** LISTEN on one channel, connected again until it is stopped: no fault ends it, and none brings a storm of calls. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { Database } from './postgres-database.ts';

const PAUSE_MIN_MS = 250;
const PAUSE_MAX_MS = 15_000;
/** A connection that lasted for this long was a good one. */
const LIVED_MS = 10_000;
/** How often the server must say that it is still there. */
const PING_MS = 15_000;

/**
 * Calls `onMessage` with the payload of each NOTIFY, and with undefined after each connect, since
 * some may have been missed. The first fault of a row is told. Returns what stops it.
 */
export function listen(
  database: Database,
  channel: string,
  warn: (message: string) => void,
  onMessage: (payload: string | undefined) => void,
): () => void {
  const stopping = new AbortController();
  void follow(database, channel, warn, onMessage, stopping.signal);
  return () => stopping.abort();
}

async function follow(
  database: Database,
  channel: string,
  warn: (message: string) => void,
  onMessage: (payload: string | undefined) => void,
  signal: AbortSignal,
): Promise<void> {
  let faults = 0;
  while (!signal.aborted) {
    const begunAt = performance.now();
    const fault = await listenOnce(database.createClient(), channel, onMessage, signal);
    if (signal.aborted) return;
    if (performance.now() - begunAt > LIVED_MS) faults = 0;
    if (faults === 0)
      warn(
        `${database.faultOf(fault).detail}; until it is listened to again, the keys are read every few seconds`,
      );
    faults++;
    const pause = Math.min(PAUSE_MAX_MS, PAUSE_MIN_MS * 2 ** Math.min(faults - 1, 10));
    await sleep(pause * (0.5 + Math.random() / 2), undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** Resolves with what ended it. */
async function listenOnce(
  client: Client,
  channel: string,
  onMessage: (payload: string | undefined) => void,
  signal: AbortSignal,
): Promise<unknown> {
  const ended = new AbortController();
  const end = () => ended.abort(new Error('the connection ended'));
  client.on('end', end);
  client.on('error', (error) => ended.abort(error));
  client.on('notification', ({ payload }) => onMessage(payload));
  signal.addEventListener('abort', end, { once: true });
  try {
    await client.connect();
    await client.query(`LISTEN ${channel}`);
    onMessage(undefined);
    while (!ended.signal.aborted) {
      await sleep(PING_MS, undefined, { signal: ended.signal, ref: false });
      await client.query('SELECT 1');
    }
    return ended.signal.reason;
  } catch (error) {
    return ended.signal.aborted ? ended.signal.reason : error;
  } finally {
    signal.removeEventListener('abort', end);
    // Not waited for: a server that is gone does not answer.
    client.end().catch(() => undefined);
  }
}
