/**
 * What Prometheus reads. Labels come from closed tables (doors, codes, algorithms,
 * states) or from the configuration (paths of token files, names of issuers), never from a request.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ErrorCode } from '../core/errors.ts';
import type { KeyState, RingKey } from '../core/key-ports.ts';
import type { Algorithm, EpochSeconds, Recorder } from '../core/ports.ts';
import { collectProcess } from './process.ts';

export type MetricsParts = {
  readonly version: string;
  readonly nodeVersion: string;
  readonly now: () => EpochSeconds;
  /** The ring in effect. */
  readonly keys: () => readonly RingKey[];
  /** Seconds until the active key of an algorithm is replaced; undefined where that is not known. */
  readonly nextRotation: (algorithm: Algorithm) => number | undefined;
  /** Whether a token could be minted now. */
  readonly isReady: () => boolean;
};

export type Metrics = {
  /** Prometheus' text format (exposition format 0.0.4). */
  exposition(): Promise<{ readonly contentType: string; readonly text: string }>;
  readonly recorder: Recorder;
  jwksAnswered(status: number): void;
  /** `issuer` is a configured name. */
  trustedKeysFetched(issuer: string, isFetched: boolean): void;
  storeFailed(operation: 'read' | 'write'): void;
  /** `path` is a configured one. */
  tokenFileRefreshed(
    path: string,
    outcome: { readonly expiresAt: EpochSeconds } | { readonly error: unknown },
  ): void;
  /** Forgets the files that a new configuration no longer has. */
  keepTokenFiles(paths: readonly string[]): void;
  configReloaded(isTaken: boolean): void;
  auditFailed(): void;
  clockJumped(): void;
  connectionRefused(listener: string, limit: string): void;
  /** A listener serves a certificate from files that ends then. */
  certificateTaken(listener: string, expiresAt: EpochSeconds): void;
};

/** From a signature of P-256 to a caller's patience, in seconds. */
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];

export function createMetrics(parts: MetricsParts): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectProcess(registry);
  collectKeys(registry, parts);
  const { version, nodeVersion } = parts;
  new Gauge({
    name: 'mintmark_build_info',
    help: 'Which Mintmark this is; always 1.',
    labelNames: ['version', 'node'],
    registers,
  }).set({ version, node: nodeVersion }, 1);
  new Gauge({
    name: 'mintmark_ready',
    help: '1 while a token can be minted, as /readyz says.',
    registers,
    collect() {
      this.set(parts.isReady() ? 1 : 0);
    },
  });
  const counter = (name: string, help: string, ...labelNames: string[]) =>
    new Counter({ name: `mintmark_${name}`, help, labelNames, registers });
  const jwks = counter('jwks_requests_total', 'Answers to requests for the JWKS.', 'status');
  const fetches = counter(
    'trusted_keys_fetches_total',
    'Calls for the keys of other issuers, by outcome: fetched or failed.',
    ...['issuer', 'outcome'],
  );
  const storeErrors = counter('store_errors_total', 'Faults of the key store.', 'operation');
  const auditErrors = counter('audit_errors_total', 'Audit lines that could not be written.');
  const clockJumps = counter('clock_jumps_total', 'Jumps of the wall clock that were noticed.');
  for (const operation of ['read', 'write']) storeErrors.inc({ operation }, 0);
  return {
    async exposition() {
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
    recorder: createRecorder(registry),
    jwksAnswered: (status) => jwks.inc({ status }),
    trustedKeysFetched: (issuer, isFetched) =>
      fetches.inc({ issuer, outcome: isFetched ? 'fetched' : 'failed' }),
    storeFailed: (operation) => storeErrors.inc({ operation }),
    auditFailed: () => auditErrors.inc(),
    clockJumped: () => clockJumps.inc(),
    ...listenerMetrics(registry),
    ...tokenFileMetrics(registry),
    ...reloadMetrics(registry),
  };
}

/** Labels are bound once a door, so that a token costs three additions. */
function createRecorder(registry: Registry): Recorder {
  const registers = [registry];
  const requests = new Counter({
    name: 'mintmark_requests_total',
    help: 'Requests for tokens by outcome: issued, refused, or failed by no fault of the caller.',
    labelNames: ['door', 'outcome'],
    registers,
  });
  const refusals = new Counter({
    name: 'mintmark_refusals_total',
    help: 'Requests that got no token, by error code.',
    labelNames: ['door', 'code'],
    registers,
  });
  const minting = new Histogram({
    name: 'mintmark_mint_duration_seconds',
    help: 'From the request to the signed token.',
    labelNames: ['algorithm'],
    buckets: BUCKETS,
    registers,
  });
  const attestation = new Histogram({
    name: 'mintmark_attestation_duration_seconds',
    help: 'How long it took to prove who is calling.',
    buckets: BUCKETS,
    registers,
  });
  const reused = new Counter({
    name: 'mintmark_tokens_reused_total',
    help: 'Tokens that a sidecar handed out again while its authority did not answer.',
    registers,
  });
  const issuedBy = remembered((door: string) => requests.labels(door, 'issued'));
  const mintedWith = remembered((algorithm: string) => minting.labels(algorithm));
  return {
    issued({ door, peer, issued, attestSeconds, totalSeconds }) {
      issuedBy(door).inc();
      if (issued.isReused === true) reused.inc();
      mintedWith(issued.algorithm).observe(totalSeconds);
      // A token file has no caller to attest.
      if (peer !== undefined) attestation.observe(attestSeconds);
    },
    refused({ door, code }) {
      requests.inc({ door, outcome: FAILED.has(code) ? 'failed' : 'refused' });
      refusals.inc({ door, code });
    },
  };
}

const FAILED: ReadonlySet<ErrorCode> = new Set(['server_error', 'temporarily_unavailable', 'key_not_ready']);

function remembered<T>(make: (label: string) => T): (label: string) => T {
  const made = new Map<string, T>();
  return (label) => {
    let value = made.get(label);
    if (value === undefined) {
      value = make(label);
      made.set(label, value);
    }
    return value;
  };
}

function tokenFileMetrics(registry: Registry): Pick<Metrics, 'tokenFileRefreshed' | 'keepTokenFiles'> {
  const registers = [registry];
  const refreshes = new Counter({
    name: 'mintmark_token_file_refreshes_total',
    help: 'Attempts to write a fresh token into a token file.',
    labelNames: ['outcome'],
    registers,
  });
  const expiry = new Gauge({
    name: 'mintmark_token_file_expiry_timestamp_seconds',
    help: 'When the token in a token file expires, in seconds since 1970.',
    labelNames: ['path'],
    registers,
  });
  for (const outcome of ['written', 'failed']) refreshes.inc({ outcome }, 0);
  const known = new Set<string>();
  return {
    tokenFileRefreshed(path, outcome) {
      refreshes.inc({ outcome: 'error' in outcome ? 'failed' : 'written' });
      if ('error' in outcome) return;
      known.add(path);
      expiry.set({ path }, outcome.expiresAt);
    },
    keepTokenFiles(paths) {
      for (const path of known) {
        if (paths.includes(path)) continue;
        known.delete(path);
        expiry.remove(path);
      }
    },
  };
}

function listenerMetrics(registry: Registry): Pick<Metrics, 'connectionRefused' | 'certificateTaken'> {
  const registers = [registry];
  const refused = new Counter({
    name: 'mintmark_connections_refused_total',
    help: 'Connections that were closed unread, since there were too many in all, of a user or of an address.',
    labelNames: ['listener', 'limit'],
    registers,
  });
  const certificates = new Gauge({
    name: 'mintmark_tls_certificate_expiry_timestamp_seconds',
    help: 'When the certificate from files that a listener serves expires.',
    labelNames: ['listener'],
    registers,
  });
  return {
    connectionRefused: (listener, limit) => refused.inc({ listener, limit }),
    certificateTaken: (listener, expiresAt) => certificates.set({ listener }, expiresAt),
  };
}

function reloadMetrics(registry: Registry): Pick<Metrics, 'configReloaded'> {
  const registers = [registry];
  const reloads = new Counter({
    name: 'mintmark_config_reloads_total',
    help: 'Configurations that were read again, by whether they were taken.',
    labelNames: ['outcome'],
    registers,
  });
  const last = new Gauge({
    name: 'mintmark_config_last_reload_successful',
    help: '1 while the configuration in effect is the one that was read last.',
    registers,
  });
  for (const outcome of ['taken', 'rejected']) reloads.inc({ outcome }, 0);
  last.set(1);
  return {
    configReloaded(isTaken) {
      reloads.inc({ outcome: isTaken ? 'taken' : 'rejected' });
      last.set(isTaken ? 1 : 0);
    },
  };
}

const STATES: readonly KeyState[] = ['next', 'active', 'retired'];

/** Read from the ring at each scrape. */
function collectKeys(registry: Registry, { keys, now, nextRotation }: MetricsParts): void {
  const registers = [registry];
  const algorithms = () => [...new Set(keys().map(({ algorithm }) => algorithm))];
  new Gauge({
    name: 'mintmark_keys',
    help: 'Published keys.',
    labelNames: ['algorithm', 'state'],
    registers,
    collect() {
      this.reset();
      for (const algorithm of algorithms()) for (const state of STATES) this.set({ algorithm, state }, 0);
      for (const { algorithm, state } of keys()) this.inc({ algorithm, state });
    },
  });
  new Gauge({
    name: 'mintmark_key_age_seconds',
    help: 'How long the oldest key of a state has been published.',
    labelNames: ['algorithm', 'state'],
    registers,
    collect() {
      this.reset();
      const oldest = [...keys()].sort((a, b) => b.publishedAt - a.publishedAt);
      for (const { algorithm, state, publishedAt } of oldest)
        this.set({ algorithm, state }, now() - publishedAt);
    },
  });
  new Gauge({
    name: 'mintmark_key_next_rotation_seconds',
    help: 'When the next key takes over, in seconds from now; below 0 it is overdue.',
    labelNames: ['algorithm'],
    registers,
    collect() {
      this.reset();
      for (const algorithm of algorithms()) {
        const seconds = nextRotation(algorithm);
        if (seconds !== undefined) this.set({ algorithm }, seconds);
      }
    },
  });
}
