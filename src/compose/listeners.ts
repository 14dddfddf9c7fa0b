/** The four accept points of a configuration, and the certificates of the public one. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Names } from '../attestors/names.ts';
import type { Config } from '../config.ts';
import type { Clock, KeyStore, Peer } from '../core/ports.ts';
import type { Surface } from '../doors/door.ts';
import { inheritedSockets } from '../net/activation.ts';
import { type Listener, type ListenTarget, listen } from '../net/listen.ts';
import type { LoadedTls, TlsPair } from '../net/tls.ts';
import { idOf } from './token-files.ts';

export type ListenersParts = {
  readonly config: Config;
  readonly clock: Clock;
  readonly store: KeyStore;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly names: Names;
  readonly frame: (surface: Surface) => (request: IncomingMessage, response: ServerResponse) => void;
  /** Called for each caller of the workloads' socket, before a byte is read. */
  readonly onPeer: (peer: Peer) => void;
  readonly warn: (message: string) => void;
};

export type Listeners = {
  readonly addresses: Readonly<Partial<Record<Surface, string>>>;
  readonly caCertificate: () => string | undefined;
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

export async function openListeners(parts: ListenersParts): Promise<Listeners> {
  const { config, frame } = parts;
  const opened = new Map<Surface, Listener>();
  const close = async (graceMs: number) => {
    await Promise.all([...opened.values()].map((listener) => listener.close(graceMs)));
  };
  const open = async (surface: Surface, target: ListenTarget) => {
    const { maxConnections, maxConnectionsPerUid } = config.socket;
    const own =
      surface === 'workload'
        ? {
            limits: { maxConnections, maxConnectionsPerUid },
            strictPeer: config.socket.strictPeer,
            onPeer: parts.onPeer,
          }
        : {};
    const onFault = (error: Error) => parts.warn(`${surface} listener: ${error.message}`);
    const listener = await listen({ target, handler: frame(surface), onFault, ...own });
    opened.set(surface, listener);
    return listener;
  };
  try {
    const tls = await openTls(parts);
    if (config.status !== undefined) await open('status', config.status.listen);
    await open('admin', { path: config.admin.path, mode: ADMIN_MODE });
    const shown = config.public && (await open('public', { ...config.public.listen, tls: tls?.files }));
    const following = shown === undefined ? undefined : tls?.follow(shown);
    await open('workload', workloadTarget(parts));
    return {
      addresses: Object.fromEntries([...opened].map(([surface, { address }]) => [surface, address])),
      caCertificate: () => tls?.caCertificate,
      reloadTls: async () => following?.reload(),
      async close(graceMs) {
        following?.close();
        await close(graceMs);
      },
    };
  } catch (error) {
    await close(0);
    throw error;
  }
}

/** systemd's socket where it hands one over, the configured path otherwise. */
function workloadTarget({ config, env, names }: ListenersParts): ListenTarget {
  const [inherited] = inheritedSockets(env);
  if (inherited !== undefined) return { fd: inherited.fd };
  const { path, mode, group } = config.socket;
  const gid = group === undefined ? undefined : idOf(names.groups(), group);
  return { path, mode, gid };
}

async function openTls(parts: ListenersParts): Promise<Tls | undefined> {
  const tls = parts.config.public?.tls;
  if (tls === undefined || tls.kind === 'none') return undefined;
  return tls.kind === 'files' ? openFiles(tls, parts) : openBootstrap(tls.names, parts);
}

async function openFiles(
  files: { readonly certificate: string; readonly key: string },
  { clock, warn }: ListenersParts,
): Promise<Tls> {
  const { watchTls } = await import('../net/tls.ts');
  let use: (loaded: LoadedTls) => void = () => undefined;
  const onChange = (loaded: LoadedTls) => {
    loaded.warnings.forEach(warn);
    use(loaded);
  };
  const onError = (error: unknown) => warn(`the old certificate stays: ${(error as Error).message}`);
  const watch = await watchTls(files, { now: () => clock.now(), onChange, onError });
  watch.current().warnings.forEach(warn);
  return {
    files: watch.current(),
    caCertificate: undefined,
    follow(listener) {
      use = listener.setTls;
      return watch;
    },
  };
}

async function openBootstrap(names: readonly string[], { clock, store, warn }: ListenersParts): Promise<Tls> {
  const { openBootstrapCa } = await import('../net/bootstrap-ca.ts');
  const ca = await openBootstrapCa(store, { names, now: () => clock.now() });
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
