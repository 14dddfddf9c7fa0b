/** A sidecar: it attests who is calling, keeps token files, and an authority decides and signs. No keys, no rules. */
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { openNames } from '../attestors/names.ts';
import { open as openPodContainer } from '../attestors/pod-container.ts';
import type { ServerParts, Server as Started } from '../compose.ts';
import type { LoadedSidecar } from '../config.ts';
import { IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import type { Attestor, Clock, SelectorKind, Workload } from '../core/ports.ts';
import { createRelay } from '../core/relay.ts';
import { createFrame, type Surface } from '../doors/door.ts';
import { open as openTokenFiles, replaceFile, type TokenFiles, untried } from '../doors/token-files.ts';
import { atMost } from '../net/at-most.ts';
import { effectiveUid } from '../net/kernel.ts';
import { signers } from '../signers/index.ts';
import { combine, openAttestors } from './attestors.ts';
import { configuredDoors, peerOfSurface } from './doors.ts';
import { type FirstAnswer, listenForAnswer } from './first-answer.ts';
import { openListeners } from './listeners.ts';
import { type Observers, openObservers } from './observers.ts';

/** An authority that hangs is no reason to keep a caller waiting who has a token still; a busy one answers sooner. */
const PATIENCE_SECONDS = 1;

export type SidecarParts = Omit<ServerParts, 'loaded'> & {
  readonly loaded: LoadedSidecar;
  readonly clock: Clock;
};

type Parts = SidecarParts & {
  /** Refuses what it is asked from now on. */
  readonly hangUp: () => Promise<void>;
  readonly observers: Observers;
  readonly attestor: Attestor;
  readonly issuer: Issuer;
  readonly firstAnswer: FirstAnswer;
};

/** What the authority may be told of a caller: its ids and its container, which cost next to nothing to prove. */
const CLAIMS: Readonly<Record<SelectorKind, SelectorKind>> = {
  'unix:uid': 'sidecar:unix-uid',
  'unix:gid': 'sidecar:unix-gid',
  'pod:container-id': 'sidecar:container-id',
};
/** The pod's own identity, with nothing narrowed. */
const POD: Workload = { selectors: new Set(), facts: {}, unproven: {} };

/** Throws ConfigError, IssuerError or the system's error, with everything closed again. */
export async function openSidecar(given: SidecarParts): Promise<Started> {
  const closers: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const step of closers.splice(0).reverse()) await step();
  };
  const { config } = given.loaded;
  try {
    const parts = await openCore(given, closers);
    // A stop does not wait for an authority that is silent; calls in flight end as they will.
    let isStarting = true;
    given.stopped?.then(() => (isStarting ? parts.hangUp() : undefined));
    let tokenFiles = untried(config.tokens);
    closers.push(() => tokenFiles.close());
    const refusals: Refusals = new Map();
    const frame = await openFrames(parts, () =>
      tokenFiles.missing().map((path) => `no token in ${path} yet${refusals.get(path) ?? ''}`),
    );
    const listeners = await openListeners({
      ...parts,
      config,
      store: undefined,
      names: openNames(() => parts.clock.elapsed()),
      frame,
      onPeer: (peer) => parts.attestor.meet?.(peer, new Set(Object.keys(CLAIMS))),
      onRefused: parts.observers.connectionRefused,
      onCertificate: parts.observers.onCertificate,
      warn: parts.observers.warn,
    });
    closers.push(() => listeners.close(config.stopWithinSeconds * 1000));
    // Only now: whoever else serves the same socket has the same files.
    await writeFiles(config.files);
    tokenFiles = await keepTokenFiles(parts, refusals);
    if (config.tokens.length === 0) parts.firstAnswer.seek();
    isStarting = false;
    return { log: parts.observers.log, addresses: listeners.addresses, reload: refuseReload, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function openCore(given: SidecarParts, closers: (() => Promise<void> | void)[]): Promise<Parts> {
  const { clock, loaded } = given;
  const { config } = loaded;
  const observers = openObservers({ ...given, config });
  closers.push(() => observers.close());
  const { warn, onKeysFetched } = observers;
  const context = { clock, kubernetes: noKubernetes, own: undefined, warn, onKeysFetched };
  const attestor = combine([await openAttestors(config.attestors, context), openPodContainer()]);
  closers.push(() => attestor.close());
  const { url, ca, caFile, tokenFile, reuseFloor, singleUse } = config.authority;
  const { random } = Math;
  const opened = (await signers.authority()).open({ url, ca, caFile, tokenFile, random });
  closers.push(() => opened.close());
  const firstAnswer = listenForAnswer({ authority: opened, random });
  closers.push(() => firstAnswer.close());
  const reuse = { floorSeconds: reuseFloor === 'off' ? undefined : reuseFloor, singleUse };
  const issuer = createRelay({
    identifier: url,
    attestor,
    authority: firstAnswer.authority,
    recorder: observers.recorder,
    clock,
    claims: CLAIMS,
    reuse,
    patience: (fresh) => atMost(PATIENCE_SECONDS, fresh),
  });
  return { ...given, hangUp: opened.close, observers, attestor, issuer, firstAnswer };
}

async function noKubernetes(): Promise<never> {
  throw new IssuerError('server_error', 'a sidecar does not speak to the Kubernetes API');
}

async function refuseReload(): Promise<void> {
  throw new IssuerError('conflict', 'a sidecar takes a new configuration at its start only');
}

async function writeFiles(files: LoadedSidecar['config']['files']): Promise<void> {
  for (const { path, content } of files) {
    await mkdir(dirname(path), { recursive: true });
    await replaceFile(path, content, { mode: 0o444, uid: -1, gid: -1 });
  }
}

/** Of each token file that the authority refuses: what it says, and who tells more. */
type Refusals = Map<string, string>;

async function keepTokenFiles(
  { loaded, issuer, clock, observers, gid }: Parts,
  refusals: Refusals,
): Promise<TokenFiles> {
  const { tokens } = loaded.config;
  for (const { path } of tokens) await mkdir(dirname(path), { recursive: true });
  const own = { uid: effectiveUid(), gid, vouched: () => ({ workload: POD, rule: undefined }) };
  return openTokenFiles({
    files: tokens.map((file) => ({ ...file, ...own })),
    issuer,
    now: () => clock.now(),
    random: Math.random,
    onRefresh(file, outcome) {
      const refused = 'error' in outcome ? refusalOf(outcome.error) : undefined;
      if (refused === undefined) {
        refusals.delete(file.path);
        return observers.tokenFile(file, outcome);
      }
      const { code, detail, shown } = refused;
      const more = `; \`mintmark explain --aud ${file.audience}\` in this container tells the pod's facts`;
      // Whoever reaches the port reads this one: the rules are for the log.
      refusals.set(file.path, `: the authority refuses it: ${shown?.reason ?? code}${more}`);
      observers.tokenFile(file, { error: new IssuerError(code, `${detail}${more}`) });
    },
  });
}

/** What the authority says of the pod; that it cannot be asked is none. */
function refusalOf(error: unknown): IssuerError | undefined {
  return error instanceof IssuerError && error.shown !== undefined ? error : undefined;
}

async function openFrames(parts: Parts, missing: () => readonly string[]) {
  const { loaded, issuer, observers, version, firstAnswer } = parts;
  const [status, explain] = await Promise.all([import('../doors/status.ts'), import('../doors/explain.ts')]);
  const notReady = () => [...observers.notReady(), ...firstAnswer.notReady(), ...missing()];
  observers.watchReadiness(notReady);
  const statusParts = { metrics: observers.metrics, notReady };
  const { doors } = loaded.config;
  const configured = await configuredDoors({
    issuer,
    doors,
    version,
    kubernetes: noKubernetes,
    caCertificate: () => undefined,
    log: observers.log,
    recorder: observers.recorder,
  });
  const peerOf = peerOfSurface('workload');
  const all = [...configured, status.open(statusParts, 'status'), explain.openForSelf({ issuer, peerOf })];
  return (surface: Surface) =>
    createFrame({
      surface,
      doors: all,
      version,
      recorder: observers.recorder,
      peerOf: peerOfSurface(surface),
    });
}
