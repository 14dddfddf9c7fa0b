/** A listener of the test's own, and raw connections to it. */
import { mkdirSync, readdirSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import type { UnixPeer } from '../../src/core/ports.ts';
import { type Limits, type ListenTarget, listen } from '../../src/net/listen.ts';
import { createDirectory } from './server.ts';

export const HOST = 'Host: mintmark\r\n';
export const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;
/** Short, so that the tests are; what they do is the same. */
export const QUICK: Partial<Limits> = { headersTimeoutMs: 300, requestTimeoutMs: 600, checkEveryMs: 50 };

export const greet: RequestListener = (request, response) => {
  request.resume().on('end', () => response.end(`hello ${request.url}`));
};

export type Options = {
  readonly handler?: RequestListener;
  readonly limits?: Partial<Limits>;
  readonly target?: ListenTarget;
};

export async function open(t: TestContext, { handler = greet, limits = {}, target }: Options = {}) {
  const path = join(createDirectory(t), 'run', 'api.sock');
  mkdirSync(join(path, '..'), { mode: 0o755 });
  const peers: UnixPeer[] = [];
  const listener = await listen({
    target: target ?? { path, mode: 0o666 },
    handler,
    limits,
    onPeer: (peer) => peers.push(peer),
  });
  t.after(() => listener.close(0));
  return { path, listener, peers };
}

export type Client = { readonly socket: Socket; readonly closed: Promise<string> };

/** `closed` is all that came, once the server has ended the connection. */
export function dial(t: TestContext, path: string, text = ''): Client {
  const socket = connect(path);
  let received = '';
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  t.after(() => socket.destroy());
  socket.write(text);
  return { socket, closed: new Promise((resolve) => socket.on('close', () => resolve(received))) };
}

export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setTimeout(5);
}

export const openDescriptors = () => readdirSync('/proc/self/fd').length;
