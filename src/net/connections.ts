/** The connections of an accept point: whose each is, how many a user has, and which is being answered. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { IssuerError } from '../core/errors.ts';
import type { UnixPeer } from '../core/ports.ts';
import { hasOneHost, refuse } from './bad-request.ts';
import { type CapturedPeer, capturePeer } from './peer.ts';

const peers = new WeakMap<Socket, CapturedPeer | IssuerError>();

/**
 * The peer of a request's `req.socket` (`res.socket` is null for a pipelined
 * one). Throws what kept the kernel from proving it, and `peer_unproven` where
 * the connection is no UNIX one.
 */
export function peerOf(socket: Socket): UnixPeer {
  const peer = peers.get(socket) ?? new IssuerError('peer_unproven', 'this is no UNIX connection');
  if (peer instanceof IssuerError) throw peer;
  return peer;
}

export type PeerOptions = {
  /** See CaptureOptions. */
  readonly strictPeer: boolean;
  readonly maxConnectionsPerUid: number;
  /** Called once for each proven peer, before a byte of it is read. */
  readonly onPeer?: ((peer: UnixPeer) => void) | undefined;
  readonly onRefused?: OnRefused | undefined;
};

/** Called for each connection that was closed unread, with what there are too many of. */
export type OnRefused = (limit: 'all' | 'uid' | 'address') => void;

/** The key in the count of connections of callers whose uid was not proven. */
const UNPROVEN = -1;

/** Takes each connection's peer from the kernel, before anything is read from it. */
export function capturePeers(server: Server, options: PeerOptions): void {
  const connectionsOf = new Map<number, number>();
  server.prependListener('connection', (socket: Socket) => {
    const peer = capture(socket, options.strictPeer);
    const uid = peer instanceof IssuerError ? UNPROVEN : peer.uid;
    const count = countOf(connectionsOf, uid, socket);
    peers.set(socket, peer);
    if (!(peer instanceof IssuerError)) socket.once('close', () => peer.close());
    if (count > options.maxConnectionsPerUid) {
      socket.destroy();
      options.onRefused?.('uid');
    } else if (!(peer instanceof IssuerError)) options.onPeer?.(peer);
  });
}

/** One more of them for as long as the connection lasts; returns how many that makes. */
function countOf<K>(counts: Map<K, number>, key: K, socket: Socket): number {
  const count = (counts.get(key) ?? 0) + 1;
  counts.set(key, count);
  socket.once('close', () => {
    const left = (counts.get(key) ?? 1) - 1;
    if (left === 0) counts.delete(key);
    else counts.set(key, left);
  });
  return count;
}

/** Closes what an address has beyond its number of connections, before TLS begins. */
export function limitAddresses(
  server: Server,
  most: number,
  connections: Connections,
  onRefused: OnRefused | undefined,
): void {
  const connectionsOf = new Map<string | undefined, number>();
  server.prependListener('connection', (socket: Socket) => {
    const { remoteAddress } = socket;
    if (countOf(connectionsOf, remoteAddress, socket) <= most) return;
    socket.destroy();
    connections.closeIdle(remoteAddress); // who only holds one makes room for the next
    onRefused?.('address');
  });
}

function capture(socket: Socket, strict: boolean): CapturedPeer | IssuerError {
  try {
    return capturePeer(descriptorOf(socket), { strict });
  } catch (error) {
    if (error instanceof IssuerError) return error;
    throw error;
  }
}

/** Node has no public way to a socket's descriptor. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: number } | null };
  if (handle?.fd === undefined || handle.fd < 0)
    throw new IssuerError('peer_unproven', 'the connection has no descriptor any more');
  return handle.fd;
}

/** Knows which connection is being answered, so that closing lets it end and a second request waits its turn. */
export class Connections {
  /** Accepted; with TLS, the connections beneath it. */
  readonly #accepted = new Set<Socket>();
  /** Those that requests come from. */
  readonly #open = new Set<Socket>();
  readonly #answering = new WeakMap<Socket, ServerResponse>();

  /** `event` is the server's for a connection that requests come from: `connection`, or `secureConnection` for TLS. */
  constructor(server: Server, event: 'connection' | 'secureConnection') {
    server.prependListener(event, (socket: Socket) => keep(this.#open, socket));
    server.prependListener('connection', (socket: Socket) => keep(this.#accepted, socket));
  }

  /** Hands requests to `handler`, one at a time for each connection, and answers the malformed ones itself. */
  gate(handler: RequestListener): RequestListener {
    return (request: IncomingMessage, response: ServerResponse) => {
      const { socket } = request;
      const before = this.#answering.get(socket);
      if (before && !before.writableEnded) {
        refuse(response, 503, 'temporarily_unavailable');
        return;
      }
      this.#answering.set(socket, response);
      if (hasOneHost(request)) handler(request, response);
      else refuse(response, 400, 'invalid_request');
    };
  }

  /** Whether what is being read has its answer, or a part of it, so that no other can be sent. */
  isAnswered(socket: Socket): boolean {
    const response = this.#answering.get(socket);
    return response?.headersSent === true && !(response.writableFinished && response.req.complete);
  }

  /** Ends the connections of an address that were answered and only wait. */
  closeIdle(address: string | undefined): void {
    for (const socket of this.#open)
      if (socket.remoteAddress === address && this.#answering.get(socket)?.writableFinished) socket.destroy();
  }

  /** Ends each connection, at once or as soon as it is answered. */
  drain(): void {
    for (const socket of this.#open) {
      const response = this.#answering.get(socket);
      if (response === undefined || response.writableFinished) socket.destroy();
      else {
        if (!response.headersSent) response.setHeader('Connection', 'close');
        response.once('close', () => socket.destroySoon());
      }
    }
  }

  /** Cuts every connection off. */
  destroy(): void {
    for (const socket of this.#accepted) socket.destroy();
  }
}

function keep(sockets: Set<Socket>, socket: Socket): void {
  sockets.add(socket);
  socket.once('close', () => sockets.delete(socket));
}
