/** JSON Patch (RFC 6902): what leads from one document to another, as small as can be read. */
import { isDeepStrictEqual } from 'node:util';
import { isMap } from '../core/json.ts';
import type { Fields } from './pod.ts';

export type Operation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string };

/** Items that were put into a list are added where they stand; a list that lost or reordered some is replaced. */
export function jsonPatch(before: unknown, after: unknown, path = ''): readonly Operation[] {
  if (before === after) return [];
  if (Array.isArray(before) && Array.isArray(after)) return patchList(before, after, path);
  if (isMap(before) && isMap(after)) return patchMap(before, after, path);
  return isDeepStrictEqual(before, after) ? [] : [{ op: 'replace', path, value: after }];
}

function patchMap(before: Fields, after: Fields, path: string): readonly Operation[] {
  const at = (key: string) => `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  const removed = Object.keys(before).filter((key) => !Object.hasOwn(after, key) || after[key] === undefined);
  const present = Object.entries(after).filter(([, value]) => value !== undefined);
  return [
    ...removed.map((key) => ({ op: 'remove' as const, path: at(key) })),
    ...present.flatMap(([key, value]): readonly Operation[] =>
      Object.hasOwn(before, key)
        ? jsonPatch(before[key], value, at(key))
        : [{ op: 'add', path: at(key), value }],
    ),
  ];
}

function patchList(
  before: readonly unknown[],
  after: readonly unknown[],
  path: string,
): readonly Operation[] {
  const operations: Operation[] = [];
  let next = 0;
  for (const [index, item] of after.entries()) {
    const at = `${path}/${index}`;
    if (next < before.length && isSame(before[next], item)) {
      operations.push(...jsonPatch(before[next], item, at));
      next++;
    } else operations.push({ op: 'add', path: at, value: item });
  }
  return next === before.length ? operations : [{ op: 'replace', path, value: after }];
}

/** The same item, whether or not something in it has changed. */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (isMap(one) && isMap(other) && typeof one.name === 'string') return one.name === other.name;
  return isDeepStrictEqual(one, other);
}
