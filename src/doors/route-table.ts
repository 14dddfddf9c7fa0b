/** Finds the route of a path: one that is written so, one with a {parameter} in it, or one that takes the paths below. */
import type { Door, Route } from './door.ts';

export type Found = { readonly door: Door; readonly route: Route };
export type Methods = ReadonlyMap<string, Found>;
/** `parameters`: the segments that stand where the route's path has {name}. */
export type Match = { readonly methods: Methods; readonly parameters: Readonly<Record<string, string>> };

export type RouteTable = {
  readonly exact: ReadonlyMap<string, Methods>;
  readonly templates: readonly { readonly segments: readonly string[]; readonly methods: Methods }[];
};

/** /interaction/callback/NAME. */
const PREFIX_DEPTH = 3;
const PARAMETER = /^\{(\w+)\}$/;

export function buildRouteTable(doors: readonly Door[]): RouteTable {
  const table = new Map<string, Map<string, Found>>();
  for (const door of doors) {
    for (const route of door.routes) {
      const methods = table.get(route.path) ?? new Map<string, Found>();
      table.set(route.path, methods.set(route.method, { door, route }));
    }
  }
  const isTemplate = ([path]: readonly [string, unknown]) => path.includes('{');
  return {
    exact: new Map([...table].filter((entry) => !isTemplate(entry))),
    templates: [...table]
      .filter(isTemplate)
      .map(([path, methods]) => ({ segments: path.split('/'), methods })),
  };
}

export function findRoute(table: RouteTable, path: string): Match | undefined {
  const found = at(table, path);
  if (found !== undefined) return found;
  let above = path;
  for (let depth = 0; depth < PREFIX_DEPTH; depth++) {
    above = above.slice(0, above.lastIndexOf('/'));
    const match = at(table, above);
    if (match === undefined) continue;
    const methods = [...match.methods].filter(([, { route }]) => route.isPrefix === true);
    if (methods.length > 0) return { ...match, methods: new Map(methods) };
  }
  return undefined;
}

const NONE = {};

function at({ exact, templates }: RouteTable, path: string): Match | undefined {
  const methods = exact.get(path);
  if (methods !== undefined) return { methods, parameters: NONE };
  if (templates.length === 0) return undefined;
  const given = path.split('/');
  for (const { segments, methods: found } of templates) {
    const parameters = segments.length === given.length ? fill(segments, given) : undefined;
    if (parameters !== undefined) return { methods: found, parameters };
  }
  return undefined;
}

function fill(
  segments: readonly string[],
  given: readonly string[],
): Readonly<Record<string, string>> | undefined {
  const parameters: Record<string, string> = {};
  for (const [index, segment] of segments.entries()) {
    const value = given[index] ?? '';
    const [, name] = PARAMETER.exec(segment) ?? [];
    if (name === undefined ? segment !== value : value === '') return undefined;
    if (name !== undefined) parameters[name] = value;
  }
  return parameters;
}
