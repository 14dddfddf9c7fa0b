/**
 * Bodies that are being read, of callers who have proven nothing yet: few at once, none for long. Where there
 * are too many the one that was begun first gives way, since an honest body is there at once and a slow one is not.
 * What it still sends is thrown away before it is answered: a client that writes meets no closed connection.
 */
import type { IncomingMessage } from 'node:http';
import { IssuerError } from '../core/errors.ts';
import { readBody } from './body.ts';

export type ReadingLimits = {
  /** Bodies at once. */
  readonly most: number;
  /** And of one address. */
  readonly mostPerAddress: number;
  /** How long a body may take. */
  readonly deadlineMs: number;
  readonly maxBytes: number;
};

type Body = { readonly address: string | undefined; readonly giveUp: AbortController };

const RETRY_SECONDS = 1;

/** Throws what `readBody` throws, `request_timeout`, and `temporarily_unavailable` where it gave way. */
export function createReading(limits: ReadingLimits): (request: IncomingMessage) => Promise<Buffer> {
  const { most, mostPerAddress, deadlineMs, maxBytes } = limits;
  /** In the order in which they were begun. */
  const bodies = new Set<Body>();
  const makeRoom = (rivals: readonly Body[], room: number) => {
    for (const body of rivals.slice(0, Math.max(0, rivals.length - room))) {
      bodies.delete(body);
      body.giveUp.abort(
        new IssuerError('temporarily_unavailable', 'too many bodies are being read', {
          retryAfterSeconds: RETRY_SECONDS,
        }),
      );
    }
  };
  return async (request) => {
    const body = { address: request.socket.remoteAddress, giveUp: new AbortController() };
    bodies.add(body);
    makeRoom(
      [...bodies].filter(({ address }) => address === body.address),
      mostPerAddress,
    );
    makeRoom([...bodies], most);
    const late = () => new IssuerError('request_timeout', `the body was not there after ${deadlineMs} ms`);
    const timer = setTimeout(() => body.giveUp.abort(late()), deadlineMs);
    try {
      return await readBody(request, maxBytes, body.giveUp.signal);
    } catch (error) {
      if ((error as IssuerError).code === 'temporarily_unavailable') await discard(request, limits);
      throw error;
    } finally {
      clearTimeout(timer);
      bodies.delete(body);
    }
  };
}

/** Reads the rest to its end, for a while and a length at most. */
async function discard(request: IncomingMessage, { maxBytes, deadlineMs }: ReadingLimits): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, deadlineMs);
    let left = maxBytes;
    const end = () => {
      clearTimeout(timer);
      resolve();
    };
    request.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) end();
    });
    for (const event of ['end', 'close', 'error']) request.once(event, end);
    request.resume();
  });
  request.removeAllListeners('data');
  request.pause();
}
