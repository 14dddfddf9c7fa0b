/** The one accept point: every connection comes in here, within the same limits. */
import { createServer, type RequestListener, type Server, type ServerOptions } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { answerClientError, refuseConnect } from './bad-request.ts';
import { Connections, capturePeers, limitAddresses, type PeerOptions } from './connections.ts';
import type { TlsPair } from './tls.ts';
import { claimPath, type SocketPath } from './unix-path.ts';

/** A UNIX socket inherited from the service manager. */
export type InheritedTarget = { readonly fd: number };
export type TcpTarget = { readonly host: string; readonly port: number; readonly tls?: TlsPair | undefined };
export type ListenTarget = SocketPath | InheritedTarget | TcpTarget;

export type Limits = {
  readonly headersTimeoutMs: number;
  /** For a whole request, its body included. */
  readonly requestTimeoutMs: number;
  /** How long a connection may be idle between two requests. */
  readonly keepAliveTimeoutMs: number;
  /** How often the first two are looked at. */
  readonly checkEveryMs: number;
  readonly maxHeaderBytes: number;
  readonly maxConnections: number;
  /** UNIX sockets only. */
  readonly maxConnectionsPerUid: number;
  /** TCP only. */
  readonly maxConnectionsPerAddress: number;
};

export const DEFAULT_LIMITS: Limits = {
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 10_000,
  keepAliveTimeoutMs: 30_000,
  checkEveryMs: 1_000,
  maxHeaderBytes: 8_192,
  maxConnections: 1_024,
  maxConnectionsPerUid: 256,
  maxConnectionsPerAddress: Number.POSITIVE_INFINITY,
};

export type ListenOptions = {
  readonly target: ListenTarget;
  readonly handler: RequestListener;
  readonly limits?: Partial<Limits> | undefined;
  readonly strictPeer?: boolean | undefined;
  readonly onPeer?: PeerOptions['onPeer'];
  readonly onRefused?: PeerOptions['onRefused'];
  /** A fault that the listener survives, such as an accept without a free descriptor. */
  readonly onFault?: ((error: Error) => void) | undefined;
};

export type Listener = {
  /** For people: `unix:/path`, `unix:fd/3`, `http://host:port` or `https://host:port`. */
  readonly address: string;
  /** The TCP port, also where 0 was asked for. */
  readonly port: number | undefined;
  /** New connections get this certificate; open ones go on. Throws on a bad pair and keeps the old one. */
  setTls(pair: TlsPair): void;
  /** Accepts nothing more, lets calls in flight end for so long, then cuts them off. */
  close(graceMs: number): Promise<void>;
};

/** Throws `conflict` or `server_error` (see claimPath), or the system's error, such as EADDRINUSE. */
export async function listen(options: ListenOptions): Promise<Listener> {
  const { target } = options;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const tls = 'host' in target ? target.tls : undefined;
  const server = createHttpServer(limits, tls);
  const connections = new Connections(server, tls ? 'secureConnection' : 'connection');
  if ('host' in target)
    limitAddresses(server, limits.maxConnectionsPerAddress, connections, options.onRefused);
  else capturePeers(server, { ...options, ...limits, strictPeer: options.strictPeer ?? false });
  server.on('drop', () => {
    server.closeIdleConnections(); // who only holds one makes room for the next
    options.onRefused?.('all');
  });
  server.on('request', connections.gate(options.handler));
  server.on('connect', (_, socket) => refuseConnect(socket));
  server.on('clientError', (error: Error, socket: Socket) =>
    answerClientError(error, socket, connections.isAnswered(socket)),
  );
  const release = await start(server, target);
  let closed: Promise<void> | undefined;
  server.on('error', (error) => options.onFault?.(error));
  return {
    ...describe(server, target),
    setTls: ({ cert, key }) =>
      (server as Partial<TlsServer>).setSecureContext?.({ ...TLS_OPTIONS, cert, key }),
    close(graceMs) {
      closed ??= close(server, connections, release, graceMs);
      return closed;
    },
  };
}

const TLS_OPTIONS = { minVersion: 'TLSv1.2' } as const;

function createHttpServer(limits: Limits, tls: TlsPair | undefined): Server {
  const options: ServerOptions = {
    headersTimeout: limits.headersTimeoutMs,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: limits.checkEveryMs,
    maxHeaderSize: limits.maxHeaderBytes,
    insecureHTTPParser: false,
    requireHostHeader: false, // hasOneHost asks for more
  };
  const server = tls
    ? createTlsServer({
        ...options,
        ...TLS_OPTIONS,
        cert: tls.cert,
        key: tls.key,
        handshakeTimeout: limits.headersTimeoutMs,
      })
    : createServer(options);
  server.maxConnections = limits.maxConnections;
  return server;
}

/** Resolves, once it listens, to what gives the address back. */
async function start(server: Server, target: ListenTarget): Promise<() => void> {
  if ('fd' in target) await started(server, () => server.listen({ fd: target.fd }));
  if ('host' in target) await started(server, () => server.listen({ host: target.host, port: target.port }));
  if (!('path' in target)) return () => {};
  const claimed = await claimPath(target);
  try {
    await started(server, () => claimed.bind((path) => server.listen({ path })));
    claimed.publish();
  } catch (error) {
    server.close();
    claimed.release();
    throw error;
  }
  return claimed.release;
}

function started(server: Server, begin: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.once('listening', () => {
      server.off('error', reject);
      resolve();
    });
    begin();
  });
}

function describe(server: Server, target: ListenTarget): Pick<Listener, 'address' | 'port'> {
  if ('path' in target) return { address: `unix:${target.path}`, port: undefined };
  if ('fd' in target) return { address: `unix:fd/${target.fd}`, port: undefined };
  const { address, family, port } = server.address() as AddressInfo;
  const host = family === 'IPv6' ? `[${address}]` : address;
  return { address: `${target.tls ? 'https' : 'http'}://${host}:${port}`, port };
}

function close(
  server: Server,
  connections: Connections,
  release: () => void,
  graceMs: number,
): Promise<void> {
  return new Promise((resolve) => {
    const cut = setTimeout(() => connections.destroy(), graceMs);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    release();
    connections.drain();
  });
}
