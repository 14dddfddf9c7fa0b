/** The doors of each listener: those of the configuration, and those that are always there. */
import type { IncomingMessage } from 'node:http';
import type { LoadedConfig } from '../config.ts';
import type { ErrorCode } from '../core/errors.ts';
import type { DecidedIssuer, Issuer } from '../core/issuer.ts';
import type { Policy } from '../core/policy.ts';
import type { Attestor, Clock, Peer, Recorder } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';
import { createFrame, type Door, type FrameParts, type Surface } from '../doors/door.ts';
import { type DoorName, doors } from '../doors/index.ts';
import type { TokenFiles } from '../doors/token-files.ts';
import type { InjectionSettings } from '../injection/settings.ts';
import { peerOf as unixPeerOf } from '../net/connections.ts';
import { peerOfPid } from '../net/peer.ts';
import type { Log } from '../observe/log.ts';
import type { StoreContext } from '../stores/index.ts';
import { hostingContext } from './hosting.ts';
import { cacheForSeconds, type Keys } from './keys.ts';
import { oauthContext } from './oauth.ts';
import type { Observers } from './observers.ts';

export type DoorsParts = {
  readonly loaded: LoadedConfig;
  readonly version: string;
  readonly issuer: Issuer & DecidedIssuer;
  readonly attestor: Attestor;
  readonly clock: Clock;
  /** Opened by the first door that asks. */
  readonly records: () => Promise<RecordStore>;
  readonly keys: Keys;
  readonly observers: Observers;
  readonly tokenFiles: () => TokenFiles;
  /** The rules in effect. */
  readonly policy: () => Policy;
  readonly caCertificate: (surface: 'public' | 'private') => string | undefined;
  readonly kubernetes: StoreContext['kubernetes'];
};

const nobody = () => undefined;
const unixPeer = (request: IncomingMessage): Peer => unixPeerOf(request.socket);

export type OpenDoors = {
  /** The request handler of each listener. */
  readonly frame: (surface: Surface) => ReturnType<typeof createFrame>;
  close(): Promise<void>;
};

export async function openDoors(parts: DoorsParts): Promise<OpenDoors> {
  const { config } = parts.loaded;
  const oauth = oauthContext({ ...parts, live: parts.keys.live, store: parts.keys.store });
  const hosting = config.doors.vultr === undefined ? {} : await hostingContext({ ...parts, config, oauth });
  const configured = await configuredDoors({
    ...parts,
    doors: config.doors,
    log: parts.observers.log,
    recorder: parts.observers.recorder,
    more: { restsOn: (rule: string) => parts.policy().restsOn(rule), ...oauth, ...hosting },
  });
  const tenants = await tenantDoors(parts);
  const opened = [...configured, ...tenants, ...(await builtInDoors(parts))];
  const { version, observers } = parts;
  const frame = (surface: Surface) =>
    createFrame({
      surface,
      doors: opened,
      version,
      recorder: observers.recorder,
      peerOf: peerOfSurface(surface),
    });
  return {
    frame,
    async close() {
      await Promise.all([...configured, ...tenants].map((door) => door.close?.()));
    },
  };
}

async function tenantDoors(parts: DoorsParts): Promise<readonly Door[]> {
  const names = Object.keys(parts.loaded.config.issuers);
  if (names.length === 0) return [];
  const { openTenant } = await import('./tenants.ts');
  return (await Promise.all(names.map((name) => openTenant(name, parts, unixPeer)))).flat();
}

/** How pods are injected, loaded where the webhook is configured. */
async function injector({
  doors: { webhook },
  version,
}: ConfiguredDoorsParts): Promise<DoorContext['inject']> {
  if (webhook === undefined) return () => [];
  const [{ injectPod }, { jsonPatch }, { parsePod }] = await Promise.all([
    import('../injection/inject.ts'),
    import('../injection/patch.ts'),
    import('../injection/pod.ts'),
  ]);
  return (given, ca) => {
    const pod = parsePod(given);
    return jsonPatch(pod, injectPod(pod, webhook as InjectionSettings, { ca, version }));
  };
}

export function peerOfSurface(surface: Surface): FrameParts['peerOf'] {
  return surface === 'workload' || surface === 'admin' ? unixPeer : nobody;
}

export type ConfiguredDoorsParts = {
  readonly issuer: Issuer;
} & Pick<DoorsParts, 'kubernetes' | 'caCertificate' | 'version'> & {
    readonly doors: Readonly<Record<string, unknown>>;
    readonly log: Log;
    readonly recorder: Recorder;
    /** What only an issuer with keys of its own has. */
    readonly more?: object;
  };

/** What every door of the table may ask for. */
type DoorContext = {
  readonly issuer: Issuer;
  readonly peerOf: FrameParts['peerOf'];
  readonly kubernetes: StoreContext['kubernetes'];
  /** The CA that Mintmark made for the listener `private`. */
  readonly caCertificate: () => string | undefined;
  readonly log: Log;
  /** The operations that lead to the injected pod, none where it is injected already. Throws `invalid_request`. */
  readonly inject: (pod: unknown, ca: string | undefined) => readonly unknown[];
};

/** What a door tells the audit log of beside tokens: never a secret. */
function told(door: string, { log, recorder }: ConfiguredDoorsParts) {
  const refusal = { door, peer: undefined, audience: [] };
  return {
    tell: (event: object, message: string) => log.always({ door, ...event }, message),
    refused: (code: ErrorCode, detail: string) => recorder.refused({ ...refusal, code, detail }),
  };
}

type OpenDoor = (block: unknown, context: DoorContext) => Door | Promise<Door | readonly Door[]>;

export async function configuredDoors(parts: ConfiguredDoorsParts): Promise<readonly Door[]> {
  const { issuer, kubernetes, log, caCertificate } = parts;
  const context: DoorContext = {
    issuer,
    peerOf: unixPeer,
    kubernetes,
    log,
    caCertificate: () => caCertificate('private'),
    inject: await injector(parts),
    ...parts.more,
  };
  const opened: Door[] = [];
  try {
    for (const name of Object.keys(doors) as DoorName[]) {
      const { [name]: block } = parts.doors;
      if (block === undefined) continue;
      const { open } = await doors[name]();
      const offered = Object.assign({}, ...opened.map(({ offers }) => offers));
      opened.push(
        ...[await (open as OpenDoor)(block, { ...context, ...told(name, parts), ...offered })].flat(),
      );
    }
  } catch (error) {
    await Promise.all(opened.map((door) => door.close?.()));
    throw error;
  }
  return opened;
}

async function builtInDoors(parts: DoorsParts): Promise<readonly Door[]> {
  const { loaded, issuer, keys, observers, tokenFiles, caCertificate } = parts;
  const { config } = loaded;
  const [discovery, status, admin, explain] = await Promise.all([
    import('../doors/discovery.ts'),
    import('../doors/status.ts'),
    import('../doors/admin.ts'),
    import('../doors/explain.ts'),
  ]);
  const notReady = () => [
    ...keys.notReady(),
    ...observers.notReady(),
    ...tokenFiles()
      .missing()
      .map((path) => `no token in ${path} yet`),
  ];
  observers.watchReadiness(notReady);
  const statusParts = { metrics: observers.metrics, notReady };
  const cacheFor = cacheForSeconds(config);
  return [
    discovery.open({
      issuer: config.issuer,
      documents: keys.documents,
      cacheForSeconds: cacheFor,
      onJwks: observers.jwksAnswered,
    }),
    status.open(statusParts, 'status'),
    status.open(statusParts, 'admin'),
    admin.open({
      ...keys,
      keys: () => keys.live.current.keys,
      now: () => keys.live.now(),
      settings: () => ({ ...keys.settings(), cacheForSeconds: cacheFor }),
      caCertificate: () => caCertificate('public') ?? caCertificate('private'),
    }),
    explain.openForSelf({ issuer, peerOf: unixPeer }),
    explain.openForAdmin({ issuer, openPeer: (pid) => peerOfPid(pid) }),
  ];
}
