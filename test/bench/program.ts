/** Mintmark as it is built, run as its users run it, and the references beside it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ask, type Target } from './load.ts';

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const REFERENCE = fileURLToPath(new URL('./reference.ts', import.meta.url));
const PROVIDER = fileURLToPath(new URL('./reference-provider.ts', import.meta.url));
const STARTS_WITHIN_MS = 20_000;
const POLL_MS = 1;

/** A selector of the bench process, in each of its rules. */
export type Matched = 'unix:uid' | 'unix:path' | 'unix:sha256';

export type Program = {
  readonly pid: number;
  readonly target: Target;
  stop(): Promise<void>;
};

export type Mintmark = Program & {
  readonly publicTarget: Target;
  /** From exec to the first token, in milliseconds. */
  readonly firstTokenMs: number;
  /** That token's share of it, from the request on. */
  readonly firstAnswerMs: number;
};

/** A directory for everything that the bench makes, with keys in it that outlive a restart. */
export type Workshop = {
  readonly directory: string;
  startMintmark(options?: MintmarkOptions): Promise<Mintmark>;
  startKoa(): Promise<Program>;
  startHttp(body: string): Promise<Program>;
  /** A bare oidc-provider. */
  startProvider(): Promise<Program>;
  close(): Promise<void>;
};

export type MintmarkOptions = {
  readonly match?: readonly string[];
  readonly compileCache?: 'kept' | 'none';
  readonly store?: 'file' | 'memory';
  readonly doors?: Readonly<Record<string, unknown>>;
};

/** Throws where there is no build. */
export function openWorkshop(firstRequest: Buffer): Workshop {
  if (!existsSync(MAIN)) throw new Error('dist/main.js is missing: make build');
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-bench-'));
  for (const name of ['state', 'cache', 'run']) mkdirSync(join(directory, name), { mode: 0o700 });
  const running = new Set<ChildProcess>();
  let started = 0;

  function keep(child: ChildProcess): Pick<Program, 'pid' | 'stop'> {
    running.add(child);
    return {
      pid: child.pid ?? 0,
      async stop() {
        running.delete(child);
        if (child.exitCode !== null) return;
        child.kill('SIGTERM');
        await once(child, 'exit');
      },
    };
  }

  async function startReference(args: readonly string[], target: Target, file = REFERENCE): Promise<Program> {
    const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout as NonNullable<typeof child.stdout>, 'data');
    return { ...keep(child), target };
  }

  return {
    directory,
    async startMintmark(options = {}) {
      const { compileCache = 'kept' } = options;
      const name = `mintmark-${started++}`;
      const path = join(directory, 'run', `${name}.sock`);
      const publicPort = await freePort();
      const config = join(directory, `${name}.yaml`);
      writeFileSync(config, JSON.stringify(configuration(directory, path, publicPort, options)));
      const log = openSync(join(directory, `${name}.log`), 'w');
      const startedAt = performance.now();
      const child = spawn(MAIN, ['serve', '--config', config], {
        stdio: ['ignore', log, log],
        env: {
          PATH: [dirname(process.execPath), process.env.PATH].join(delimiter),
          CACHE_DIRECTORY: join(directory, compileCache === 'kept' ? 'cache' : 'nowhere'),
        },
      });
      const program = keep(child);
      const firstAnswerMs = await firstAnswer(child, path, firstRequest, join(directory, `${name}.log`));
      const firstTokenMs = performance.now() - startedAt;
      return {
        ...program,
        target: { path },
        publicTarget: { host: '127.0.0.1', port: publicPort },
        firstTokenMs,
        firstAnswerMs,
      };
    },
    startKoa() {
      const path = join(directory, 'run', `koa-${started++}.sock`);
      return startReference(['koa', path], { path });
    },
    async startHttp(body) {
      const file = join(directory, 'body');
      writeFileSync(file, body);
      const port = await freePort();
      return startReference(['http', String(port), file], { host: '127.0.0.1', port });
    },
    async startProvider() {
      const port = await freePort();
      return startReference([String(port)], { host: '127.0.0.1', port }, PROVIDER);
    },
    async close() {
      for (const child of running) child.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** One rule an algorithm; JSON is YAML. */
function configuration(directory: string, path: string, publicPort: number, options: MintmarkOptions) {
  const { match = [`unix:uid:${process.getuid?.()}`], store = 'file', doors = { fly: {} } } = options;
  const rule = (algorithm: string) => ({
    name: algorithm,
    match,
    subject: 'acme:web:{host}',
    audiences: [audienceOf(algorithm)],
    claims: { app_name: 'web', uid: '{unix.uid}' },
    algorithm,
  });
  return {
    issuer: 'https://id.example.com',
    host: 'web-1',
    socket: { path },
    public: { listen: `127.0.0.1:${publicPort}` },
    status: 'off',
    admin: { path: `${path}.admin` },
    keys: { store: store === 'file' ? { file: join(directory, 'state') } : 'memory' },
    rules: [rule('RS256'), rule('ES256')],
    doors,
  };
}

/** The rules' audience for an algorithm. */
export const audienceOf = (algorithm: string): string => `${algorithm.toLowerCase()}.example.com`;

/** Asks until there is an answer, and resolves to how long that one took, in milliseconds. */
async function firstAnswer(child: ChildProcess, path: string, request: Buffer, log: string): Promise<number> {
  const givesUpAt = performance.now() + STARTS_WITHIN_MS;
  for (;;) {
    const askedAt = performance.now();
    try {
      await ask({ path }, request);
      return performance.now() - askedAt;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isNotYet = code === 'ENOENT' || code === 'ECONNREFUSED';
      if (!isNotYet || child.exitCode !== null || performance.now() > givesUpAt)
        throw new Error(`mintmark did not start: ${readFileSync(log, 'utf8')}`, { cause: error });
      await sleep(POLL_MS);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { readonly port: number };
  server.close();
  await once(server, 'close');
  return port;
}

/** Private memory of a process in MiB: RssAnon of proc_pid_status(5). */
export function privateMiB(pid: number): number {
  const kilobytes = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kilobytes) / 1024;
}
