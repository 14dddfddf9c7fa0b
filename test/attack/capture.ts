/** A listener of which the test captures the peers itself, from any kernel. */
import { readdirSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { ErrorCode, IssuerError } from '../../src/core/errors.ts';
import * as kernel from '../../src/net/kernel.ts';
import { type CapturedPeer, capturePeer, type PeerKernel } from '../../src/net/peer.ts';
import { createDirectory } from './server.ts';

export const isCode = (code: ErrorCode) => (error: unknown) => (error as IssuerError).code === code;
export const fails = (code: string) => () => {
  throw Object.assign(new Error(code), { code });
};

export type Connected = {
  readonly fd: number;
  readonly capture: (strict?: boolean, calls?: Partial<PeerKernel>) => CapturedPeer;
};

export const real: PeerKernel = { ...kernel, overflowIds: () => ({ uid: undefined, gid: undefined }) };

/** A listener of which the test captures the peers itself. */
export async function openServer(t: TestContext) {
  const path = join(createDirectory(t), 'socket');
  const sockets: Socket[] = [];
  const waiting: ((socket: Socket) => void)[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    t.after(() => socket.destroy());
    const next = waiting.shift();
    if (next) next(socket);
    else sockets.push(socket);
  });
  await new Promise<void>((resolve) => server.listen({ path, writableAll: true }, resolve));
  t.after(() => server.close());
  const accepted = async (): Promise<Connected> => {
    const socket = sockets.shift() ?? (await new Promise<Socket>((resolve) => waiting.push(resolve)));
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    return {
      fd,
      capture(strict = true, calls = {}) {
        const peer = capturePeer(fd, { strict }, { ...real, ...calls });
        t.after(() => peer.close());
        return peer;
      },
    };
  };
  return { path, accepted };
}

export const openDescriptors = () => readdirSync('/proc/self/fd').length;
