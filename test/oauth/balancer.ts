/** Stands for a load balancer: one address, each request to the next of the replicas that live. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { defer, type Scope } from '../system/start.ts';

export type Balancer = {
  readonly issuer: string;
  /** The replicas' ports, in turn. */
  ports: number[];
  /** How many requests each port has answered. */
  readonly answered: Map<number, number>;
};

/** Who answers nothing is passed over; who ends in the middle of an answer is a 502. */
export async function startBalancer(scope: Scope): Promise<Balancer> {
  const server = createServer((asked, answer) => void pass(balancer, turn++, asked, answer));
  let turn = 0;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(scope, () => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const balancer: Balancer = { issuer: `http://127.0.0.1:${port}`, ports: [], answered: new Map() };
  return balancer;
}

async function pass(
  { ports, answered }: Balancer,
  turn: number,
  asked: IncomingMessage,
  answer: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of asked) chunks.push(chunk as Buffer);
  const order = ports.map((_, n) => ports[(turn + n) % ports.length] ?? 0);
  for (const port of order) {
    const outcome = await forward(port, asked, Buffer.concat(chunks), answer);
    if (outcome === 'answered') answered.set(port, (answered.get(port) ?? 0) + 1);
    if (outcome !== 'nobody') return;
  }
  answer.writeHead(502).end('no replica');
}

type Forwarded = 'answered' | 'broken' | 'nobody';

function forward(
  port: number,
  { method, url, headers }: IncomingMessage,
  body: Buffer,
  answer: ServerResponse,
): Promise<Forwarded> {
  return new Promise((resolve) => {
    const breakOff = () => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502).end('the replica broke off');
      resolve('broken');
    };
    const target = { host: '127.0.0.1', port, method, path: url, agent: false };
    request({ ...target, headers: { ...headers, connection: 'close' } })
      .on('error', (error: NodeJS.ErrnoException) =>
        error.code === 'ECONNREFUSED' ? resolve('nobody') : breakOff(),
      )
      .on('response', (response) => {
        const { statusCode = 502, headers: given } = response;
        const parts: Buffer[] = [];
        response
          .on('error', breakOff)
          .on('data', (part: Buffer) => parts.push(part))
          .on('end', () => {
            answer.writeHead(statusCode, { ...given, connection: 'keep-alive' }).end(Buffer.concat(parts));
            resolve('answered');
          });
      })
      .end(body);
  });
}
