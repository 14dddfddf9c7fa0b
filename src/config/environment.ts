/**
 * MINTMARK_… variables over the file: every setting of a map by its path
 * (keys.rotateEvery is MINTMARK_KEYS_ROTATE_EVERY), lists and whole maps as YAML.
 */
import type * as v from 'valibot';
import { readYaml } from './document.ts';
import { didYouMean, type Path, type Problem } from './problems.ts';
import { type Setting, settingsOf } from './shape.ts';

export type Environment = Readonly<Record<string, string | undefined>>;
export type Tree = Record<string, unknown>;

export type Overlay = {
  readonly problems: readonly Problem[];
  /** The variable that a path came from. */
  variableOf(path: Path): string | undefined;
};

const PREFIX = 'MINTMARK_';
/** Variables of the commands that talk to a server, and of the tests. */
const NOT_SETTINGS = /^MINTMARK_(?:CONFIG|ADMIN|TEST_.*)$/;
/** What Kubernetes sets for Services called mintmark, mintmark-authority and so on. */
const SERVICE_LINK =
  /^MINTMARK_(?:[A-Z0-9_]+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)$/;
const SERVICE_PORT = /^MINTMARK_(?:[A-Z0-9_]+_)?PORT$/;
const SERVICE_PORT_VALUE = /^(?:tcp|udp|sctp):\/\//;

/** `['keys', 'rotateEvery']` → `MINTMARK_KEYS_ROTATE_EVERY`. */
export function variableName(path: Path): string {
  const words = path.map((part) => String(part).replaceAll(/[A-Z]/g, (letter) => `_${letter}`));
  return PREFIX + words.join('_').toUpperCase();
}

/** Writes what the variables say into the tree; an empty variable says nothing. */
export function overlayEnvironment(tree: Tree, env: Environment, schema: v.GenericSchema): Overlay {
  const settings = new Map(settingsOf(schema).map((setting) => [variableName(setting.path), setting]));
  for (const name of settings.keys()) if (NOT_SETTINGS.test(name)) settings.delete(name);
  const problems: Problem[] = [];
  const origins: { readonly variable: string; readonly path: Path }[] = [];
  // Outer settings come first in the map, so that MINTMARK_KEYS_… go into what MINTMARK_KEYS says.
  for (const [variable, setting] of settings) {
    const text = env[variable];
    if (text === undefined || text === '') continue;
    const { value, problem, path } = readVariable(text, setting);
    if (problem === undefined) put(tree, path, value);
    else problems.push({ path: '', variable, message: problem });
    origins.push({ variable, path });
  }
  for (const name of Object.keys(env)) {
    if (!name.startsWith(PREFIX) || settings.has(name) || isIgnored(name, env[name] ?? '')) continue;
    const hint = didYouMean(name, settings.keys(), PREFIX);
    problems.push({ path: '', variable: name, message: 'is not the name of a setting', hint });
  }
  return {
    problems,
    variableOf: (path) => origins.findLast((origin) => startsWith(path, origin.path))?.variable,
  };
}

function isIgnored(name: string, value: string): boolean {
  if (NOT_SETTINGS.test(name) || SERVICE_LINK.test(name)) return true;
  return SERVICE_PORT.test(name) && SERVICE_PORT_VALUE.test(value);
}

type Variable = { readonly path: Path; readonly value?: unknown; readonly problem?: string | undefined };

function readVariable(text: string, { path, isText, takesText }: Setting): Variable {
  if (isText) return { path, value: text };
  const { value, problems } = readYaml(text);
  const isMap = typeof value === 'object' && value !== null;
  if (takesText && !isMap) {
    // The short form of the socket keeps the group and mode that the file gives.
    return path.join() === 'socket' ? { path: ['socket', 'path'], value: text } : { path, value: text };
  }
  return { path, value, problem: problems[0]?.message };
}

function put(tree: Tree, path: Path, value: unknown): void {
  let map = tree;
  for (const part of path.slice(0, -1)) {
    const inner = map[part];
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) map[part] = {};
    map = map[part] as Tree;
  }
  map[String(path.at(-1))] = value;
}

function startsWith(path: Path, start: Path): boolean {
  return start.every((part, index) => path[index] === part);
}
