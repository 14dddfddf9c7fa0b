/** A machine with a real systemd, for as long as a test: see boot.sh. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Output, run } from '../deploy/program.ts';

const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url));
const NAMESPACES = ['--mount', '--pid', '--uts', '--ipc', '--net'];
const CONTROL_GROUPS = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified', '/sys/fs/cgroup/systemd'];
const BOOT_SECONDS = 30;

export type Machine = {
  /** Runs a command in the machine, as root. */
  run(command: string, ...args: readonly string[]): Promise<Output>;
  read(path: string): string;
  write(path: string, text: string): void;
  stop(): Promise<void>;
};

/** Lays `directory`/files over this machine's. Resolves when mintmark.service is up. */
export async function bootMachine(directory: string): Promise<Machine> {
  const options = [...NAMESPACES, '--propagation', 'private', '--fork', '--kill-child'];
  const child = spawn('unshare', [...options, 'bash', BOOT, directory], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const errors = text(child.stderr);
  const pid = await firstChild(child);
  const inside = (path: string) => join(`/proc/${pid}/root`, path);
  const machine: Machine = {
    run: (command, ...args) =>
      run('nsenter', ['--target', String(pid), ...NAMESPACES, '--cgroup', command, ...args]),
    read: (path) => readFileSync(inside(path), 'utf8'),
    write: (path, content) => writeFileSync(inside(path), content),
    stop: () => stop(child, pid),
  };
  for (let waited = 0; waited < BOOT_SECONDS && child.exitCode === null; waited += 0.1) {
    const { code } = await machine.run('systemctl', 'is-active', 'mintmark.service');
    if (code === 0) return machine;
    await sleep(100);
  }
  const { stdout } = await machine.run('journalctl', '--unit=mintmark', '--lines=10', '--output=cat');
  await machine.stop();
  throw new Error(`mintmark.service is not up after ${BOOT_SECONDS} s: ${stdout}${await errors}`);
}

/** The first process of the machine, by the number that it has out here. */
async function firstChild(child: ChildProcess): Promise<number> {
  const children = `/proc/${child.pid}/task/${child.pid}/children`;
  while (readFileSync(children, 'utf8').trim() === '') await sleep(10);
  return Number(readFileSync(children, 'utf8'));
}

/** The kernel ends all processes of the machine with its first. */
async function stop(child: ChildProcess, pid: number): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, 'exit');
    process.kill(pid, 'SIGKILL');
    await ended;
  }
  const groups = CONTROL_GROUPS.map((group) => `${group}/mintmark-e2e`).filter((group) => existsSync(group));
  await run('find', [...groups, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';']);
}
