/** Processes of other users, driven by the test: Python scripts that speak in lines. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';

const KIT = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = existsSync('/usr/bin/python3') ? '/usr/bin/python3' : 'python3';

export type Actor = {
  readonly pid: number;
  readonly process: ChildProcess;
  /** The next line it says. Throws with what it wrote to standard error when it ends instead. */
  hear(): Promise<string>;
  /** Lets it go on from its `wait()`. */
  go(): void;
  ended(): Promise<void>;
};

/** Runs a script of test/attack/kit.py's words; it is killed when the test ends. */
export function startActor(t: TestContext, script: string, ...args: string[]): Actor {
  return start(t, [PYTHON, '-c', `from kit import *\n${script}`, ...args]);
}

/** Runs a program, under a wrapper such as `unshare` where one is given. */
export function start(t: TestContext, command: readonly string[]): Actor {
  const [program = '', ...args] = command;
  const env = { ...process.env, PYTHONPATH: KIT, PYTHONDONTWRITEBYTECODE: '1', NODE_NO_WARNINGS: '1' };
  const child = spawn(program, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  let complaints = '';
  child.stderr.on('data', (chunk) => {
    complaints += chunk;
  });
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exit = once(child, 'exit');
  t.after(async () => {
    child.kill('SIGKILL');
    await exit;
  });
  return {
    pid: child.pid ?? 0,
    process: child,
    async hear() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the actor has ended: ${complaints}`);
      return value;
    },
    go: () => child.stdin.write('\n'),
    ended: async () => {
      await exit;
    },
  };
}

export const python = (file: string, ...args: string[]): string[] => [PYTHON, `${KIT}${file}`, ...args];
