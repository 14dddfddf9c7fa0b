import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LoadedConfig, LoadedSidecar } from '../config.ts';
import { type Command, CommandError, EXIT, type Invocation, type Io } from './command.ts';
import { CONFIGURATION_OPTIONS, loadConfiguration } from './configuration.ts';

export const command: Command = {
  summary: 'Run the issuer',
  usage: '[--config FILE | --socket PATH --listen HOST:PORT --admin PATH --state DIR]',
  details: `Without a file it is a development issuer: loopback http, the own user only.
SIGHUP reads rules, token files and certificates again; SIGTERM lets calls in flight end.
The log goes to stdout, one JSON line an event, one audit line a decision.`,
  options: CONFIGURATION_OPTIONS,
  async run(invocation) {
    const { io } = invocation;
    let isStopping = false;
    io.stopped.then(() => {
      isStopping = true;
    });
    const loaded = await loadConfiguration(invocation);
    const [{ openServer }, { forbidDumping }, { notify }, { atMost }] = await Promise.all([
      import('../compose.ts'),
      import('../net/kernel.ts'),
      import('../net/notify.ts'),
      import('../net/at-most.ts'),
    ]);
    forbidDumping();
    // Workloads are answered before it is ready, and the configuration was read before that.
    let isReloadDue = false;
    let askReload = () => {
      isReloadDue = true;
    };
    io.onReload(() => askReload());
    if (isStopping) return EXIT.ok;
    // From here on it stands before it ends: what it opens has to be closed in order.
    const server = await openServer({ ...io, loaded, writeLog: io.write }).catch(async (error: Error) => {
      if (isStopping) return undefined;
      if (error.name !== 'ConfigError') throw new CommandError(startFailure(error), EXIT.failed);
      throw new CommandError(await everyMistake(error, loaded, io.env), EXIT.usage);
    });
    if (server === undefined) return EXIT.ok;
    const tell = (state: string) => {
      try {
        notify(io.env.NOTIFY_SOCKET, state);
      } catch (error) {
        server.log.warn({ err: error }, 'the service manager was not told');
      }
    };
    let giveBack: NodeJS.Timeout | undefined;
    const reloads = inTurn(() => reload(invocation, server, tell));
    try {
      askReload = reloads.ask;
      for (const warning of loaded.warnings) server.log.warn(warning);
      const { config } = loaded;
      if ('development' in config && config.development)
        io.writeError(developmentNotice(config, loaded.file !== undefined));
      const whose = 'authority' in config ? { authority: config.authority.url } : { issuer: config.issuer };
      server.log.info({ ...whose, ...server.addresses }, 'ready');
      tell('READY=1');
      if (isReloadDue) reloads.ask();
      giveBack = setTimeout(giveBackMemory, GIVES_BACK_AFTER_MS);
      await io.stopped;
      tell('STOPPING=1');
    } finally {
      clearTimeout(giveBack);
      const ended = reloads.refuse();
      await server.close();
      await atMost(LAST_WORDS_SECONDS, ended);
    }
    server.log.info('stopped');
    return EXIT.ok;
  },
};

const GIVES_BACK_AFTER_MS = 1_000;

/** What only the start needed goes back to the system: about 5 MiB, once, in some 20 ms. */
function giveBackMemory(): void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as NodeJS.GCFunction;
  setFlagsFromString('--no-expose-gc'); // code that is cached knows the flags that it was made under
  gc({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** One after another, and none any more once they are refused; that resolves when the one under way has ended. */
function inTurn(task: () => Promise<void>) {
  let isRefused = false;
  let last = Promise.resolve();
  return {
    ask() {
      last = last.then(() => (isRefused ? undefined : task()));
    },
    refuse() {
      isRefused = true;
      return last;
    },
  };
}

/** For a reload that has ended to say so; the server waited for one that has not. */
const LAST_WORDS_SECONDS = 1;

type Server = Awaited<ReturnType<typeof import('../compose.ts')['openServer']>>;

/** A bad new configuration keeps the old one and says why. */
async function reload(invocation: Invocation, server: Server, tell: (state: string) => void): Promise<void> {
  tell('RELOADING=1');
  try {
    await server.reload(async () => {
      const loaded = await loadConfiguration(invocation);
      for (const warning of loaded.warnings) server.log.warn(warning);
      return loaded;
    });
    server.log.info('the configuration was read again and holds from now on');
  } catch (error) {
    const { name, message } = error as Error;
    const isMistake = name === 'CommandError' || name === 'ConfigError';
    const why = isMistake ? { mistakes: message.split('\n') } : { err: error };
    server.log.error(why, 'the new configuration is not taken; the old one stays');
  }
  tell('READY=1');
}

/** What kept it from starting, and what would have later. */
async function everyMistake(
  first: Error,
  loaded: LoadedConfig | LoadedSidecar,
  env: Io['env'],
): Promise<string> {
  if ('authority' in loaded.config) return first.message;
  const { checkMeaning } = await import('../compose/check.ts');
  const all = await checkMeaning({ ...loaded, config: loaded.config }, env).then(
    () => '',
    ({ message }: Error) => message,
  );
  return [...new Set([...all.split('\n'), ...first.message.split('\n')])].join('\n').trim();
}

/** What the system or the configuration said, and what to do about a port that is taken. */
function startFailure(error: Error): string {
  const { code, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  if (code === 'EADDRINUSE' && port !== undefined)
    return `${address}:${port} is taken: another Mintmark? Set public.listen or status.listen (MINTMARK_STATUS_LISTEN)`;
  const { detail } = error as { readonly detail?: string };
  return detail ?? error.message;
}

/** Without a file it has one rule, for whoever started it; with one it has the file's. */
function developmentNotice({ issuer, socket }: LoadedConfig['config'], hasFile: boolean): string {
  const headline = `THIS IS A DEVELOPMENT ISSUER. ${issuer} is plain http on loopback`;
  if (hasFile) return `\n  ${headline}: no relying party on another machine can trust it.\n\n`;
  return `
  ${headline}, and it gives
  this user's processes a token for any audience. For more: mintmark serve --config FILE

  Try it:
    curl --unix-socket ${socket.path} http://localhost/v1/tokens/oidc -d '{"aud":"https://example.com"}'
    curl ${issuer}/.well-known/openid-configuration

`;
}
