/** As much of the Kubernetes API as a test needs: what each request is answered with, and what was asked. */
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { KubeConfig } from '@kubernetes/client-node';

export type Asked = {
  readonly method: string;
  readonly path: string;
  readonly type: string | undefined;
  readonly body: unknown;
};
export type Answer = { readonly status: number; readonly body: unknown };

/** For the life of the test. Undefined: no answer at all. */
export async function fakeKubernetes(t: TestContext, answer: (asked: Asked) => Answer | undefined) {
  const asked: Asked[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    const body = await text(request);
    const one = {
      method: request.method ?? '',
      path: request.url ?? '',
      type: request.headers['content-type'],
      body: body === '' ? undefined : JSON.parse(body),
    };
    asked.push(one);
    const found = answer(one);
    if (found === undefined) return;
    response.writeHead(found.status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify(found.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const config = new KubeConfig();
  const { port } = server.address() as AddressInfo;
  config.loadFromClusterAndUser(
    { name: 'test', server: `http://127.0.0.1:${port}`, skipTLSVerify: true },
    { name: 'test' },
  );
  return { asked, config };
}

/** meta/v1 Status. */
export function failure(code: number, reason: string): Answer {
  return { status: code, body: { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason } };
}
