/** The program as an operator runs it: a process of its own with a configuration file. */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const SOURCE = join(ROOT, 'src/main.ts');

export function createDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-deploy-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes `mintmark.yaml` into the directory: these settings, and a socket in `run`. Its path and the socket's. */
export function writeConfig(directory: string, settings: string): { file: string; socket: string } {
  const socket = join(directory, 'run', 'api.sock');
  mkdirSync(join(directory, 'run'), { mode: 0o755, recursive: true });
  const file = join(directory, 'mintmark.yaml');
  writeFileSync(file, `socket: ${socket}\n${settings}`);
  return { file, socket };
}

export type Program = {
  readonly pid: number;
  readonly socket: string;
  readonly file: string;
  /** What the line "ready" says: issuer, status, admin, public, workload. */
  readonly ready: Readonly<Record<string, string>>;
};

/** Starts `mintmark serve` and waits until it is ready. It is ended after the test. */
export async function startProgram(t: TestContext, settings: string, main = SOURCE): Promise<Program> {
  const { file, socket } = writeConfig(createDirectory(t), settings);
  const child = spawn(process.execPath, [main, 'serve', '--config', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.after(async () => {
    if (child.exitCode !== null || !child.kill('SIGTERM')) return;
    await once(child, 'exit');
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const ready = await new Promise<Program['ready']>((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`mintmark ended with ${code}: ${errors}`)));
    createInterface(child.stdout).on('line', (line) => {
      const fields = JSON.parse(line);
      if (fields.msg === 'ready') resolve(fields);
    });
  });
  assert(child.pid !== undefined);
  return { pid: child.pid, socket, file, ready };
}

export type Answer = { readonly status: number; readonly text: string };

/** Asks a UNIX socket for a token, as any HTTP client would. */
export function askToken(socketPath: string, audience: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path: '/v1/tokens/oidc', method: 'POST' }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    outgoing.on('error', reject);
    outgoing.end(JSON.stringify({ aud: audience }));
  });
}

export type Output = { readonly code: number; readonly stdout: string; readonly stderr: string };

/** Runs a command to its end; a failure is an answer too. */
export function run(command: string, args: readonly string[], cwd = ROOT): Promise<Output> {
  return new Promise((resolve) => {
    execFile(command, args, { cwd, maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, stdout, stderr });
    });
  });
}

/** Whether a command is there, whatever it answers. */
export async function hasCommand(command: string): Promise<boolean> {
  return (await run('which', [command])).code === 0;
}
