/** The configuration that the options of `serve` and `check` name. */
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { attestors } from '../attestors/index.ts';
import { openNames } from '../attestors/names.ts';
import type { FindMore, LoadedConfig, LoadedSidecar } from '../config.ts';
import { numberPattern } from '../core/number-pattern.ts';
import { doors } from '../doors/index.ts';
import { stores } from '../stores/index.ts';
import { recordStores } from '../stores/records.ts';
import { developmentSocket, variable } from './ask.ts';
import { CommandError, EXIT, type Invocation, type Option } from './command.ts';
import { makeDirectory } from './make-directory.ts';

const LISTEN = '127.0.0.1:8787';
const LOOPBACK = new RegExp(`^(127(\\.\\d{1,3}){3}|localhost|\\[::1\\]):(${numberPattern(1, 65_535)})$`);
const tables = { attestors, doors, stores, records: recordStores };

const findMore: FindMore = async (config, isHarmed) => {
  const { findMistakes } = await import('../compose/check.ts');
  return (await findMistakes(config, isHarmed)).problems;
};

export const CONFIGURATION_OPTIONS: Readonly<Record<string, Option>> = {
  config: { type: 'string', value: 'FILE', help: 'The configuration (also MINTMARK_CONFIG)' },
  socket: { type: 'string', value: 'PATH', help: 'Without a file: the socket for workloads' },
  listen: { type: 'string', value: 'HOST:PORT', help: `Without a file: the public documents (${LISTEN})` },
  admin: { type: 'string', value: 'PATH', help: 'Without a file: the admin socket (beside the socket)' },
  state: { type: 'string', value: 'DIR', help: 'Without a file: keep the keys here (in memory)' },
};

/** Throws CommandError with every mistake of the configuration. */
export async function loadConfiguration(
  invocation: Invocation,
): Promise<(LoadedConfig | LoadedSidecar) & { readonly file: string | undefined }> {
  const { io, values } = invocation;
  const file = values.text('config') ?? variable(io.env, 'MINTMARK_CONFIG');
  const clash = Object.keys(CONFIGURATION_OPTIONS).find(
    (name) => name !== 'config' && values.text(name) !== undefined,
  );
  if (file !== undefined && clash !== undefined)
    throw new CommandError(`--${clash} goes without a file: in ${file} it is a setting`, EXIT.usage);
  const { ConfigError, isSidecar, loadConfig, loadSidecar } = await import('../config.ts');
  const source = { file, env: io.env, tables, findMore };
  try {
    if (await isSidecar(source)) return { ...(await loadSidecar(source)), file };
    return { ...(await (file === undefined ? loadDevelopment(invocation) : loadConfig(source))), file };
  } catch (error) {
    if (error instanceof ConfigError) throw new CommandError(error.format(), EXIT.usage);
    throw error;
  }
}

/** Own user only, loopback only: for trying it out. */
async function loadDevelopment({ io, values }: Invocation): Promise<LoadedConfig> {
  const { developmentConfig } = await import('../config.ts');
  const path = (name: string) => values.text(name) && resolve(values.text(name) as string);
  const socketPath = path('socket') ?? variable(io.env, 'MINTMARK_SOCKET') ?? developmentSocket(io);
  const listen = values.text('listen') ?? LISTEN;
  if (!LOOPBACK.test(listen))
    throw new CommandError(
      `--listen ${listen}: without a file it is 127.0.0.1:PORT or [::1]:PORT`,
      EXIT.usage,
    );
  await makeDirectory(dirname(socketPath), 0o700);
  return developmentConfig({
    socketPath,
    listen,
    adminPath: path('admin') ?? join(dirname(socketPath), 'admin.sock'),
    stateDirectory: path('state'),
    uid: io.uid,
    user: openNames(() => 0)
      .users()
      .nameOf.get(io.uid),
    host: hostname(),
    env: io.env,
    tables,
    findMore,
  });
}
