/** Looking into valibot schemas: which settings there are, and which keys a file has that no schema knows. */
import type * as v from 'valibot';
import { didYouMean, formatPath, type Path, type Problem } from './problems.ts';

/** What is read of a schema; each is there only where the type has it. */
type Shape = {
  readonly type: string;
  readonly wrapped?: v.GenericSchema;
  readonly options?: readonly (v.GenericSchema | string)[];
  readonly entries?: Readonly<Record<string, v.GenericSchema>>;
  readonly item?: v.GenericSchema;
  readonly value?: v.GenericSchema;
  readonly literal?: unknown;
};

/** The alternatives of a schema, without the layers that make it optional. */
function alternatives(schema: v.GenericSchema): readonly Shape[] {
  const shape = schema as unknown as Shape;
  if (shape.wrapped !== undefined) return alternatives(shape.wrapped);
  if (shape.type !== 'union') return [shape];
  return (shape.options ?? []).flatMap((option) => (typeof option === 'string' ? [] : alternatives(option)));
}

/** One setting: a leaf (a text, a number …) or everything below a key. */
export type Setting = {
  readonly path: Path;
  /** It takes nothing but text, so that text needs no YAML around it. */
  readonly isText: boolean;
  /** It takes text and other things. */
  readonly takesText: boolean;
};

const TEXTS = new Set(['string', 'picklist']);

function isTextual({ type, literal }: Shape): boolean {
  return TEXTS.has(type) || (type === 'literal' && typeof literal === 'string');
}

/** All settings of a schema of nested maps, outer ones first. Lists and plug-in blocks are not gone into. */
export function settingsOf(schema: v.GenericSchema, path: Path = []): readonly Setting[] {
  const shapes = alternatives(schema);
  const own = { path, isText: shapes.every(isTextual), takesText: shapes.some(isTextual) };
  const inner = shapes.flatMap(({ entries = {} }) =>
    Object.entries(entries).flatMap(([key, entry]) => settingsOf(entry, [...path, key])),
  );
  return path.length === 0 ? inner : [own, ...inner];
}

/** Every key that the schema does not know, and every list where a map belongs. valibot tells of the first only. */
export function strayKeys(schema: v.GenericSchema, value: unknown, path: Path = []): readonly Problem[] {
  if (typeof value !== 'object' || value === null) return [];
  const shapes = alternatives(schema);
  if (Array.isArray(value)) return strayInList(shapes, value, path);
  const { entries, value: any, type } = shapes.find((shape) => shape.entries ?? shape.value) ?? {};
  return Object.entries(value).flatMap(([key, item]) => {
    const place = [...path, key];
    const inner = entries === undefined ? any : Object.hasOwn(entries, key) ? entries[key] : undefined;
    if (inner !== undefined) return strayKeys(inner, item, place);
    if (entries === undefined || type === 'loose_object') return [];
    const hint = didYouMean(key, Object.keys(entries)) ?? `known: ${Object.keys(entries).join(', ')}`;
    return [{ path: formatPath(place), message: 'is not known here', hint }];
  });
}

function strayInList(shapes: readonly Shape[], list: readonly unknown[], path: Path): readonly Problem[] {
  const item = shapes.find((shape) => shape.item !== undefined)?.item;
  if (item !== undefined) return list.flatMap((value, index) => strayKeys(item, value, [...path, index]));
  const isMap = shapes.some(({ entries, value }) => entries !== undefined || value !== undefined);
  return isMap ? [{ path: formatPath(path), message: 'must be a map, not a list' }] : [];
}
