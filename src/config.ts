/**
 * File and environment → Config: strict, and every mistake at once, each with its
 * path and line. Only the plug-ins that are configured are loaded.
 */
import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import type * as v from 'valibot';
import { checkSettings, isDevelopment, publishAtLeast } from './config/checks.ts';
import { decodeTree } from './config/decode.ts';
import { type DevelopmentOptions, developmentText } from './config/development.ts';
import { readYaml, type YamlText } from './config/document.ts';
import { type Environment, type Overlay, overlayEnvironment, type Tree } from './config/environment.ts';
import { adminPath, pathFaults } from './config/paths.ts';
import { ConfigError, formatPath, type Path, type Problem, parsePath } from './config/problems.ts';
import { loadEvery, loadNamed, type PluginTables } from './config/rooms.ts';
import { type Salvage, salvage } from './config/salvage.ts';
import { configSchema, type Decoded } from './config/schema.ts';
import { completeSidecar, type DecodedSidecar, type SidecarConfig, sidecarSchema } from './config/sidecar.ts';
import { issuerHost } from './config/units.ts';

export { describeConfig, describeSidecar, effectiveSettings } from './config/describe.ts';
export type { DevelopmentOptions } from './config/development.ts';
export { pathFaults } from './config/paths.ts';
export { ConfigError, type Problem } from './config/problems.ts';
export type { PluginTables } from './config/rooms.ts';
export type { SidecarConfig } from './config/sidecar.ts';

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/** Everything that can be set, defaults filled in; frozen. Times are in seconds, modes are numbers. */
export type Config = DeepReadonly<
  Omit<Decoded, 'host' | 'status' | 'admin' | 'keys' | 'stopWithin'> & {
    /** An http issuer on loopback. */
    development: boolean;
    /** The fact {host}. */
    host: string;
    /** Undefined: off. */
    status: Exclude<Decoded['status'], 'off'> | undefined;
    admin: { path: string };
    keys: Decoded['keys'] & { publishAtLeastSeconds: number };
    /** Grace for calls in flight at a stop. */
    stopWithinSeconds: number;
  }
>;

export type ConfigSource = {
  readonly file?: string | undefined;
  /** The file's text; read from `file` where absent. */
  readonly text?: string | undefined;
  readonly env: Environment;
  readonly tables: PluginTables;
  /** Default of the setting `host`. */
  readonly host?: string | undefined;
  /** Asked where there are mistakes already, so that those of meaning are told with those of shape. */
  readonly findMore?: FindMore | undefined;
};

/** Mistakes in a configuration that some of a file was left out of; `isHarmed` says where. */
export type FindMore = (config: Config, isHarmed: (path: string) => boolean) => Promise<readonly Problem[]>;

export type LoadedConfig = {
  readonly config: Config;
  /** Where it was read, if in a file. */
  readonly source?: string | undefined;
  readonly warnings: readonly string[];
  /** The error for what is found later (the policy's compiler): `path` as in Problem, lines are added here. */
  reject(problems: readonly Problem[]): ConfigError;
};

export type LoadedSidecar = Omit<LoadedConfig, 'config'> & { readonly config: DeepReadonly<SidecarConfig> };

/** Throws ConfigError with every problem that file and environment have. */
export async function loadConfig(source: ConfigSource): Promise<LoadedConfig> {
  const { tables, host = hostname() } = source;
  const { tree, syntax, reject } = await readSource(source, configSchema(NO_PLUGINS));
  const { rooms, problems: unloaded } = await loadNamed(tables, tree);
  const { decoded, problems } = decodeTree<Decoded>(tree, configSchema(rooms));
  const findings = checkSettings(decoded, tree, source.file && resolve(source.file));
  const all = [...syntax, ...unloaded, ...problems, ...findings.problems];
  if (all.length > 0) {
    const rest = source.findMore && salvage(tree, rooms, [...unloaded, ...problems]);
    throw reject([...all, ...((rest && (await more(rest, host, source.findMore))) ?? [])]);
  }
  return {
    config: freeze(complete(decoded as Decoded, host)),
    source: source.file && resolve(source.file),
    warnings: findings.warnings,
    reject,
  };
}

async function more(rest: Salvage, host: string, findMore: FindMore): Promise<readonly Problem[]> {
  const found = await findMore(freeze(complete(rest.decoded, host)), (path) =>
    rest.isHarmed(rest.placeInFile(path)),
  );
  return found.map((problem) => ({ ...problem, path: rest.placeInFile(problem.path) }));
}

/** Whether file or environment name an authority: the configuration is then a sidecar's. */
export async function isSidecar({ file, text, env }: ConfigSource): Promise<boolean> {
  // An empty variable says nothing.
  if (env.MINTMARK_AUTHORITY || env.MINTMARK_AUTHORITY_URL) return true;
  const written = text ?? (file === undefined ? '' : await readText(file));
  return treeOf(readYaml(written).value).authority !== undefined;
}

/** As `loadConfig`, for a sidecar. */
export async function loadSidecar(source: ConfigSource): Promise<LoadedSidecar> {
  const { tree, syntax, reject } = await readSource(source, sidecarSchema(NO_PLUGINS));
  const { rooms, problems: unloaded } = await loadNamed(source.tables, { ...tree, keys: {} });
  const { decoded, problems } = decodeTree<DecodedSidecar>(tree, sidecarSchema(rooms));
  const misplaced = pathFaults({ ...decoded, admin: undefined }, source.file && resolve(source.file)).map(
    ({ path, message }) => ({
      path: formatPath(path),
      message,
    }),
  );
  const all = [...syntax, ...unloaded, ...problems, ...misplaced];
  if (all.length > 0) throw reject(all);
  const config = completeSidecar(decoded as DecodedSidecar, source.host ?? hostname());
  return { config: freeze(config), warnings: [], reject };
}

type Source = {
  readonly tree: Tree;
  readonly syntax: readonly Problem[];
  readonly reject: (problems: readonly Problem[]) => ConfigError;
};

/** The file with the variables over it; throws ConfigError where it is no YAML. */
async function readSource({ file, text, env }: ConfigSource, schema: v.GenericSchema): Promise<Source> {
  const yaml = readYaml(text ?? (file === undefined ? '' : await readText(file)));
  const tree = treeOf(yaml.value);
  const overlay = overlayEnvironment(tree, env, schema);
  const reject = (problems: readonly Problem[]) => new ConfigError(located(problems, yaml, overlay), file);
  const syntax = [...yaml.problems, ...rootProblems(yaml.value), ...overlay.problems];
  if (yaml.value === undefined) throw reject(syntax);
  return { tree, syntax, reject };
}

/** What `mintmark serve` runs without a file; variables count over it too. Throws ConfigError. */
export async function developmentConfig(
  options: DevelopmentOptions & Pick<ConfigSource, 'env' | 'tables' | 'findMore'>,
): Promise<LoadedConfig> {
  const { env, tables, findMore } = options;
  return loadConfig({ text: developmentText(options), env, tables, findMore });
}

/** The schema of the whole file with every plug-in of the tables, for the JSON Schema. */
export async function fullSchema(tables: PluginTables): Promise<ReturnType<typeof configSchema>> {
  return configSchema(await loadEvery(tables));
}

const NO_PLUGINS = { attestors: {}, doors: {}, stores: {}, records: {} };

/** It is read more than once, at a start and at each reload: a pipe has its text once, or never. */
async function readText(file: string): Promise<string> {
  try {
    if (!(await stat(file)).isFile())
      throw new ConfigError([{ path: '', message: 'is no regular file' }], file);
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(file));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { code = 'unknown fault' } = error as { readonly code?: string };
    const message = code.startsWith('ERR_ENCODING') ? 'is not UTF-8 text' : `cannot be read: ${code}`;
    throw new ConfigError([{ path: '', message }], file);
  }
}

function treeOf(value: unknown): Tree {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  const tree = value as Tree;
  return typeof tree.socket === 'string' ? { ...tree, socket: { path: tree.socket } } : tree;
}

function rootProblems(value: unknown): readonly Problem[] {
  const isMap = typeof value === 'object' && !Array.isArray(value);
  return isMap || value === undefined ? [] : [{ path: '', message: 'must be a map of settings', line: 1 }];
}

const LAST = Number.MAX_SAFE_INTEGER;

/** Each with its line or variable, in the file's order; what is said twice is told once. */
function located(problems: readonly Problem[], yaml: YamlText, overlay: Overlay): readonly Problem[] {
  const seen = new Set<string>();
  const told = problems.flatMap((problem) => {
    if (problem.path === '') return [problem];
    const sentence = `${problem.path}: ${problem.message}`;
    if (seen.has(sentence)) return [];
    seen.add(sentence);
    const path: Path = parsePath(problem.path);
    const variable = overlay.variableOf(path);
    return [variable === undefined ? { ...problem, line: yaml.lineOf(path) } : { ...problem, variable }];
  });
  return told.sort((a, b) => (a.line ?? LAST) - (b.line ?? LAST));
}

/** The defaults that depend on other settings. */
function complete(decoded: Decoded, host: string): Config {
  const { stopWithin, ...rest } = decoded;
  const { issuer, status, public: listener, keys } = rest;
  return {
    ...rest,
    development: isDevelopment(issuer),
    host: decoded.host ?? host,
    public: listener && { ...listener, tls: named(listener.tls, issuer) },
    status: status === 'off' ? undefined : status,
    admin: { path: adminPath(decoded) ?? '' },
    keys: { ...keys, publishAtLeastSeconds: publishAtLeast(decoded) },
    stopWithinSeconds: stopWithin,
  };
}

type Listener = NonNullable<Decoded['public']>;

function named(tls: Listener['tls'], issuer: string): Listener['tls'] {
  return tls.kind === 'bootstrap' && tls.names.length === 0 ? { ...tls, names: [issuerHost(issuer)] } : tls;
}

/** Plain objects and lists only: a plug-in's block may hold what cannot be frozen. */
function freeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  const isPlain = Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype;
  if (!isPlain) return value;
  for (const inner of Object.values(value)) freeze(inner);
  return Object.freeze(value);
}
