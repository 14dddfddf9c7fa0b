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
};

type Loaded = { readonly rooms: Rooms; readonly problems: readonly Problem[] };

/** `isNamed` says which plug-ins to load; the others get a schema that is never asked. */
async function load(tables: PluginTables, isNamed: (at: Path) => boolean): Promise<Loaded> {
  const problems: Problem[] = [];
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
        schemas[name] = (await open()).config;
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
  };
  return { rooms, problems };
}

/** The schemas of what the tree names. */
export function loadNamed(tables: PluginTables, tree: Readonly<Record<string, unknown>>): Promise<Loaded> {
  const { attestors = DEFAULT_ATTESTORS, doors = DEFAULT_DOORS, keys } = tree;
  const named = { attestors, doors, keys };
  return load(tables, (at) => {
    let value: unknown = named;
    for (const key of at.slice(0, -1)) value = (value as Record<string, unknown> | null | undefined)?.[key];
    const name = String(at.at(-1));
    return value === name || (typeof value === 'object' && value !== null && Object.hasOwn(value, name));
  });
}

/** The schemas of everything there is; throws what a plug-in throws when it is loaded. */
export async function loadEvery(tables: PluginTables): Promise<Rooms> {
  const { rooms, problems } = await load(tables, () => true);
  if (problems.length > 0)
    throw new Error(problems.map(({ path, message }) => `${path} ${message}`).join('\n'));
  return rooms;
}
