/** Log, audit and metrics, as the parts of the server call them. */
import type { Config } from '../config.ts';
import type { Clock, EpochSeconds, Recorder } from '../core/ports.ts';
import { codeOf, type TokenFile } from '../doors/token-files.ts';
import { auditRecorder, combineRecorders } from '../observe/audit.ts';
import { createLog, type Log } from '../observe/log.ts';
import { createMetrics, type Metrics } from '../observe/metrics.ts';
import type { Keys } from './keys.ts';

export type ObserversParts = {
  readonly config: Config;
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
  readonly tokenFile: (
    file: TokenFile,
    outcome: { readonly expiresAt: EpochSeconds } | { readonly error: unknown },
  ) => void;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly jwksAnswered: (status: number) => void;
  readonly reloaded: (isTaken: boolean, tokenFilePaths: readonly string[]) => void;
  /** From now on the metrics tell of these keys. */
  readonly watchKeys: (keys: Keys) => void;
  readonly notReady: () => readonly string[];
  readonly close: () => void;
};

/** Throws what `writeLog` throws. */
export function openObservers({ config, clock, version, nodeVersion, writeLog }: ObserversParts): Observers {
  const log = createLog({ level: config.log.level, version, write: writeLog });
  let keys: Keys | undefined;
  let isAuditBroken = false;
  const metrics = createMetrics({
    version,
    nodeVersion,
    now: () => keys?.live.now() ?? clock.now(),
    keys: () => keys?.live.current.keys ?? [],
    nextRotation: (algorithm) => keys?.secondsToRotation(algorithm),
  });
  const audit = auditRecorder(log, () => {
    isAuditBroken = true;
    metrics.auditFailed();
  });
  const mended: Recorder = {
    issued: () => {
      isAuditBroken = false;
    },
    refused: () => undefined,
  };
  const stopWatchingClock = watchClock(clock, log, metrics);
  return {
    log,
    recorder: combineRecorders(audit, mended, metrics.recorder),
    warn: (message) => log.warn(message),
    storeFault(operation, error) {
      metrics.storeFailed(operation);
      log.error({ operation, err: error }, 'the key store failed; the ring in effect stays');
    },
    tokenFile(file, outcome) {
      metrics.tokenFileRefreshed(file.path, outcome);
      const { path } = file;
      if ('error' in outcome)
        log.error(
          { path, code: codeOf(outcome.error), err: outcome.error },
          'a token file was not refreshed',
        );
    },
    metrics: () => metrics.exposition(),
    jwksAnswered: metrics.jwksAnswered,
    reloaded(isTaken, tokenFilePaths) {
      metrics.configReloaded(isTaken);
      metrics.keepTokenFiles(tokenFilePaths);
    },
    watchKeys(opened) {
      keys = opened;
    },
    notReady: () => (isAuditBroken ? ['the audit log cannot be written'] : []),
    close: stopWatchingClock,
  };
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
