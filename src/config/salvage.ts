/** A faulty configuration without what is wrong in it, so that the rest can be checked all the same. */
import { decodeTree } from './decode.ts';
import type { Tree } from './environment.ts';
import { formatPath, type Path, type Problem, parsePath } from './problems.ts';
import { configSchema, type Decoded, type Rooms } from './schema.ts';

export type Salvage = {
  readonly decoded: Decoded;
  /** Something at this place, in it or around it was left out. */
  isHarmed(path: string): boolean;
  /** Where that which is now at a place stands in the file: list items in front of it may be gone. */
  placeInFile(path: string): string;
};

const MAX_ROUNDS = 20;

/** What has to be there, and says nothing that could be wrong. */
const STAND_INS: readonly (readonly [RegExp, unknown])[] = [
  [/^issuer$/, 'https://issuer.invalid'],
  [/^keys$/, { store: 'memory' }],
  [/^rules\[\d+\]\.name$/, '?'],
  [/^rules\[\d+\]\.subject$/, 'x'],
  [/^tokens\[\d+\]\.path$/, '/x'],
  [/^tokens\[\d+\]\.audience$/, 'x'],
  [/^public\.listen$/, '127.0.0.1:0'],
];

/** Stands where a list's item was, so that the others keep their numbers. */
const GONE = Symbol('gone');

/** `problems` are those of the decoder and the plug-ins' loader. Undefined where nothing sound is left. */
export function salvage(tree: Tree, rooms: Rooms, problems: readonly Problem[]): Salvage | undefined {
  const left: Tree = structuredClone(tree);
  const cuts: string[] = [];
  let wrong = problems.map(({ path }) => path);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const gone: string[] = [];
    for (const path of wrong) if (!gone.some((each) => isWithin(path, each))) gone.push(cut(left, path));
    cuts.push(...gone);
    const numbers = new Map<string, readonly number[]>();
    const { decoded, problems: more } = decodeTree<Decoded>(
      closeRanks(left, [], numbers) as Tree,
      configSchema(rooms),
    );
    const placeInFile = (path: string) => inFile(path, numbers);
    if (more.length === 0)
      return {
        decoded: decoded as Decoded,
        isHarmed: (path) => cuts.some((each) => isWithin(each, path) || isWithin(path, each)),
        placeInFile,
      };
    wrong = more.map(({ path }) => placeInFile(path));
  }
  return undefined;
}

/** Takes away what stands there; where nothing does it was missing, and what misses it goes. Returns what is gone. */
function cut(tree: Tree, path: string): string {
  const parts = parsePath(path);
  const standIn = STAND_INS.find(([pattern]) => pattern.test(path));
  const above = parts.slice(0, -1).reduce<unknown>((value, part) => childOf(value, part), tree);
  const last = parts.at(-1);
  if (last === undefined) return path;
  if (standIn !== undefined && isMap(above)) {
    above[String(last)] = structuredClone(standIn[1]);
    return path;
  }
  if (isMap(above) && Object.hasOwn(above, last)) delete above[String(last)];
  else if (Array.isArray(above) && typeof last === 'number' && last in above) above[last] = GONE;
  else return cut(tree, formatPath(parts.slice(0, -1)));
  return path;
}

function isMap(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function childOf(value: unknown, part: string | number): unknown {
  const isThere = typeof value === 'object' && value !== null && Object.hasOwn(value, part);
  return isThere ? (value as Tree)[String(part)] : undefined;
}

/** A copy without gaps; `numbers` gets each list's items' numbers in the file. */
function closeRanks(value: unknown, at: Path, numbers: Map<string, readonly number[]>): unknown {
  if (Array.isArray(value)) {
    const kept = [...value.keys()].filter((index) => value[index] !== GONE);
    numbers.set(formatPath(at), kept);
    return kept.map((index, now) => closeRanks(value[index], [...at, now], numbers));
  }
  if (!isMap(value)) return value;
  const entries = Object.entries(value).map(
    ([key, item]) => [key, closeRanks(item, [...at, key], numbers)] as const,
  );
  return Object.fromEntries(entries);
}

function inFile(path: string, numbers: ReadonlyMap<string, readonly number[]>): string {
  const parts = parsePath(path);
  const found = parts.map((part, index) => {
    const list = numbers.get(formatPath(parts.slice(0, index)));
    return typeof part === 'number' ? (list?.[part] ?? part) : part;
  });
  return formatPath(found);
}

function isWithin(path: string, outer: string): boolean {
  const parts = parsePath(path);
  return parsePath(outer).every((part, index) => parts[index] === part);
}
