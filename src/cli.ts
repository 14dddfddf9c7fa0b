/** argv → command. With main.ts the only file that touches the process. */
import { writeSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { type ParseArgsOptionsConfig, parseArgs } from 'node:util';
import packageJson from '../package.json' with { type: 'json' };
import { type Command, CommandError, EXIT, type Io, Values } from './commands/command.ts';
import { type CommandName, commands } from './commands/index.ts';

/** Resolves to the exit code; `stopped` once somebody wants `serve` to end. */
export async function run(argv: readonly string[], stopped: Promise<void>): Promise<number> {
  const [name = '--help', ...rest] = argv;
  const io = createIo(stopped);
  try {
    if (name === '--version' || name === '-v') return await runCommand('version', rest, io);
    if (name === '--help' || name === '-h' || name === 'help') return await help(rest, io);
    if (!isCommand(name)) throw unknownCommand(name);
    return await runCommand(name, rest, io);
  } catch (error) {
    // Whoever read the output, such as `head`, has enough of it.
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return EXIT.failed;
    io.writeError(`mintmark: ${describe(error)}\n`);
    return error instanceof CommandError ? error.exitCode : EXIT.failed;
  }
}

async function runCommand(name: CommandName, argv: readonly string[], io: Io): Promise<number> {
  const { command } = (await commands[name]()) as { readonly command: Command };
  const options: ParseArgsOptionsConfig = { help: { type: 'boolean', short: 'h' } };
  for (const [option, { type, multiple, short }] of Object.entries(command.options))
    options[option] = {
      type,
      ...(multiple === undefined ? {} : { multiple }),
      ...(short === undefined ? {} : { short }),
    };
  const parsed = parse(name, argv, options);
  if (parsed.values.help === true) return help([name], io);
  const empty = Object.entries(parsed.values).find(([, value]) => [value].flat().includes(''))?.[0];
  if (empty !== undefined)
    throw new CommandError(`--${empty} is empty: see mintmark ${name} --help`, EXIT.usage);
  const surplus = surplusWord(command, parsed.positionals);
  if (surplus !== undefined)
    throw new CommandError(`mintmark ${name} takes no "${surplus}": see mintmark ${name} --help`, EXIT.usage);
  return command.run({ io, values: new Values(parsed.values), words: parsed.positionals });
}

/** A first word that is not known is the command's to refuse. */
function surplusWord({ words }: Command, [first, ...more]: readonly string[]): string | undefined {
  if (words === undefined || first === undefined) return first;
  return Object.hasOwn(words, first) ? more[words[first] ?? 0] : undefined;
}

function parse(name: string, argv: readonly string[], options: ParseArgsOptionsConfig) {
  try {
    return parseArgs({ args: keyIdsLast(argv), options, allowPositionals: true });
  } catch (error) {
    const [sentence] = (error as Error).message.split(/\.?(?: |\n)(?=[A-Z])/);
    throw new CommandError(`${sentence}: see mintmark ${name} --help`, EXIT.usage);
  }
}

/** One key id in 64 begins with a dash and would be taken for options. */
const DASHED_KEY_ID = /^-[\w-]{42}$/;

function keyIdsLast(argv: readonly string[]): string[] {
  if (argv.includes('--')) return [...argv];
  const isKeyId = (word: string) => DASHED_KEY_ID.test(word);
  if (!argv.some(isKeyId)) return [...argv];
  return [...argv.filter((word) => !isKeyId(word)), '--', ...argv.filter(isKeyId)];
}

async function help([name, surplus]: readonly string[], io: Io): Promise<number> {
  if (surplus !== undefined)
    throw new CommandError(`mintmark help takes no "${surplus}": see mintmark --help`, EXIT.usage);
  if (name !== undefined && !isCommand(name)) throw unknownCommand(name);
  if (name === undefined) {
    const lines = Object.entries(commands).map(
      async ([command, load]) => `  ${command.padEnd(11)} ${((await load()).command as Command).summary}`,
    );
    io.write(`${HEADLINE}\n\n${(await Promise.all(lines)).join('\n')}\n\n${FOOTER}\n`);
    return EXIT.ok;
  }
  const { command } = (await commands[name]()) as { readonly command: Command };
  const options = Object.entries({
    ...command.options,
    help: { type: 'boolean' as const, help: 'Show this' },
  }).map(([option, given]) => {
    const flag = `--${option}${'value' in given && given.value !== undefined ? ` ${given.value}` : ''}`;
    return `  ${flag.padEnd(24)} ${given.help}`;
  });
  const details = command.details === undefined ? '' : `\n${command.details}\n`;
  io.write(`${command.summary}\n\nmintmark ${name} ${command.usage}\n${details}\n${options.join('\n')}\n`);
  return EXIT.ok;
}

const HEADLINE = `Mintmark gives workloads short-lived OIDC tokens instead of secrets.

mintmark COMMAND [OPTIONS]`;
const FOOTER = `mintmark COMMAND --help says more.
Exit codes: 0 done, 1 refused or failed, 2 wrong command line or configuration, 3 no issuer answers.`;

function unknownCommand(name: string): CommandError {
  return new CommandError(
    `mintmark has no command "${name}"${didYouMean(name)}: see mintmark --help`,
    EXIT.usage,
  );
}

function isCommand(name: string): name is CommandName {
  return Object.hasOwn(commands, name);
}

function didYouMean(name: string): string {
  const near = Object.keys(commands).find((command) => command.startsWith(name.slice(0, 2)));
  return near === undefined ? '' : ` (did you mean ${near}?)`;
}

/** Errors are told by what they say, never by a stack. */
function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function createIo(stopped: Promise<void>): Io {
  return {
    env: process.env,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    gids: process.getgroups?.() ?? [],
    pid: process.pid,
    version: packageJson.version,
    nodeVersion: process.version,
    isTerminal: process.stdout.isTTY === true,
    write: (text) => writeAll(1, text),
    writeError: (text) => writeAll(2, text),
    readInput: () => buffer(process.stdin),
    canAsk: process.stdin.isTTY === true,
    askSecret,
    stopped,
    onReload: (handler) => process.on('SIGHUP', handler),
  };
}

/** Keys come one by one in raw mode, and none is echoed. */
async function askSecret(question: string): Promise<string> {
  const { stdin } = process;
  stdin.setRawMode(true).setEncoding('utf8');
  writeAll(2, question);
  let typed = '';
  try {
    for await (const keys of stdin.iterator({ destroyOnReturn: false })) {
      for (const key of String(keys)) {
        if (key === '\r' || key === '\n') return typed;
        if (key === '\u0003' || key === '\u0004') throw new CommandError('broken off');
        if (key === '\u007f' || key === '\b') typed = [...typed].slice(0, -1).join('');
        else if (key >= ' ') typed += key;
      }
    }
    throw new CommandError('broken off');
  } finally {
    stdin.setRawMode(false).pause();
    writeAll(2, '\n');
  }
}

/** Synchronously, so that an audit line is written before its token is answered. Throws where nobody reads. */
function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let written = 0; written < bytes.length; ) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(PAUSE, 0, 0, 1);
    }
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
