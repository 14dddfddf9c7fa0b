/** SHA-256 of files in threads of their own: each file once, a few at a time, and nobody waits for ever. */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { IssuerError } from '../core/errors.ts';
import { O_PATH } from './executable.ts';
import { versionOf } from './file-version.ts';
import type { HashAnswer, HashRequest } from './hash-worker.ts';

export type HasherOptions = {
  readonly maxBytes: number;
  /** How long a caller waits; the work goes on and serves the next one. */
  readonly timeoutSeconds: number;
  /** Seconds that went by since some fixed moment. */
  readonly elapsed: () => number;
};

export type HashResult = { readonly sha256: string } | { readonly unproven: 'exe_too_large' | 'exe_changed' };

export type Hasher = {
  /**
   * The digest of the file that `fd` holds (O_PATH will do), in hex. `owner` is
   * who asks: one user's files do not keep the others' waiting. Throws
   * `temporarily_unavailable` after the timeout, or when the owner asks too much.
   */
  hash(fd: number, owner: number): Promise<HashResult>;
  close(): Promise<void>;
};

const MAX_WORKERS = 2;
const MAX_JOBS_PER_OWNER = 4;
const MAX_CACHED = 256;
const MAX_AGE_SECONDS = 600;
const IDLE_MS = 30_000;
/** Older kernels move a file's change time in steps of some milliseconds: a fresh file could still change unseen. */
const SETTLED_MS = 100n;
const WORKER = new URL(`./hash-worker${extname(import.meta.url)}`, import.meta.url);

type Job = {
  readonly version: string;
  readonly owner: number;
  /** Our own, until the job has ended. */
  readonly fd: number;
  readonly cacheable: boolean;
  readonly result: Promise<HashResult>;
  readonly resolve: (result: HashResult) => void;
  readonly reject: (error: IssuerError) => void;
};

export function openHasher(options: HasherOptions): Hasher {
  return new HashJobs(options);
}

class HashJobs implements Hasher {
  readonly #options: HasherOptions;
  readonly #cache = new Map<string, { readonly sha256: string; readonly at: number }>();
  /** By version: queued or with a worker. */
  readonly #jobs = new Map<string, Job>();
  readonly #queue: Job[] = [];
  readonly #idle: Worker[] = [];
  readonly #busy = new Map<Worker, Job>();
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: HasherOptions) {
    this.#options = options;
  }

  async hash(fd: number, owner: number): Promise<HashResult> {
    const stats = fstatSync(fd, { bigint: true });
    if (stats.size > BigInt(this.#options.maxBytes)) return { unproven: 'exe_too_large' };
    const version = versionOf(stats);
    const cached = this.#cache.get(version);
    if (cached && this.#options.elapsed() - cached.at < MAX_AGE_SECONDS) return { sha256: cached.sha256 };
    const cacheable = BigInt(Date.now()) - stats.ctimeMs > SETTLED_MS;
    const job = this.#jobs.get(version) ?? this.#add(version, fd, owner, cacheable);
    return this.#wait(job);
  }

  async close(): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#queue.length = 0;
    for (const job of this.#jobs.values()) this.#end(job, unavailable('the attestor is closed'));
    // A thread that hangs in a read would keep us from ending: it is not waited for.
    for (const worker of this.#busy.keys()) void worker.terminate();
    await Promise.all(this.#idle.splice(0).map((worker) => worker.terminate()));
  }

  #add(version: string, fd: number, owner: number, cacheable: boolean): Job {
    const theirs = [...this.#jobs.values()].filter((job) => job.owner === owner).length;
    if (theirs >= MAX_JOBS_PER_OWNER)
      throw unavailable(`uid ${owner} has ${theirs} executables being hashed`);
    const own = openSync(`/proc/self/fd/${fd}`, O_PATH);
    let resolve: Job['resolve'] = () => {};
    let reject: Job['reject'] = () => {};
    const result = new Promise<HashResult>((yes, no) => {
      resolve = yes;
      reject = no;
    });
    result.catch(() => {}); // all who waited may have given up
    const job = { version, owner, fd: own, cacheable, result, resolve, reject };
    this.#jobs.set(version, job);
    this.#queue.push(job);
    this.#next();
    return job;
  }

  async #wait({ result }: Job): Promise<HashResult> {
    const { timeoutSeconds } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      const late = unavailable(`hashing the executable takes more than ${timeoutSeconds} s`);
      timer = setTimeout(() => reject(late), timeoutSeconds * 1000);
    });
    return Promise.race([result, timeout]).finally(() => clearTimeout(timer));
  }

  /** Gives the next job to a worker that has none. A worker that hangs keeps its place, so there are never more. */
  #next(): void {
    const canGrow = this.#idle.length + this.#busy.size < MAX_WORKERS;
    if (this.#queue.length === 0 || (this.#idle.length === 0 && !canGrow)) return;
    clearTimeout(this.#idleTimer);
    const worker = this.#idle.pop() ?? this.#grow();
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#busy.set(worker, job);
    worker.postMessage({ path: `/proc/self/fd/${job.fd}`, version: job.version } satisfies HashRequest);
  }

  #grow(): Worker {
    const worker = new Worker(WORKER, {
      resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 },
    });
    worker.unref();
    worker.on('message', (answer: HashAnswer) => this.#answered(worker, answer));
    worker.on('error', (error) => this.#lost(worker, error));
    worker.on('exit', () => this.#lost(worker, undefined));
    return worker;
  }

  #answered(worker: Worker, answer: HashAnswer): void {
    const job = this.#busy.get(worker);
    this.#busy.delete(worker);
    this.#idle.push(worker);
    if (job !== undefined) this.#end(job, 'error' in answer ? unavailable(answer.error) : answer);
    if (this.#busy.size === 0) this.#idleTimer = setTimeout(() => this.#shrink(), IDLE_MS).unref();
    this.#next();
  }

  #lost(worker: Worker, error: unknown): void {
    const job = this.#busy.get(worker);
    this.#busy.delete(worker);
    const index = this.#idle.indexOf(worker);
    if (index !== -1) this.#idle.splice(index, 1);
    if (job !== undefined) this.#end(job, unavailable('the hashing thread has ended', error));
    this.#next();
  }

  #shrink(): void {
    for (const worker of this.#idle.splice(0)) void worker.terminate();
  }

  #end(job: Job, outcome: Exclude<HashAnswer, { error: string }> | IssuerError): void {
    if (!this.#jobs.delete(job.version)) return;
    closeSync(job.fd);
    if (outcome instanceof IssuerError) job.reject(outcome);
    else if ('changed' in outcome) job.resolve({ unproven: 'exe_changed' });
    else {
      if (job.cacheable) this.#remember(job.version, outcome.sha256);
      job.resolve(outcome);
    }
  }

  #remember(version: string, sha256: string): void {
    this.#cache.delete(version);
    this.#cache.set(version, { sha256, at: this.#options.elapsed() });
    const [oldest] = this.#cache.keys();
    if (this.#cache.size > MAX_CACHED && oldest !== undefined) this.#cache.delete(oldest);
  }
}

const unavailable = (detail: string, cause?: unknown): IssuerError =>
  new IssuerError('temporarily_unavailable', detail, { cause, retryAfterSeconds: 1 });
