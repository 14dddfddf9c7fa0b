/** The cluster of `./cluster`, brought up where it is not, and the commands that an operator would give it. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { KubeConfig } from '@kubernetes/client-node';
import { loadImages } from './images.ts';

const SCRIPT = fileURLToPath(new URL('cluster', import.meta.url));
const PATIENCE_SECONDS = 60;

export type Output = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs `./cluster COMMAND …` to its end; a failure is an answer too. */
export function tryCluster(args: readonly string[], input?: string): Promise<Output> {
  return new Promise((resolve) => {
    const child = execFile(SCRIPT, args, { maxBuffer: 64 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
    child.stdin?.end(input ?? '');
  });
}

/** Its output; throws what it said where it failed. */
export async function cluster(args: readonly string[], input?: string): Promise<string> {
  const { code, stdout, stderr } = await tryCluster(args, input);
  assert.equal(code, 0, `cluster ${args.join(' ')}: ${stderr}${stdout}`);
  return stdout.trim();
}

export const kubectl = (...args: readonly string[]) => cluster(['kubectl', ...args]);
export const tryKubectl = (...args: readonly string[]) => tryCluster(['kubectl', ...args]);
export const helm = (...args: readonly string[]) => cluster(['helm', ...args]);

export type Manifest = Readonly<Record<string, unknown>> & { readonly kind: string };

const listOf = (items: readonly Manifest[]) => JSON.stringify({ apiVersion: 'v1', kind: 'List', items });
export const apply = (...items: readonly Manifest[]) =>
  cluster(['kubectl', 'apply', '-f', '-'], listOf(items));
export const tryApply = (items: readonly Manifest[], ...options: readonly string[]) =>
  tryCluster(['kubectl', 'apply', '-f', '-', ...options], listOf(items));

/** One object, or undefined where there is none. */
export async function get<T>(namespace: string, kind: string, name: string): Promise<T | undefined> {
  const { code, stdout, stderr } = await tryKubectl('-n', namespace, 'get', kind, name, '-o', 'json');
  if (code === 0) return JSON.parse(stdout) as T;
  assert.match(stderr, /NotFound/);
  return undefined;
}

/** The names of what there is of a kind. */
export async function namesOf(
  namespace: string,
  kind: string,
  ...options: string[]
): Promise<readonly string[]> {
  const text = await kubectl('-n', namespace, 'get', kind, '-o', 'name', ...options);
  return text === '' ? [] : text.split('\n').map((name) => name.slice(name.indexOf('/') + 1));
}

let started: Promise<KubeConfig> | undefined;

/** Up, with the images of the tests: once, whoever asks. */
export function startCluster(): Promise<KubeConfig> {
  started ??= (async () => {
    const file = await cluster(['up']);
    await loadImages(join(dirname(file), 'run'));
    const config = new KubeConfig();
    config.loadFromFile(file);
    return config;
  })();
  return started;
}

/** A namespace with a new name, for one test. */
export async function createNamespace(prefix: string, labels: Readonly<Record<string, string>> = {}) {
  const name = `${prefix}-${Math.random().toString(36).slice(2, 7)}`;
  await apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
  await eventually('the default service account', () => get(name, 'serviceaccount', 'default'));
  return name;
}

/** It goes by and by; `gone` waits until it has. */
export const deleteNamespace = (name: string, gone = false) =>
  kubectl('delete', 'namespace', name, '--ignore-not-found', `--wait=${gone}`, '--timeout=120s');

/** What `look` finds, as soon as it finds something. */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  seconds = PATIENCE_SECONDS,
): Promise<Exclude<NonNullable<T>, false>> {
  const deadline = performance.now() + seconds * 1000;
  let last: unknown;
  while (performance.now() < deadline) {
    try {
      const found = await look();
      if (found !== undefined && found !== null && found !== false)
        return found as Exclude<NonNullable<T>, false>;
    } catch (error) {
      last = error;
    }
    await sleep(100);
  }
  throw new Error(`waited ${seconds} s in vain for ${what}`, { cause: last });
}

/** Stops a program of the cluster with SIGSTOP, as a machine that hangs would be; returns what lets it go on. */
export async function freeze(program: string): Promise<() => void> {
  const file = await cluster(['kubeconfig']);
  const [pid] = readFileSync(join(dirname(file), 'run', `${program}.pid`), 'utf8').split(' ');
  process.kill(Number(pid), 'SIGSTOP');
  return () => void process.kill(Number(pid), 'SIGCONT');
}
