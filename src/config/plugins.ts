/** The settings of the plug-in rooms: attestors, doors and key stores, each block decoded by its plug-in. */
import * as v from 'valibot';
import { didYouMean, show } from './problems.ts';
import { absolutePath, duration, singleLine, withDefault } from './scalars.ts';

/** Schemas of configuration blocks, by the plug-in's name. */
export type PluginSchemas = Readonly<Record<string, v.GenericSchema>>;

/** A plug-in of a room's table, as far as the configuration needs it. */
export type Plugin = {
  readonly config: v.GenericSchema;
  /** Others of its room that it cannot do without. */
  readonly needs?: readonly string[];
};

/** A room's table: what is not configured is never loaded. */
export type PluginTable = Readonly<Record<string, () => Promise<Plugin>>>;

const HOUR = 3600;
const YEAR = 365 * 24 * HOUR;

/** One optional block for each plug-in; `name:` with nothing behind it is an empty block. */
function blocks(plugins: PluginSchemas) {
  const entries = Object.entries(plugins).map(([name, schema]) => [name, v.optional(v.nullable(schema, {}))]);
  return v.strictObject(Object.fromEntries(entries) as Record<string, v.GenericSchema>);
}

export function attestorsSchema(plugins: PluginSchemas) {
  return v.pipe(
    blocks(plugins),
    v.check((named) => Object.keys(named).length > 0, 'must name at least one attestor'),
    v.description('What proves who is calling.'),
  );
}

export function doorsSchema(plugins: PluginSchemas) {
  return v.pipe(blocks(plugins), v.description('The protocols that tokens are handed out by.'));
}

/** Name of a further issuer: a segment of its path, and of its documents' names. */
const ISSUER_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

/** Issuers beside the main one, each below its path. */
export function issuersSchema<T extends v.GenericSchema>(rules: T, doors: PluginSchemas) {
  const { oauth = v.unknown() } = doors;
  return v.pipe(
    v.record(
      v.pipe(v.string(), v.regex(ISSUER_NAME, 'must be of a-z, 0-9 and -, at most 32')),
      v.strictObject({ rules, oauth }),
    ),
    v.description(
      'More issuers, each below the path of the main one, with keys, users and clients of its own.',
    ),
  );
}

/** The store that is configured, and its block as the plug-in decoded it. */
export type StoreChoice = { readonly name: string; readonly block: unknown };

/** Where OAuth's records are kept; beside the keys where it is not said. */
export function recordsSchema(plugins: PluginSchemas) {
  const names = Object.keys(plugins);
  return v.pipe(
    blocks(plugins),
    v.check((named) => Object.keys(named).length === 1, `must name exactly one of ${names.join(', ')}`),
    v.description('Where grants, sessions and users of doors.oauth are kept; default: beside the keys.'),
    v.transform((named): StoreChoice => {
      const [[name, block] = ['', undefined]] = Object.entries(named);
      return { name, block };
    }),
  );
}

function storeSchema(plugins: PluginSchemas) {
  const names = Object.keys(plugins);
  const one = v.pipe(
    blocks(plugins),
    v.check((named) => Object.keys(named).length === 1, `must name exactly one of ${names.join(', ')}`),
    v.description('Where the signing keys are kept.'),
    v.transform((named): StoreChoice => {
      const [[name, block] = ['', undefined]] = Object.entries(named);
      return { name, block };
    }),
  );
  const short = v.pipe(
    v.picklist(names),
    v.description('A store that needs no settings; short for { NAME: {} }.'),
    v.transform((name): v.InferInput<typeof one> => ({ [name]: {} })),
    one,
  );
  return v.union([one, short], ({ input }) => {
    const hint = typeof input === 'string' ? didYouMean(input, names) : undefined;
    return `must be one of ${names.join(', ')}, not ${show(input)}${hint === undefined ? '' : ` (${hint})`}`;
  });
}

const encryption = v.pipe(
  v.strictObject({
    file: v.optional(absolutePath('File of 32 random bytes.', '/etc/mintmark/kek')),
    credential: v.optional(
      v.pipe(
        singleLine('Name of a systemd credential.', 255, 'mintmark-kek'),
        v.check((name) => !name.includes('/'), 'must be a name, not a path'),
      ),
    ),
  }),
  v.check(
    ({ file, credential }) => (file === undefined) !== (credential === undefined),
    'must name either file or credential',
  ),
  v.description('The key that seals the signing keys at rest; without it one is made beside the store.'),
);

export function keysSchema(stores: PluginSchemas) {
  return v.pipe(
    v.strictObject({
      store: storeSchema(stores),
      encryption: v.optional(encryption),
      rotateEvery: withDefault(duration('How long a key signs.', '7d', 1, YEAR), '7d'),
      publishAtLeast: v.optional(
        duration('How long a key is published before it signs; default 24h.', '24h', 1, YEAR),
      ),
    }),
    v.description('The signing keys: where they are kept and when they rotate.'),
    v.transform(({ store, encryption: sealedBy, rotateEvery, publishAtLeast }) => ({
      store,
      encryption: sealedBy,
      rotateEverySeconds: rotateEvery,
      publishAtLeastSeconds: publishAtLeast,
    })),
  );
}
