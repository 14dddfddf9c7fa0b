/** Config → running server: the only place that wires. What is opened here is closed in reverse order. */
import { randomUUID } from 'node:crypto';
import { type Names, openNames } from './attestors/names.ts';
import { openAttestors } from './compose/attestors.ts';
import { withAwsToken, writeAwsEnvironment } from './compose/aws.ts';
import { ruleWarnings } from './compose/check.ts';
import { doorMistakes } from './compose/door-mistakes.ts';
import { openDoors } from './compose/doors.ts';
import { type Keys, openKeys } from './compose/keys.ts';
import { kubernetesConfig } from './compose/kubernetes.ts';
import { assertStrictPeer, type Listeners, openListeners } from './compose/listeners.ts';
import { doorDemands } from './compose/oauth.ts';
import { type Observers, openObservers } from './compose/observers.ts';
import { policyOf } from './compose/policy.ts';
import { openRecords } from './compose/records.ts';
import { makeDirectories, resolveTokenFiles } from './compose/token-files.ts';
import type { LoadedConfig, LoadedSidecar } from './config.ts';
import { IssuerError } from './core/errors.ts';
import { createIssuer } from './core/issuer.ts';
import type { Policy } from './core/policy.ts';
import type { Attestor, Clock } from './core/ports.ts';
import type { RecordStore } from './core/records.ts';
import type { Surface } from './doors/door.ts';
import { open as openTokenFiles, type TokenFiles, untried } from './doors/token-files.ts';
import { atMost } from './net/at-most.ts';
import { effectiveUid } from './net/kernel.ts';
import type { Log } from './observe/log.ts';
import { signers } from './signers/index.ts';

export type ServerParts = {
  readonly loaded: LoadedConfig;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The process's own group id. */
  readonly gid: number;
  /** All its group ids, the supplementary ones too. */
  readonly gids: readonly number[];
  readonly version: string;
  readonly nodeVersion: string;
  /** Writes a line of the log, all of it; throws where it cannot. */
  readonly writeLog: (line: string) => void;
  /** Resolves once somebody wants it to end. */
  readonly stopped?: Promise<void> | undefined;
};

export type Server = {
  readonly log: Log;
  readonly addresses: Readonly<Partial<Record<Surface, string>>>;
  /** Takes the rules, token files and certificates of a new configuration; throws and keeps the old one. */
  reload(load: () => Promise<LoadedConfig | LoadedSidecar>): Promise<void>;
  /** Lets calls in flight end, and a reload that is under way, each for as long as `stopWithin` says. */
  close(): Promise<void>;
};

/** What a reload replaces. */
type Effect = {
  loaded: LoadedConfig;
  policy: Policy;
  /** The policy that the key ring prepares for: the one in effect but during a reload. */
  coming: Policy;
  tokenFiles: TokenFiles;
};

/** What stays from start to stop. */
type Parts = ServerParts & {
  readonly observers: Observers;
  readonly names: Names;
  readonly attestor: Attestor;
  readonly keys: Keys;
  readonly kubernetes: ReturnType<typeof kubernetesConfig>;
  readonly issuer: ReturnType<typeof createIssuer>;
  readonly effect: Effect;
  /** Throws once it stops: what would be opened now nobody would close. */
  readonly assertOpen: () => void;
};

type Closers = (() => Promise<void> | void)[];

const clock: Clock = {
  now: () => Math.floor(Date.now() / 1000),
  elapsed: () => performance.now() / 1000,
};

/** Stand-alone and authority, or a sidecar. Throws ConfigError, IssuerError or the system's error, with everything closed again. */
export async function openServer({ loaded, ...given }: Start): Promise<Server> {
  assertStrictPeer(loaded.config.socket);
  if (!('authority' in loaded.config)) return openIssuer({ ...given, loaded: loaded as LoadedConfig });
  const { openSidecar } = await import('./compose/sidecar.ts');
  return openSidecar({ ...given, clock, loaded: loaded as LoadedSidecar });
}

export type Start = Omit<ServerParts, 'loaded'> & { readonly loaded: LoadedConfig | LoadedSidecar };

async function openIssuer(given: ServerParts): Promise<Server> {
  const closers: Closers = [];
  let isClosing = false;
  let reloading: Promise<unknown> = Promise.resolve();
  let effect: Effect | undefined;
  const close = async () => {
    isClosing = true;
    await atMost((effect ?? given).loaded.config.stopWithinSeconds, reloading);
    for (const step of closers.splice(0).reverse()) await step();
  };
  const assertOpen = () => {
    if (isClosing) throw new IssuerError('conflict', 'it is stopping');
  };
  try {
    const parts = { ...(await openCore(given, closers)), assertOpen };
    effect = parts.effect;
    closers.push(() => parts.effect.tokenFiles.close());
    const listeners = await openSurfaces(parts, closers);
    closers.push(() => listeners.close(parts.effect.loaded.config.stopWithinSeconds * 1000));
    // Only now: whoever else serves the same sockets has the same files.
    await replaceTokenFiles(parts);
    await writeAwsEnvironment(parts.effect.loaded, parts.env);
    const { log } = parts.observers;
    return {
      log,
      addresses: listeners.addresses,
      reload(load) {
        const result = reload(parts, listeners, load as () => Promise<LoadedConfig>);
        reloading = Promise.allSettled([reloading, result]);
        return result;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Everything between a request and its token. */
async function openCore(given: ServerParts, closers: Closers): Promise<Omit<Parts, 'assertOpen'>> {
  const loaded = withAwsToken(given.loaded, given.env);
  const { config } = loaded;
  const observers = openObservers({ ...given, config, clock });
  closers.push(() => observers.close());
  const kubernetes = kubernetesConfig(given.env);
  const { warn, onKeysFetched } = observers;
  const own = { identifier: config.issuer, keys: () => keys.live.current.keys };
  const attestor = await openAttestors(config.attestors, { clock, kubernetes, own, warn, onKeysFetched });
  closers.push(() => attestor.close());
  const names = openNames(clock.elapsed);
  const policy = await policyOf(loaded, attestor, names);
  const mistakes = await doorMistakes(config, { provable: attestor, isWhole: false });
  if (mistakes.length > 0) throw loaded.reject(mistakes);
  const effect: Effect = { loaded, policy, coming: policy, tokenFiles: untried(config.tokens) };
  const keys: Keys = await openKeys({
    config,
    clock,
    policy: () => effect.coming,
    demands: await doorDemands(config),
    credentialsDirectory: given.env.CREDENTIALS_DIRECTORY,
    kubernetes,
    gids: given.gids,
    warn,
    onFault: observers.storeFault,
    onRing(ring) {
      observers.ringChanged(ring);
      effect.tokenFiles.keysChanged();
    },
  });
  closers.push(() => keys.close());
  observers.watchKeys(keys);
  const { live } = keys;
  const signer = (await signers.local()).open({
    ring: () => live.current,
    assertFresh: () => live.assertFresh(),
  });
  closers.push(() => signer.close());
  const issuer = createIssuer({
    identifier: config.issuer,
    policy: () => effect.policy,
    attestor,
    signer,
    recorder: observers.recorder,
    clock,
    createTokenId: randomUUID,
  });
  return { ...given, observers, names, attestor, keys, kubernetes, issuer, effect };
}

async function openSurfaces(parts: Parts, closers: Closers): Promise<Listeners> {
  const { effect, keys, observers, attestor } = parts;
  let listeners: Listeners | undefined;
  const doors = await openDoors({
    ...parts,
    clock,
    records: recordsOf(parts, closers),
    loaded: effect.loaded,
    policy: () => effect.policy,
    tokenFiles: () => effect.tokenFiles,
    caCertificate: (surface) => listeners?.caCertificate(surface),
  });
  closers.push(() => doors.close());
  listeners = await openListeners({
    ...parts,
    config: effect.loaded.config,
    clock,
    store: keys.store,
    frame: doors.frame,
    onPeer: (peer) => attestor.meet?.(peer, effect.policy.wanted),
    onRefused: observers.connectionRefused,
    onCertificate: observers.onCertificate,
    warn: observers.warn,
  });
  return listeners;
}

/** Opened once, and closed after everything that uses it. */
function recordsOf({ effect, observers }: Parts, closers: Closers): () => Promise<RecordStore> {
  const { warn } = observers;
  let opened: Promise<RecordStore> | undefined;
  closers.push(async () => (await opened?.catch(() => undefined))?.close());
  return () => {
    opened ??= openRecords(effect.loaded.config, { uid: effectiveUid(), warn, clock });
    return opened;
  };
}

/** Settings that only a restart can change. */
const FIXED = [
  'issuer',
  'host',
  'socket',
  'public',
  'private',
  'status',
  'admin',
  'keys',
  'records',
  'attestors',
  'doors',
  'issuers',
  'log',
] as const;

async function reload(parts: Parts, listeners: Listeners, load: () => Promise<LoadedConfig>): Promise<void> {
  let isTaken = false;
  try {
    parts.assertOpen();
    await takeUp(parts, listeners, await load());
    isTaken = true;
  } finally {
    parts.observers.reloaded(
      isTaken,
      parts.effect.loaded.config.tokens.map(({ path }) => path),
    );
  }
}

async function takeUp(parts: Parts, listeners: Listeners, given: LoadedConfig): Promise<void> {
  const { effect, keys, attestor } = parts;
  const loaded = withAwsToken(given, parts.env);
  const changed = FIXED.filter(
    (key) => JSON.stringify(loaded.config[key]) !== JSON.stringify(effect.loaded.config[key]),
  );
  if (changed.length > 0)
    throw new IssuerError('conflict', `only a restart can change ${changed.join(', ')}`);
  const policy = await policyOf(loaded, attestor, parts.names);
  parts.assertOpen();
  // The ring takes up a longer life or a new algorithm before a token may need it.
  effect.coming = policy;
  try {
    await keys.live.change((ring) => ring);
    await listeners.reloadTls();
    parts.assertOpen();
  } catch (error) {
    effect.coming = effect.policy;
    throw error;
  }
  // From here on it holds, so that nothing may be thrown any more.
  Object.assign(effect, { loaded, policy });
  await replaceTokenFiles(parts);
  await writeAwsEnvironment(loaded, parts.env).catch((error: unknown) => {
    const { detail, message } = error as Error & { readonly detail?: string };
    parts.observers.warn(`the old aws.env stays: ${detail ?? message}`);
  });
}

async function replaceTokenFiles(parts: Parts): Promise<void> {
  const { effect, issuer, keys, observers } = parts;
  const { files, warnings } = resolveTokenFiles(effect.loaded, () => effect.policy, parts.names, parts.gid);
  for (const warning of [...ruleWarnings(effect.loaded.config), ...keys.waiting(), ...warnings])
    observers.warn(warning);
  await effect.tokenFiles.close();
  await makeDirectories(files, effect.loaded.config.socket.path);
  const { now } = clock;
  effect.tokenFiles = await openTokenFiles({
    files,
    issuer,
    now,
    random: Math.random,
    isPublished: (kid) => keys.live.current.keys.some(({ keyId }) => keyId === kid),
    onRefresh: observers.tokenFile,
  });
  effect.tokenFiles.keysChanged(); // in the time that it took to open them
}
