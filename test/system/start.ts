/**
 * Mintmark as its users run it: a process of its own, spoken to over its sockets
 * and signals. MINTMARK_TEST_PROGRAM names another entry point (dist/main.js).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { stringify } from 'yaml';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The program as it is written, module by module. */
export const SOURCE = resolve(ROOT, 'src/main.ts');
const PROGRAM = resolve(ROOT, process.env.MINTMARK_TEST_PROGRAM ?? SOURCE);

/** Whatever a test or a suite hangs its clean-up on. */
export type Scope = { after(clean: () => Promise<void>): void };

type Step = () => Promise<unknown> | unknown;
const steps = new WeakMap<Scope, Step[]>();

/** Closes in reverse order what was opened, all of it, also where one step fails. */
export function defer(scope: Scope, step: Step): void {
  const known = steps.get(scope);
  if (known !== undefined) return void known.push(step);
  const begun = [step];
  steps.set(scope, begun);
  scope.after(() => unwind(begun));
}

async function unwind(left: Step[]): Promise<void> {
  const step = left.pop();
  if (step === undefined) return;
  try {
    await step();
  } finally {
    await unwind(left);
  }
}

export type Settings = Readonly<Record<string, unknown>>;
export type Variables = Readonly<Record<string, string | undefined>>;

/** The user who runs the tests, to whom the rules below give tokens. */
export const OWN_UID = process.getuid?.() ?? 0;
/** An uid that has no account. */
export const OTHER_UID = 54_321;
export const AUDIENCE = 'https://example.com';

/** A directory of its own for one server, with everything that it needs named. */
export type Place = {
  readonly directory: string;
  readonly socket: string;
  readonly admin: string;
  readonly state: string;
  readonly config: string;
  readonly port: number;
  /** The issuer's URL, and where its documents are. */
  readonly issuer: string;
};

/** Others may look into the directory; it is removed after the test. */
export async function createPlace(scope: Scope): Promise<Place> {
  const directory = mkdtempSync(join(tmpdir(), 'mintmark-'));
  defer(scope, () => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  mkdirSync(join(directory, 'run'), { mode: 0o755 });
  const port = await freePort();
  return {
    directory,
    socket: join(directory, 'run', 'api.sock'),
    admin: join(directory, 'run', 'admin.sock'),
    state: join(directory, 'state'),
    config: join(directory, 'mintmark.yaml'),
    port,
    issuer: `http://127.0.0.1:${port}`,
  };
}

const PORTS = 250;
let portsTaken = Math.floor(Math.random() * PORTS);

/** Below the ports that the kernel hands out by itself, each process in its own row: nobody takes it in between. */
async function freePort(): Promise<number> {
  const port = 20_000 + (process.pid % 48) * PORTS + (portsTaken++ % PORTS);
  const probe = createServer();
  try {
    await new Promise<void>((done, failed) =>
      probe.once('error', failed).listen(port, '127.0.0.1', () => done()),
    );
    return port;
  } catch {
    return freePort();
  } finally {
    probe.close();
  }
}

/** A rule for the user who runs the tests. */
export function ruleFor(rule: Settings = {}): Settings {
  return {
    name: 'own processes',
    match: [`unix:uid:${OWN_UID}`],
    subject: 'acme:web:{host}',
    audiences: [AUDIENCE],
    ...rule,
  };
}

/** A development issuer that everybody may connect to; `settings` take the place of its own. */
export function writeConfig(place: Place, settings: Settings = {}): void {
  const own = {
    issuer: place.issuer,
    host: 'web-1',
    socket: { path: place.socket, mode: '0666' },
    public: { listen: `127.0.0.1:${place.port}`, cacheFor: '1s' },
    status: { listen: '127.0.0.1:0' },
    keys: { store: 'memory' },
    rules: [ruleFor()],
  };
  writeFileSync(place.config, stringify({ ...own, ...settings }));
}

export type LogLine = { readonly level: string; readonly msg: string; readonly [field: string]: unknown };

export type Server = Place & {
  readonly pid: number;
  /** Where /metrics and the probes are. */
  readonly status: string;
  /** Everything that it has written to stdout and stderr. */
  output(): string;
  lines(): readonly LogLine[];
  /** The first line of this message, waited for. */
  line(message: string | RegExp, from?: number): Promise<LogLine>;
  signal(signal: NodeJS.Signals): void;
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** SIGTERM; its exit code. */
  stop(): Promise<number | NodeJS.Signals>;
};

export type StartOptions = {
  /** Command-line options in place of `--config`. */
  readonly args?: readonly string[];
  readonly env?: Variables;
  readonly uid?: number;
  /** A file, such as a device, in place of the log. */
  readonly stdout?: string;
  /** A program that becomes the server. */
  readonly wrapper?: readonly string[];
  /** Another entry point than the one under test. */
  readonly main?: string;
};

/** Starts `serve` and waits until it is ready; ended, by its pid, with the test. Throws what it said instead. */
export async function start(scope: Scope, place: Place, options: StartOptions = {}): Promise<Server> {
  const server = launch(scope, place, options);
  const failed = server.ended.then((code) => {
    throw new Error(`serve has ended (${code}): ${server.output()}`);
  });
  failed.catch(() => undefined);
  const ready = (await Promise.race([server.line('ready'), failed])) as LogLine;
  return { ...server, status: String(ready.status) };
}

/** The same without waiting. */
export function launch(scope: Scope, place: Place, options: StartOptions = {}): Omit<Server, 'status'> {
  const log = join(place.directory, `log-${Math.random().toString(36).slice(2)}`);
  const stdout = openSync(options.stdout ?? log, 'a');
  const stderr = openSync(`${log}.err`, 'a');
  const { args = ['--config', place.config], main = PROGRAM } = options;
  const [program = '', ...rest] = [...(options.wrapper ?? []), process.execPath, main, 'serve', ...args];
  const child = spawn(program, rest, {
    ...surroundings(options),
    stdio: ['ignore', stdout, stderr],
  });
  closeSync(stdout);
  closeSync(stderr);
  const ended = endOf(child);
  const signal = (name: NodeJS.Signals) => void child.kill(name);
  defer(scope, () => {
    signal('SIGKILL');
    return ended;
  });
  const readLog = () => (options.stdout === undefined ? readFileSync(log, 'utf8') : '');
  const lines = () => parseLines(readLog());
  const output = () => readLog() + readFileSync(`${log}.err`, 'utf8');
  return {
    ...place,
    pid: child.pid ?? 0,
    output,
    lines,
    line: (message, from = 0) =>
      until(
        () =>
          lines()
            .slice(from)
            .find(({ msg }) => (typeof message === 'string' ? msg === message : message.test(msg))),
        () => `the log line ${message}: ${output()}`,
      ),
    signal,
    ended,
    stop: () => {
      signal('SIGTERM');
      return ended;
    },
  };
}

/** Only whole lines: the last one may still be on its way. */
function parseLines(log: string): readonly LogLine[] {
  return log
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as LogLine);
}

type Surroundings = Pick<StartOptions, 'env' | 'uid'>;

/** Settings of whoever runs the tests are not the server's. */
function surroundings({ env, uid }: Surroundings) {
  const clean = Object.entries(process.env).filter(([name]) => !/^(?:MINTMARK_|AWS_|NODE_TEST)/.test(name));
  const ids = uid === undefined ? {} : { uid, gid: uid };
  return { env: { ...Object.fromEntries(clean), ...env }, ...ids };
}

async function endOf(child: ChildProcess): Promise<number | NodeJS.Signals> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals];
  return code ?? signal;
}

export type Outcome = {
  readonly code: number | NodeJS.Signals;
  readonly stdout: string;
  readonly stderr: string;
};

/** Runs a command to its end. */
export async function mintmark(
  args: readonly string[],
  options: Surroundings & {
    readonly input?: string | Buffer;
    readonly isUnread?: boolean;
    /** A program that becomes the command. */
    readonly wrapper?: readonly string[];
  } = {},
): Promise<Outcome> {
  const [program = '', ...rest] = [...(options.wrapper ?? []), process.execPath, PROGRAM, ...args];
  const child = spawn(program, rest, surroundings(options));
  if (options.isUnread === true) child.stdout.destroy();
  child.stdin.on('error', () => undefined);
  child.stdin.end(options.input);
  const [code, stdout, stderr] = await Promise.all([
    endOf(child),
    options.isUnread === true ? '' : text(child.stdout),
    text(child.stderr),
  ]);
  return { code, stdout, stderr };
}

const PATIENCE_MS = 20_000;

/** What `look` finds, as soon as it finds something. */
export async function until<T>(
  look: () => T | Promise<T>,
  what: string | (() => string),
): Promise<NonNullable<T>> {
  const deadline = performance.now() + PATIENCE_MS;
  while (performance.now() < deadline) {
    const found = await look();
    if (found !== undefined && found !== null && found !== false) return found;
    await sleep(10);
  }
  throw new Error(`waited in vain for ${typeof what === 'string' ? what : what()}`);
}
