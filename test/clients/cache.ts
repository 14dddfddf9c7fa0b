/** What foreign verifiers need, made once: below MINTMARK_TEST_CACHE or the system's temporary directory. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));

export function hasProgram(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0;
}

function cacheDirectory(): string {
  const uid = process.getuid?.();
  const directory = process.env.MINTMARK_TEST_CACHE ?? join(tmpdir(), `mintmark-test-${uid}`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  // Its programs are run: nobody else may have put them there.
  assert.equal(lstatSync(directory).uid, uid, `${directory} belongs to somebody else`);
  return directory;
}

/** A virtual environment with what test/clients/python/FILE names; resolves to its directory of programs. */
export function pythonPrograms(file: string): string {
  const requirements = join(HERE, 'python', file);
  const hash = createHash('sha256').update(readFileSync(requirements)).digest('hex').slice(0, 16);
  const directory = join(cacheDirectory(), `python-${hash}`);
  if (!existsSync(join(directory, 'complete'))) {
    rmSync(directory, { recursive: true, force: true });
    run('python3', ['-m', 'venv', directory]);
    run(join(directory, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '-r', requirements]);
    mkdirSync(join(directory, 'complete'));
  }
  return join(directory, 'bin');
}

/** The Go verifier, built. */
export function goVerifier(): string {
  return goProgram('go', 'go-verifier');
}

/** A Go program of test/clients, built; Go's own cache makes the second time quick. */
export function goProgram(directory: string, name: string): string {
  const program = join(cacheDirectory(), name);
  const built = `${program}.${process.pid}`;
  run('env', [...goCommand(), 'build', '-mod=readonly', '-o', built, '.'], join(HERE, directory));
  renameSync(built, program);
  return program;
}

/** What `env` runs: a `go` that is new enough for the verifier's go.mod. Debian's may be older, and a toolchain is a module like others. */
function goCommand(): readonly string[] {
  const [, wanted = ''] = /^go (\S+)$/m.exec(readFileSync(join(HERE, 'go', 'go.mod'), 'utf8')) ?? [];
  const cwd = cacheDirectory(); // an old go cannot even read that go.mod
  const ask = (...args: string[]) => execFileSync('go', args, { cwd, encoding: 'utf8' });
  const [version = '', os, architecture] = ask('env', 'GOVERSION', 'GOOS', 'GOARCH').trim().split('\n');
  if (minorOf(version) >= minorOf(wanted)) return ['go'];
  const toolchain = `golang.org/toolchain@v0.0.1-go${wanted}.${os}-${architecture}`;
  try {
    const { Dir: directory } = JSON.parse(ask('mod', 'download', '-json', toolchain)) as { Dir: string };
    // From go 1.21 on it does that by itself.
    run('chmod', ['-R', 'a+x', join(directory, 'bin'), join(directory, 'pkg', 'tool')]);
    return ['-u', 'GOROOT', join(directory, 'bin', 'go')];
  } catch (cause) {
    throw new Error(`the verifier takes go ${wanted}; here is ${version}, and ${toolchain} cannot be had`, {
      cause,
    });
  }
}

/** `go1.25.3` → 25. */
function minorOf(version: string): number {
  return Number(/1\.(\d+)/.exec(version)?.[1] ?? 0);
}

export const pythonVerifier = join(HERE, 'python', 'verify.py');

function run(program: string, args: readonly string[], cwd?: string): void {
  execFileSync(program, args, { cwd, stdio: ['ignore', 'pipe', 'inherit'] });
}
