/** The doors' frame on a real HTTP server, on a UNIX socket in a directory of its own, and a client for it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createFrame, type Door, type FrameParts } from '../../src/doors/door.ts';
import { type CollectingRecorder, collectingRecorder } from './recorder.ts';
import { fakePeer } from './workload.ts';

export type Answer = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
};

export type Question = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
};

export type Served = {
  readonly recorder: CollectingRecorder;
  ask(path: string, question?: Question): Promise<Answer>;
  /** Sends the bytes as they are; resolves with all that came back once the server has closed. */
  sendRaw(bytes: string): Promise<string>;
  /** Sends the bytes and is gone, without a wait for an answer. */
  hangUp(bytes: string): Promise<void>;
};

/** For the life of the test. */
export async function serve(
  t: TestContext,
  door: Door | readonly Door[],
  parts: Partial<FrameParts> = {},
): Promise<Served> {
  const doors = [door].flat();
  const recorder = collectingRecorder();
  const directory = await mkdtemp(join(tmpdir(), 'mintmark-door-'));
  const socketPath = join(directory, 'api.sock');
  const surface = doors[0]!.surface;
  const frame = createFrame({ surface, doors, version: '0.0.0', recorder, peerOf: fakePeer, ...parts });
  const server = createServer(frame);
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.after(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(directory, { recursive: true });
  });
  return {
    recorder,
    ask: (path, question) => ask(socketPath, path, question),
    sendRaw: (bytes) => sendRaw(socketPath, bytes),
    hangUp: (bytes) =>
      new Promise((resolve) => {
        const socket = connect(socketPath, () => socket.write(bytes, () => socket.destroy()));
        socket.on('close', () => resolve());
      }),
  };
}

function ask(socketPath: string, path: string, { method = 'GET', headers = {}, body }: Question = {}) {
  return new Promise<Answer>((resolve, reject) => {
    const call = request({ socketPath, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({
          status: response.statusCode!,
          headers: response.headers,
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    call.on('error', reject);
    call.end(body);
  });
}

function sendRaw(socketPath: string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const socket = connect(socketPath, () => socket.write(bytes));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => undefined); // a reset after the answer
    socket.on('close', () => resolve(Buffer.concat(chunks).toString()));
  });
}
