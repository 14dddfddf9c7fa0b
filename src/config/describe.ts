/** Config → the file that would say all of it: the way back from the schema. */
import { stringify } from 'yaml';
import type { Config, LoadedSidecar } from '../config.ts';
import { configSchema } from './schema.ts';
import { formatDuration, formatListen, formatMode, type ListenAddress } from './units.ts';

/** Shape: what a file may hold, with every default spelled out. */
export function effectiveSettings(config: Config): Readonly<Record<string, unknown>> {
  const {
    development: _,
    status,
    keys,
    records,
    public: listener,
    attestors,
    doors,
    rules,
    issuers,
    ...rest
  } = config;
  const settings: Record<string, unknown> = {
    ...writtenMap(rest),
    public: listener && { ...writtenMap(listener), tls: writtenTls(listener.tls) },
    private: config.private && { ...writtenMap(config.private), tls: writtenTls(config.private.tls) },
    status: status === undefined ? 'off' : writtenMap(status),
    keys: { ...writtenMap(keys), store: { [keys.store.name]: keys.store.block } },
    records: records && { [records.name]: records.block },
    attestors,
    doors,
    rules: writtenRules(rules),
    issuers: Object.fromEntries(
      Object.entries(issuers).map(([name, each]) => [name, { ...each, rules: writtenRules(each.rules) }]),
    ),
  };
  return Object.fromEntries(ORDER.map((key) => [key, settings[key]]));
}

function writtenRules(rules: Config['rules']): readonly unknown[] {
  return rules.map(({ claims, ...rule }) => ({ ...writtenMap(rule), claims }));
}

const ORDER = Object.keys(configSchema({ attestors: {}, doors: {}, stores: {}, records: {} }).entries);

export function describeConfig(config: Config, format: 'yaml' | 'json' = 'yaml'): string {
  return printed(effectiveSettings(config), format);
}

/** As `describeConfig`, for a sidecar. */
export function describeSidecar(config: LoadedSidecar['config'], format: 'yaml' | 'json' = 'yaml'): string {
  const { authority, status, attestors, doors, ...rest } = config;
  const { reuseFloor } = authority;
  const written = {
    ...authority,
    reuseFloor: reuseFloor === 'off' ? reuseFloor : formatDuration(reuseFloor),
  };
  return printed(
    {
      authority: written,
      ...writtenMap(rest),
      status: status ? writtenMap(status) : 'off',
      attestors,
      doors,
    },
    format,
  );
}

function printed(value: unknown, format: 'yaml' | 'json'): string {
  const settings = prune(value);
  return format === 'json' ? `${JSON.stringify(settings, null, 2)}\n` : stringify(settings);
}

/** Seconds, modes and addresses as a file writes them, everywhere below. Not for what people name themselves. */
function writtenMap(map: object): Readonly<Record<string, unknown>> {
  const entries = Object.entries(map).map(([key, value]) => {
    if (typeof value === 'number' && key.endsWith('Seconds'))
      return [key.slice(0, -7), formatDuration(value)];
    if (typeof value === 'number' && key === 'mode') return [key, formatMode(value)];
    if (typeof value === 'object' && key === 'listen') return [key, formatListen(value as ListenAddress)];
    return [key, written(value)];
  });
  return Object.fromEntries(entries);
}

function written(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(written);
  return typeof value === 'object' && value !== null ? writtenMap(value) : value;
}

function writtenTls(tls: NonNullable<Config['public']>['tls']): unknown {
  if (tls.kind === 'none') return undefined;
  if (tls.kind === 'bootstrap') return { bootstrap: { names: tls.names } };
  return { certificate: tls.certificate, key: tls.key };
}

/** YAML would print what is undefined. */
function prune(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
