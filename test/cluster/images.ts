/**
 * The images of the cluster tests, made without a registry and without Docker:
 * deploy/Dockerfile over nothing but node, and a workload that has a shell and curl.
 */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT, run } from '../deploy/program.ts';
import { install } from '../e2e/installation.ts';
import { cluster } from './cluster.ts';

const HOME = 'opt/mintmark';
export const MINTMARK = 'localhost/mintmark:1';
/** The program as a release that comes after it might be: it says more of keys and of the ring in what it stores. */
export const MINTMARK_NEXT = 'localhost/mintmark:2';
export const WORKLOAD = 'localhost/workload:1';

/** Into the cluster, unless they are there: `marks` is a directory that goes with the cluster. */
export async function loadImages(marks: string): Promise<void> {
  const mark = join(marks, 'mintmark-images');
  const sources = [
    join(ROOT, 'dist/main.js'),
    join(ROOT, 'deploy/Dockerfile'),
    fileURLToPath(import.meta.url),
  ];
  const built = sources.map((path) => readFileSync(path, 'utf8')).join('');
  if (existsSync(mark) && readFileSync(mark, 'utf8') === built) return;
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-images-'));
  try {
    const archives = [...(await mintmarkImages(directory)), await workloadImage(directory)];
    await cluster(['load-image', ...archives]);
    writeFileSync(mark, built);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function mintmarkImages(directory: string): Promise<readonly string[]> {
  const root = join(directory, 'mintmark');
  await copyProgram(root, process.execPath, '/usr/bin/node');
  install(join(root, HOME));
  mkdirSync(join(root, HOME, 'deploy'));
  cpSync(join(ROOT, 'deploy/warm-cache.mjs'), join(root, HOME, 'deploy/warm-cache.mjs'));
  const { steps, ...config } = parseDockerfile(readFileSync(join(ROOT, 'deploy/Dockerfile'), 'utf8'));
  await runSteps(root, steps);
  const archives: string[] = [];
  for (const name of [MINTMARK, MINTMARK_NEXT]) {
    if (name === MINTMARK_NEXT) storeMore(join(root, HOME, 'dist/chunks'));
    const archive = join(directory, `mintmark-${archives.length}.tar`);
    await cluster(['make-image', name, root, archive, JSON.stringify(config)]);
    archives.push(archive);
  }
  return archives;
}

/** In the text of the bundle; its cache of compiled code is not used for it then. */
function storeMore(chunks: string): void {
  const stored = /JSON\.stringify\(\{format:(\w+),changedAt:([\w.]+),keys:(\w+)\}\)/;
  const found = readdirSync(chunks)
    .filter((name) => name.endsWith('.js'))
    .map((name) => join(chunks, name))
    .filter((path) => stored.test(readFileSync(path, 'utf8')));
  assert.equal(found.length, 1, 'the header of the stored ring is written in one place');
  const [path = ''] = found;
  const more =
    'JSON.stringify({format:$1,changedAt:$2,release:2,keys:$3.map(key=>({...key,madeBy:"release 2"}))})';
  writeFileSync(path, readFileSync(path, 'utf8').replace(stored, more));
}

type Step = {
  readonly user: string;
  readonly env: Readonly<Record<string, string>>;
  readonly command: readonly string[];
};

/** What deploy/Dockerfile says of the image, and the programs that it runs in it. */
function parseDockerfile(text: string) {
  const env: Record<string, string> = { PATH: '/usr/bin' };
  const steps: Step[] = [];
  const found: Record<string, string> = { USER: '0:0' };
  for (const line of text.replaceAll('\\\n', ' ').split('\n')) {
    const [, instruction = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (instruction === 'RUN')
      steps.push({ user: found.USER ?? '', env: { ...env }, command: JSON.parse(rest) });
    else if (instruction === 'ENV')
      for (const [, name = '', value = ''] of rest.matchAll(/(\w+)=(\S+)/g)) env[name] = value;
    else found[instruction] = rest;
  }
  return {
    steps,
    Entrypoint: JSON.parse(found.ENTRYPOINT ?? ''),
    Cmd: JSON.parse(found.CMD ?? ''),
    User: found.USER,
    WorkingDir: found.WORKDIR,
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
  };
}

/** A network in which nothing else has taken the ports. */
const OWN_NETWORK = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];

/** In namespaces of their own, as they would run where the image is built. */
async function runSteps(root: string, steps: readonly Step[]): Promise<void> {
  for (const directory of ['proc', 'dev']) mkdirSync(join(root, directory));
  await must('mknod', ['-m', '666', join(root, 'dev/null'), 'c', '1', '3']);
  for (const { user, env, command } of steps) {
    const [uid = '', gid = ''] = user.split(':');
    const where = [`--root=${root}`, `--wd=/${HOME}`, '--mount-proc', `--setuid=${uid}`, `--setgid=${gid}`];
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    const program = [...OWN_NETWORK, 'unshare', '--mount', '--pid', '--fork', ...where, '--', ...command];
    await must('env', ['-i', ...variables, ...program]);
  }
  rmSync(join(root, 'dev/null'));
}

/** Debian's static busybox and this machine's curl: what a script has that knows no SDK. */
async function workloadImage(directory: string): Promise<string> {
  const root = join(directory, 'workload');
  await copyProgram(root, '/bin/busybox', '/bin/busybox');
  for (const name of ['sh', 'cat', 'ls', 'sleep', 'env', 'id', 'ps', 'rm', 'touch', 'date'])
    symlinkSync('busybox', join(root, 'bin', name));
  await copyProgram(root, '/usr/bin/curl', '/bin/curl');
  mkdirSync(join(root, 'tmp'), { mode: 0o777 });
  const archive = join(directory, 'workload.tar');
  await cluster(['make-image', WORKLOAD, root, archive, '{"Cmd":["/bin/sh"],"Env":["PATH=/bin"]}']);
  return archive;
}

/** A program and the libraries that it loads. */
async function copyProgram(root: string, from: string, to: string): Promise<void> {
  const { stdout } = await run('ldd', [from]);
  const libraries = [...stdout.matchAll(/\/\S+/g)].map(([path]) => path).filter((path) => existsSync(path));
  for (const [source, target] of [[from, to], ...libraries.map((path) => [path, path])] as const) {
    mkdirSync(dirname(join(root, target)), { recursive: true });
    copyFileSync(source, join(root, target));
  }
}

async function must(command: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}${stdout}`);
}
