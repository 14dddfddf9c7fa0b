/** A socket that answers like Docker's, with what the test says. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { createDirectory } from '../attack/server.ts';

const vector = (name: string) =>
  JSON.parse(readFileSync(new URL(`../attestors/vectors/${name}.json`, import.meta.url), 'utf8'));

/** What Docker 20.10 answered of a container that Compose 1.29 started from an image of a registry. */
export const containerVector = () => vector('docker-20.10-container');
export const imageVector = () => vector('docker-20.10-image');

export type FakeDocker = { readonly socket: string; readonly asked: string[] };

/** `asked` are the paths of all requests. */
export async function startDocker(t: TestContext, handler: RequestListener): Promise<FakeDocker> {
  const socket = join(createDirectory(t), 'docker.sock');
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? '');
    handler(request, response);
  });
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  server.listen(socket);
  await once(server, 'listening');
  return { socket, asked };
}

/** Answers by path; everything else is not there. */
export function documents(byPath: Readonly<Record<string, unknown>>): RequestListener {
  return (request, response) => {
    const found = byPath[request.url ?? ''];
    response
      .writeHead(found === undefined ? 404 : 200, { 'Content-Type': 'application/json' })
      .end(JSON.stringify(found ?? { message: 'No such container' }));
  };
}
