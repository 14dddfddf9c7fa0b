/** Callers that ask to be attested, run by an executable of their own. */
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { start } from './actor.ts';
import { createDirectory } from './server.ts';

export const ROOT_NEEDED = 'takes root: it looks at processes of other users';
export const EXECUTABLE = ['unix:path', 'unix:sha256'];
export const EXE = `/?wanted=${EXECUTABLE}`;
export const DEFAULTS = { executableLimitMiB: 256, hashTimeoutSeconds: 20 };

export const sha256 = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** An answer as test/attack/kit.py prints it. */
export function parse(line: string) {
  const [status, ...words] = line.split(' ');
  return { status: Number(status), body: JSON.parse(words.join(' ')) };
}

/** A copy of python that attacker and victim can run as their own. */
export function copyPython(t: TestContext, name: string): string {
  const path = join(createDirectory(t), name);
  copyFileSync('/usr/bin/python3', path);
  chmodSync(path, 0o755);
  return path;
}

/** Runs a program of kit.py's words by another interpreter; `wrapper` is for namespaces. */
export function run(
  t: TestContext,
  interpreter: string,
  script: string,
  args: string[],
  wrapper: string[] = [],
) {
  return start(t, [...wrapper, interpreter, '-c', `from kit import *\n${script}`, ...args]);
}

export const ASK = `drop(1234)\nsay(ask(connect(sys.argv[1]), "${EXE}"))\nwait()`;
