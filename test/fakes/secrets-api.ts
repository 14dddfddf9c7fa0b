/** The part of a Kubernetes API that keeps Secrets, over HTTP, with faults on demand. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { KubeConfig } from '@kubernetes/client-node';

type SecretObject = {
  kind: 'Secret';
  metadata: { name: string; namespace: string; resourceVersion: string; labels?: Record<string, string> };
  data?: Record<string, string>;
};

/** What becomes of one request: undefined is the answer as it should be. */
export type Fault = (request: IncomingMessage, response: ServerResponse, perform: () => void) => void;

export type SecretsApi = {
  readonly config: KubeConfig;
  /** Method and path of each request. */
  readonly requests: string[];
  readonly secrets: Map<string, SecretObject>;
  /** Faults for the next requests of a method, in order; a GET of `watch` is WATCH. */
  readonly faults: { readonly method: string; readonly fault: Fault }[];
  /** Before a PATCH is looked at. */
  onPatch: (() => void) | undefined;
  watches(): number;
  dropWatches(): void;
  /** Changes a Secret as somebody else would. */
  put(name: string, data: Record<string, string> | undefined): void;
  writeKubeconfig(path: string): void;
  close(): Promise<void>;
};

export const status =
  (code: number, message = 'no reason'): Fault =>
  (_, response) =>
    answer(response, code, { kind: 'Status', code, message });
/** It does what was asked, and the answer is lost. */
export const loseAnswer: Fault = (request, _, perform) => {
  request.socket.destroy();
  perform();
};
export const hangUp: Fault = (request) => request.socket.destroy();
export const garbage: Fault = (_, response) => response.end('<html>secret-looking-text');

function answer(response: ServerResponse, code: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** RFC 7396 */
function merged(data: SecretObject['data'], patch: Readonly<Record<string, string | null>>) {
  const both = Object.entries({ ...data, ...patch });
  return Object.fromEntries(both.filter((pair): pair is [string, string] => pair[1] !== null));
}

export async function startSecretsApi(): Promise<SecretsApi> {
  const secrets = new Map<string, SecretObject>();
  const watches = new Set<ServerResponse>();
  const requests: string[] = [];
  const faults: SecretsApi['faults'] = [];
  let version = 100;

  const event = (type: string, object: unknown) => `${JSON.stringify({ type, object })}\n`;
  const tell = (type: string, object: SecretObject) => {
    for (const watch of watches) watch.write(event(type, object));
  };
  const store = (name: string, data: Record<string, string> | undefined, labels?: Record<string, string>) => {
    const known = secrets.get(name);
    const metadata = { ...known?.metadata, name, namespace: 'ns', resourceVersion: String(++version) };
    const object: SecretObject = {
      kind: 'Secret',
      metadata: { ...metadata, ...(labels && { labels }) },
      ...(data && { data }),
    };
    secrets.set(name, object);
    tell(known === undefined ? 'ADDED' : 'MODIFIED', object);
    return object;
  };

  function perform(method: string, name: string | undefined, body: string, response: ServerResponse): void {
    const found = name === undefined ? undefined : secrets.get(name);
    const { metadata, data } = body === '' ? {} : JSON.parse(body);
    if (method === 'POST' && secrets.has(metadata.name)) {
      answer(response, 409, { kind: 'Status', message: 'exists' });
    } else if (method === 'POST') {
      answer(response, 201, store(metadata.name, data, metadata.labels));
    } else if (found === undefined) {
      answer(response, 404, { kind: 'Status', message: 'none' });
    } else if (method === 'GET') {
      answer(response, 200, found);
    } else if (metadata.resourceVersion !== found.metadata.resourceVersion) {
      answer(response, 409, { kind: 'Status', message: 'changed' });
    } else {
      answer(response, 200, store(found.metadata.name, merged(found.data, data)));
    }
  }

  function watch(name: string, response: ServerResponse): void {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.write(event('BOOKMARK', { kind: 'Secret', metadata: { resourceVersion: String(version) } }));
    const found = secrets.get(name);
    if (found !== undefined) response.write(event('ADDED', found));
    watches.add(response);
    response.on('close', () => watches.delete(response));
  }

  const api = { onPatch: undefined } as { onPatch: (() => void) | undefined };
  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://api');
    const isWatch = url.searchParams.get('watch') === 'true';
    const method = isWatch ? 'WATCH' : (request.method ?? '');
    requests.push(`${method} ${url.pathname}`);
    const name = url.pathname.split('/')[6];
    const body = await text(request);
    const act = () => {
      if (method === 'PATCH') api.onPatch?.();
      if (isWatch) watch(url.searchParams.get('fieldSelector')?.split('=')[1] ?? '', response);
      else perform(method, name, body, response);
    };
    const at = faults.findIndex((fault) => fault.method === method);
    if (at === -1) return act();
    faults.splice(at, 1)[0]!.fault(request, response, act);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const config = new KubeConfig();
  config.loadFromOptions({
    clusters: [{ name: 'fake', server: url, skipTLSVerify: true }],
    users: [{ name: 'fake', token: 'fake-token' }],
    contexts: [{ name: 'fake', cluster: 'fake', user: 'fake', namespace: 'ns' }],
    currentContext: 'fake',
  });
  return Object.assign(api, {
    config,
    requests,
    secrets,
    faults,
    watches: () => watches.size,
    dropWatches: () => {
      for (const response of watches) response.destroy();
    },
    put: (name: string, data: Record<string, string> | undefined) => void store(name, data),
    writeKubeconfig: (path: string) => writeFileSync(path, config.exportConfig()),
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  });
}
