/** What the machine signs with nothing around it: node:crypto in worker threads, and in libuv's pool. */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';

export const ALGORITHMS = ['RS256', 'ES256'] as const;
export type RawAlgorithm = (typeof ALGORITHMS)[number];

type Job = { readonly key: KeyObject; readonly seconds: number };

const INPUT = Buffer.alloc(600, 'a');
const BATCH = 16;

export function generateKey(algorithm: RawAlgorithm): KeyObject {
  return algorithm === 'RS256'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
    : generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

/** Signatures a second of so many threads that do nothing else. */
export async function signInThreads(key: KeyObject, threads: number, seconds: number): Promise<number> {
  const workers = Array.from(
    { length: threads },
    () => new Worker(new URL(import.meta.url), { workerData: { key, seconds } satisfies Job }),
  );
  await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
  for (const worker of workers) worker.postMessage('go');
  const rates = await Promise.all(
    workers.map((worker) => new Promise<number>((resolve) => worker.once('message', resolve))),
  );
  await Promise.all(workers.map((worker) => worker.terminate()));
  return rates.reduce((sum, rate) => sum + rate, 0);
}

/** Signs in libuv's pool, with a key of its own. */
export function createSigner(algorithm: RawAlgorithm): () => Promise<Buffer> {
  const key = input(generateKey(algorithm));
  return () =>
    new Promise((resolve, reject) => {
      sign('sha256', INPUT, key, (error, signature) => (error === null ? resolve(signature) : reject(error)));
    });
}

/** Signatures a second of libuv's pool, kept full. */
export async function signInPool(key: KeyObject, seconds: number): Promise<number> {
  const startedAt = performance.now();
  const endsAt = startedAt + seconds * 1000;
  let signed = 0;
  const next = (resolve: () => void) =>
    sign('sha256', INPUT, input(key), () => {
      signed++;
      if (performance.now() < endsAt) next(resolve);
      else resolve();
    });
  const inFlight = 4 * availableParallelism();
  await Promise.all(Array.from({ length: inFlight }, () => new Promise<void>(next)));
  return (signed / (performance.now() - startedAt)) * 1000;
}

const input = (key: KeyObject) => ({ key, dsaEncoding: 'ieee-p1363' as const });

function signFor({ key, seconds }: Job): number {
  const startedAt = performance.now();
  let signed = 0;
  while (performance.now() < startedAt + seconds * 1000) {
    for (let index = 0; index < BATCH; index++) sign('sha256', INPUT, input(key));
    signed += BATCH;
  }
  return (signed / (performance.now() - startedAt)) * 1000;
}

if (!isMainThread && workerData !== null) {
  parentPort?.once('message', () => parentPort?.postMessage(signFor(workerData as Job)));
  parentPort?.postMessage('ready');
}
