/**
 * The shape of the configuration: what is taken, what it becomes, and what an
 * editor says about it (the JSON Schema is made of this too).
 */
import * as v from 'valibot';
import {
  adminSchema,
  DEFAULT_SOCKET,
  privateSchema,
  publicSchema,
  socketSchema,
  statusSchema,
} from './listeners.ts';
import {
  attestorsSchema,
  doorsSchema,
  issuersSchema,
  keysSchema,
  type PluginSchemas,
  recordsSchema,
} from './plugins.ts';
import { ruleSchema, tokenFileSchema } from './rules.ts';
import { duration, notation, singleLine, withDefault } from './scalars.ts';
import { assertIssuer, ISSUER } from './units.ts';

/** The plug-ins' own schemas, room by room. */
export type Rooms = {
  readonly attestors: PluginSchemas;
  readonly doors: PluginSchemas;
  readonly stores: PluginSchemas;
  readonly records: PluginSchemas;
};

export const DEFAULT_ATTESTORS = { unix: {} };
export const DEFAULT_DOORS = { fly: {} };

const issuer = notation({
  pattern: ISSUER,
  problem: () => 'must be a URL such as https://id.example.com',
  parse: (text) => {
    assertIssuer(text);
    return text;
  },
  description:
    'The `iss` of every token: an https URL in normal form, which the public listener is reached by.',
  examples: ['https://id.example.com', 'https://id.example.com/acme'],
});

export const hostSchema = v.pipe(
  singleLine("This machine's name, the fact {host}; default: its host name.", 253, 'web-1'),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'may have only letters, digits and . _ -'),
);

export const logSchema = v.pipe(
  v.strictObject({
    level: withDefault(
      v.pipe(
        v.picklist(['trace', 'debug', 'info', 'warn', 'error']),
        v.description('What is logged. Audit lines are written at every level.'),
      ),
      'info',
    ),
  }),
  v.description('The log.'),
);

export const stopWithinSchema = duration(
  'How long calls in flight may take to end at a stop.',
  '10s',
  0,
  600,
);

const rulesSchema = withDefault(v.pipe(v.array(ruleSchema), v.description('Who may have which token.')), []);

/** The schema of the whole file, with the blocks of these plug-ins. */
export function configSchema(rooms: Rooms) {
  return v.strictObject({
    issuer,
    host: v.optional(hostSchema),
    socket: withDefault(socketSchema, DEFAULT_SOCKET),
    public: v.optional(publicSchema),
    private: v.optional(privateSchema),
    status: withDefault(statusSchema, { listen: '127.0.0.1:9464' }),
    admin: withDefault(adminSchema, {}),
    keys: keysSchema(rooms.stores),
    records: v.optional(recordsSchema(rooms.records)),
    attestors: withDefault(attestorsSchema(rooms.attestors), DEFAULT_ATTESTORS),
    doors: withDefault(doorsSchema(rooms.doors), DEFAULT_DOORS),
    rules: rulesSchema,
    issuers: withDefault(issuersSchema(rulesSchema, rooms.doors), {}),
    tokens: withDefault(
      v.pipe(
        v.array(tokenFileSchema),
        v.description('Token files that are kept fresh for programs that read files.'),
      ),
      [],
    ),
    log: withDefault(logSchema, {}),
    stopWithin: withDefault(stopWithinSchema, '10s'),
  });
}

/** What the schema makes of a file, before the defaults that depend on other settings. */
export type Decoded = v.InferOutput<ReturnType<typeof configSchema>>;
