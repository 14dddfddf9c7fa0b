/** The accept points of a configuration, and the certificates of those that have one. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Names } from '../attestors/names.ts';
import type { Config } from '../config.ts';
import { IssuerError } from '../core/errors.ts';
import type { KeyStore } from '../core/key-ports.ts';
import type { Clock, EpochSeconds, Peer } from '../core/ports.ts';
import type { Surface } from '../doors/door.ts';
import { inheritedSockets } from '../net/activation.ts';
import type { OnRefused } from '../net/connections.ts';
import { hasPeerPidfd } from '../net/kernel.ts';
import { type Limits, type Listener, type ListenTarget, listen } from '../net/listen.ts';
import type { LoadedTls, TlsPair } from '../net/tls.ts';
import { idOf } from './token-files.ts';

export type ListenersParts = {
  readonly config: Pick<Config, 'socket' | 'status'> & Partial<Pick<Config, 'admin' | 'public' | 'private'>>;
  readonly clock: Clock;
  /** Where the CA of `tls: bootstrap` is kept. */
  readonly store: KeyStore | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly names: Names;
  readonly frame: (surface: Surface) => (request: IncomingMessage, response: ServerResponse) => void;
  /** Called for each caller of the workloads' socket, before a byte is read. */
  readonly onPeer: (peer: Peer) => void;
  /** Called for each connection that was closed unread. */
  readonly onRefused: (surface: Surface, ...why: Parameters<OnRefused>) => void;
  /** Called with the end of each certificate that is taken up. */
  readonly onCertificate: (surface: Surface, expiresAt: EpochSeconds) => void;
  readonly warn: (message: string) => void;
};

export type Listeners = {
  readonly addresses: Readonly<Partial<Record<Surface, string>>>;
  /** The CA that Mintmark made for a listener. */
  readonly caCertificate: (surface: 'public' | 'private') => string | undefined;
  /** Reads the certificates again. */
  reloadTls(): Promise<void>;
  close(graceMs: number): Promise<void>;
};

type Tls = {
  readonly files: TlsPair;
  readonly caCertificate: string | undefined;
  /** Begins to follow changes; returns how to reload and stop. */
  follow(listener: Listener): { reload(): Promise<void>; close(): void };
};

const ADMIN_MODE = 0o600;
const RENEW_CHECK_MS = 3_600_000;

/** Throws `server_error` where every caller would be refused: asked before anything is made. */
export function assertStrictPeer({ strictPeer }: Config['socket']): void {
  if (strictPeer && !hasPeerPidfd())
    throw new IssuerError(
      'server_error',
      'socket.strictPeer is set, and this kernel has no SO_PEERPIDFD (Linux 6.5): it would refuse every caller',
    );
}

export async function openListeners(parts: ListenersParts): Promise<Listeners> {
  const { config, frame } = parts;
  const opened: { readonly surface: Surface; readonly listener: Listener }[] = [];
  const close = async (graceMs: number) => {
    await Promise.all(opened.map(({ listener }) => listener.close(graceMs)));
  };
  const open = async (surface: Surface, target: ListenTarget) => {
    const onFault = (error: Error) => parts.warn(`${surface} listener: ${error.message}`);
    const listener = await listen({
      target,
      handler: frame(surface),
      limits: limitsOf(surface, config),
      onFault,
      onRefused: (limit) => parts.onRefused(surface, limit),
      ...(surface === 'workload' && { strictPeer: config.socket.strictPeer, onPeer: parts.onPeer }),
    });
    opened.push({ surface, listener });
    return listener;
  };
  try {
    const tls = await openTls(parts, 'public', 'bootstrap-ca');
    const privateTls = await openTls(parts, 'private', 'private-ca');
    if (config.status !== undefined) await open('status', config.status.listen);
    if (config.admin !== undefined) await open('admin', { path: config.admin.path, mode: ADMIN_MODE });
    const shown = config.public && (await open('public', { ...config.public.listen, tls: tls?.files }));
    const apart =
      config.private && (await open('private', { ...config.private.listen, tls: privateTls?.files }));
    const following = [shown && tls?.follow(shown), apart && privateTls?.follow(apart)];
    for (const target of workloadTargets(parts)) await open('workload', target);
    return {
      addresses: addressesOf(opened),
      caCertificate: (surface) => (surface === 'public' ? tls : privateTls)?.caCertificate,
      async reloadTls() {
        for (const each of following) await each?.reload();
      },
      async close(graceMs) {
        for (const each of following) each?.close();
        await close(graceMs);
      },
    };
  } catch (error) {
    await close(0);
    throw error;
  }
}

/** By surface; of several sockets all. */
function addressesOf(
  opened: readonly { readonly surface: Surface; readonly listener: Listener }[],
): Listeners['addresses'] {
  const addresses: Partial<Record<Surface, string>> = {};
  for (const { surface, listener } of opened)
    addresses[surface] = [addresses[surface], listener.address].filter(Boolean).join(' ');
  return addresses;
}

/** Thousands of sidecars renew at their own times, and each keeps its connection for seconds. */
function limitsOf(surface: Surface, config: ListenersParts['config']): Partial<Limits> {
  const given = surface === 'workload' ? config.socket : surface === 'private' ? config.private : undefined;
  if (given === undefined) return {};
  const { maxConnections } = given;
  return 'maxConnectionsPerUid' in given
    ? { maxConnections, maxConnectionsPerUid: given.maxConnectionsPerUid }
    : { maxConnections, maxConnectionsPerAddress: given.maxConnectionsPerAddress };
}

/** systemd's sockets where it hands some over, the configured path otherwise. */
function workloadTargets({ config, env, names }: ListenersParts): readonly ListenTarget[] {
  const inherited = inheritedSockets(env);
  if (inherited.length > 0) return inherited.map(({ fd }) => ({ fd }));
  const { path, mode, group } = config.socket;
  const gid = group === undefined ? undefined : idOf(names.groups(), group);
  return [{ path, mode, gid }];
}

async function openTls(
  parts: ListenersParts,
  surface: 'public' | 'private',
  document: string,
): Promise<Tls | undefined> {
  const tls = parts.config[surface]?.tls;
  if (tls === undefined || tls.kind === 'none' || parts.store === undefined) return undefined;
  return tls.kind === 'files'
    ? openFiles(tls, surface, parts)
    : openBootstrap(parts.store, document, tls.names, parts);
}

async function openFiles(
  files: { readonly certificate: string; readonly key: string },
  surface: Surface,
  { clock, warn, onCertificate }: ListenersParts,
): Promise<Tls> {
  const { watchTls } = await import('../net/tls.ts');
  let use: (loaded: LoadedTls) => void = () => undefined;
  const tell = (loaded: LoadedTls) => {
    loaded.warnings.forEach(warn);
    onCertificate(surface, loaded.expiresAt);
  };
  const onChange = (loaded: LoadedTls) => {
    tell(loaded);
    use(loaded);
  };
  const onError = (error: unknown) => warn(`the old certificate stays: ${(error as Error).message}`);
  const watch = await watchTls(files, { now: () => clock.now(), onChange, onError });
  tell(watch.current());
  return {
    files: watch.current(),
    caCertificate: undefined,
    follow(listener) {
      use = listener.setTls;
      return watch;
    },
  };
}

async function openBootstrap(
  store: KeyStore,
  document: string,
  names: readonly string[],
  { clock, warn }: ListenersParts,
): Promise<Tls> {
  const { openBootstrapCa } = await import('../net/bootstrap-ca.ts');
  const ca = await openBootstrapCa(store, { document, names, now: () => clock.now() });
  return {
    files: ca.current(),
    caCertificate: ca.caPem,
    follow(listener) {
      const renew = async () => {
        try {
          if (await ca.renew(clock.now())) listener.setTls(ca.current());
        } catch (error) {
          warn(`the old certificate stays: ${(error as Error).message}`);
        }
      };
      const timer = setInterval(renew, RENEW_CHECK_MS);
      return { reload: renew, close: () => clearInterval(timer) };
    },
  };
}
