/** The server of another issuer on loopback, which answers as it is told. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export type JwksServer = {
  readonly origin: string;
  readonly port: number;
  /** What was asked for, in order. */
  readonly asked: string[];
  readonly connections: () => number;
  answers: Record<string, Answer>;
};

export const DISCOVERY = '/.well-known/openid-configuration';

export const json =
  (value: unknown, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', ...headers });
    response.end(typeof value === 'string' ? value : JSON.stringify(value));
  };

export const status =
  (code: number, headers: Readonly<Record<string, string>> = {}): Answer =>
  (_request, response) => {
    response.writeHead(code, headers);
    response.end();
  };

/** For the life of the test; it has a discovery document that names /jwks. */
export async function serveJwks(
  t: TestContext,
  jwks: unknown,
  tls?: { readonly cert: string | Buffer; readonly key: string | Buffer },
): Promise<JwksServer> {
  const asked: string[] = [];
  let connections = 0;
  const handle: Answer = (request, response) => {
    asked.push(request.url ?? '');
    const answer = Object.hasOwn(served.answers, request.url ?? '')
      ? served.answers[request.url!]
      : undefined;
    (answer ?? status(404))(request, response);
  };
  const server = tls === undefined ? createServer(handle) : createTlsServer(tls, handle);
  server.on('connection', () => connections++);
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const origin = tls === undefined ? `http://127.0.0.1:${port}` : `https://localhost:${port}`;
  const served: JwksServer = {
    origin,
    port,
    asked,
    connections: () => connections,
    answers: { [DISCOVERY]: json({ issuer: origin, jwks_uri: `${origin}/jwks` }), '/jwks': json(jwks) },
  };
  return served;
}
