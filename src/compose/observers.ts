/** Log, audit and metrics, as the parts of the server call them. */
import type { Config } from '../config.ts';
import type { KeyRing } from '../core/key-ring.ts';
import type { Clock, EpochSeconds, Recorder } from '../core/ports.ts';
import { codeOf, type TokenFile } from '../doors/token-files.ts';
import { auditRecorder, combineRecorders } from '../observe/audit.ts';
import { createLog, type Log } from '../observe/log.ts';
import { createMetrics, type Metrics } from '../observe/metrics.ts';
import type { Keys } from './keys.ts';

export type ObserversParts = {
  /** A sidecar has no issuer of its own. */
  readonly config: Pick<Config, 'log'> & { readonly issuer?: string };
  readonly clock: Clock;
  readonly version: string;
  readonly nodeVersion: string;
  readonly writeLog: (line: string) => void;
};

export type Observers = {
  readonly log: Log;
  readonly recorder: Recorder;
  readonly warn: (message: string) => void;
  readonly storeFault: (operation: 'read' | 'write', error: unknown) => void;
  readonly ringChanged: (ring: KeyRing, issuer?: string) => void;
  /** An issuer as audit lines name it: the main one not at all. */
  readonly issuerNamed: (identifier: string) => string | undefined;
  readonly tokenFile: (
    file: TokenFile,
    outcome: { readonly expiresAt: EpochSeconds } | { readonly error: unknown },
  ) => void;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly jwksAnswered: (status: number) => void;
  readonly onKeysFetched: (issuer: string, isFetched: boolean) => void;
  readonly onCertificate: (listener: string, expiresAt: EpochSeconds) => void;
  readonly connectionRefused: (listener: string, limit: string) => void;
  readonly reloaded: (isTaken: boolean, tokenFilePaths: readonly string[]) => void;
  /** From now on the metrics tell of these keys. */
  readonly watchKeys: (keys: Keys) => void;
  /** What keeps the observers from letting a token out. */
  readonly notReady: () => readonly string[];
  /** From now on the metrics tell of this readiness. */
  readonly watchReadiness: (notReady: () => readonly string[]) => void;
  readonly close: () => void;
};

export function openObservers({ config, clock, version, nodeVersion, writeLog }: ObserversParts): Observers {
  const { level } = config.log;
  const isMain = (issuer: string) => issuer === (config.issuer ?? issuer);
  let keys: Keys | undefined;
  let notReady: () => readonly string[] = () => ['it is starting'];
  let isBroken = false;
  const write = (line: string) => {
    isBroken = true;
    writeLog(line);
    isBroken = false;
  };
  // A token is withheld where its audit line cannot be written; what else is told ends no timer and no process.
  const log = createLog({ level, version, write: (line) => forgive(() => write(line)) });
  const metrics = createMetrics({
    version,
    nodeVersion,
    now: () => keys?.live.now() ?? clock.now(),
    keys: () => keys?.live.current.keys ?? [],
    nextRotation: (algorithm) => keys?.secondsToRotation(algorithm),
    isReady: () => notReady().length === 0,
  });
  const audit = auditRecorder(createLog({ level, version, write }), metrics.auditFailed, isMain);
  const stopWatchingClock = watchClock(clock, log, metrics);
  return {
    log,
    recorder: combineRecorders(audit, metrics.recorder),
    warn: (message) => log.warn(message),
    storeFault(operation, error) {
      metrics.storeFailed(operation);
      log.error({ operation, err: error }, 'the key store failed; the ring in effect stays');
    },
    ringChanged(ring, iss) {
      const described = ring.keys.map(({ keyId: kid, algorithm: alg, state }) => ({ kid, alg, state }));
      log.info({ iss, keys: described }, 'the key ring changed');
    },
    issuerNamed: (identifier) => (isMain(identifier) ? undefined : identifier),
    tokenFile({ path }, outcome) {
      metrics.tokenFileRefreshed(path, outcome);
      if (!('error' in outcome)) return;
      const { error } = outcome;
      log.error({ path, code: codeOf(error), err: error }, 'a token file was not refreshed');
    },
    metrics: () => metrics.exposition(),
    jwksAnswered: metrics.jwksAnswered,
    onKeysFetched: metrics.trustedKeysFetched,
    onCertificate: metrics.certificateTaken,
    connectionRefused: metrics.connectionRefused,
    reloaded(isTaken, tokenFilePaths) {
      metrics.configReloaded(isTaken);
      metrics.keepTokenFiles(tokenFilePaths);
    },
    watchKeys(opened) {
      keys = opened;
    },
    watchReadiness(watched) {
      notReady = watched;
    },
    notReady: () => (isBroken ? ['the audit log cannot be written'] : []),
    close: stopWatchingClock,
  };
}

function forgive(task: () => void): void {
  try {
    task();
  } catch {
    // Readiness tells of it.
  }
}

const LOOK_EVERY_MS = 10_000;
const JUMP_SECONDS = 5;

/** Tells when the wall clock went another way than time. */
function watchClock(clock: Clock, log: Log, metrics: Metrics): () => void {
  let offset = clock.now() - clock.elapsed();
  const timer = setInterval(() => {
    const jumped = clock.now() - clock.elapsed() - offset;
    if (Math.abs(jumped) < JUMP_SECONDS) return;
    offset += jumped;
    metrics.clockJumped();
    log.warn(
      { seconds: Math.round(jumped) },
      'the wall clock jumped; keys go by the time that really passed',
    );
  }, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}
