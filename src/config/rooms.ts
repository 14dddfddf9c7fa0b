/** The plug-ins' schemas, loaded from the rooms' tables: those that are configured, or all of them. */

import process from 'node:process';
import * as v from 'valibot';
import { nodeProblem } from './node.ts';
import type { PluginSchemas, PluginTable } from './plugins.ts';
import { formatPath, type Path, type Problem } from './problems.ts';
import { DEFAULT_ATTESTORS, DEFAULT_DOORS, type Rooms } from './schema.ts';

/** The rooms' tables: name → module with the `config` schema of its block. */
export type PluginTables = {
  readonly attestors: PluginTable;
  readonly doors: PluginTable;
  readonly stores: PluginTable;
  readonly records: PluginTable;
};

type Loaded = { readonly rooms: Rooms; readonly problems: readonly Problem[] };
/** What a plug-in needs beside it. */
type Need = { readonly at: Path; readonly other: Path };

/** `isNamed` says which plug-ins to load; the others get a schema that is never asked. */
async function load(
  tables: PluginTables,
  isNamed: (at: Path) => boolean,
): Promise<Loaded & { readonly needs: readonly Need[] }> {
  const problems: Problem[] = [];
  const needs: Need[] = [];
  const loadRoom = async (table: PluginTable, above: Path): Promise<PluginSchemas> => {
    const schemas: Record<string, v.GenericSchema> = {};
    for (const [name, open] of Object.entries(table)) {
      const at = [...above, name];
      schemas[name] = v.unknown();
      if (!isNamed(at)) continue;
      const tooOld = nodeProblem(at, process.version);
      if (tooOld !== undefined) {
        problems.push({ path: formatPath(at), message: tooOld });
        continue;
      }
      try {
        const { config, needs: others = [] } = await open();
        schemas[name] = config;
        needs.push(...others.map((other) => ({ at, other: [...above, other] })));
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        problems.push({ path: formatPath(at), message: `cannot be loaded: ${reason}` });
      }
    }
    return schemas;
  };
  const rooms = {
    attestors: await loadRoom(tables.attestors, ['attestors']),
    doors: await loadRoom(tables.doors, ['doors']),
    stores: await loadRoom(tables.stores, ['keys', 'store']),
    records: await loadRoom(tables.records, ['records']),
  };
  return { rooms, problems, needs };
}

/** The schemas of what the tree names. */
export async function loadNamed(
  tables: PluginTables,
  tree: Readonly<Record<string, unknown>>,
): Promise<Loaded> {
  const { attestors = DEFAULT_ATTESTORS, doors: own = DEFAULT_DOORS, issuers, keys, records } = tree;
  const doors = issuers === undefined || typeof own !== 'object' ? own : { oauth: {}, ...own };
  const { rooms, problems, needs } = await load(tables, naming({ attestors, doors, keys, records }));
  const isThere = naming({ attestors, doors: own, keys, records });
  const missing = needs
    .filter(({ other }) => !isThere(other))
    .map(({ at, other }) => ({ path: formatPath(at), message: `needs ${formatPath(other)} beside it` }));
  return { rooms, problems: [...problems, ...missing] };
}

function naming(tree: Readonly<Record<string, unknown>>): (at: Path) => boolean {
  return (at) => {
    let value: unknown = tree;
    for (const key of at.slice(0, -1)) value = (value as Record<string, unknown> | null | undefined)?.[key];
    const name = String(at.at(-1));
    return value === name || (typeof value === 'object' && value !== null && Object.hasOwn(value, name));
  };
}

/** The schemas of everything there is; throws what a plug-in throws when it is loaded. */
export async function loadEvery(tables: PluginTables): Promise<Rooms> {
  const { rooms, problems } = await load(tables, () => true);
  if (problems.length > 0)
    throw new Error(problems.map(({ path, message }) => `${path} ${message}`).join('\n'));
  return rooms;
}
