/** A listener that answers with what it attests of the caller: the issuer's order of checks, and nothing else. */
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { open } from '../../src/attestors/unix.ts';
import { IssuerError } from '../../src/core/errors.ts';
import type { Attestor } from '../../src/core/ports.ts';
import { peerOf } from '../../src/net/connections.ts';
import { type Limits, type Listener, listen } from '../../src/net/listen.ts';

export const clock = { elapsed: () => performance.now() / 1000 };

export type AttestingServer = { readonly path: string; readonly listener: Listener };

export type ServerOptions = {
  readonly strict?: boolean;
  /** Asked for at accept; each request names its own in `?wanted=`. */
  readonly wanted?: readonly string[];
  readonly attestor?: Attestor;
  readonly limits?: Partial<Limits>;
  /** Awaited between attest and confirm. */
  readonly beforeConfirm?: () => Promise<void>;
};

/** A directory that others may look into; removed after the test. */
export function createDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-'));
  chmodSync(directory, 0o755);
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export async function startServer(t: TestContext, options: ServerOptions = {}): Promise<AttestingServer> {
  const path = join(createDirectory(t), 'run', 'api.sock');
  mkdirSync(join(path, '..'), { mode: 0o755 });
  const listener = await serve(path, options);
  t.after(() => listener.close(0));
  return { path, listener };
}

export async function serve(path: string, options: ServerOptions): Promise<Listener> {
  const attestor = options.attestor ?? open({ executableLimitMiB: 256, hashTimeoutSeconds: 5 }, { clock });
  const wanted = new Set(options.wanted);
  const listener = await listen({
    target: { path, mode: 0o666 },
    handler: (request, response) => answer(attestor, options, request, response),
    strictPeer: options.strict,
    limits: options.limits,
    onPeer: (peer) => attestor.meet?.(peer, wanted),
  });
  return {
    ...listener,
    async close(graceMs) {
      await listener.close(graceMs);
      await attestor.close();
    },
  };
}

async function answer(
  attestor: Attestor,
  options: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const query = new URL(request.url ?? '', 'http://mintmark').searchParams.get('wanted');
  try {
    request.resume();
    if (!request.complete) await once(request, 'end');
    const peer = peerOf(request.socket);
    const wanted = new Set(query?.split(',') ?? options.wanted);
    const workload = await attestor.attest(peer, wanted);
    await options.beforeConfirm?.();
    attestor.confirm(peer, { ...workload }); // as where several attestors' facts are one workload
    const { pid, uid, gid } = peer;
    send(response, 200, { pid, uid, gid, ...workload, selectors: [...workload.selectors] });
  } catch (error) {
    const { code, detail } =
      error instanceof IssuerError ? error : { code: 'server_error', detail: String(error) };
    const status =
      { peer_unproven: 403, peer_changed: 403, temporarily_unavailable: 503 }[String(code)] ?? 500;
    send(response, status, { error: code, detail });
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, { 'Content-Length': Buffer.byteLength(text) }).end(text);
}
