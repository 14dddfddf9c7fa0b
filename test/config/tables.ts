/** Small plug-in tables, and a file that only just suffices. */
import * as v from 'valibot';
import { ConfigError, type LoadedConfig, loadConfig } from '../../src/config.ts';

export const loadedPlugins: string[] = [];

function plugin(name: string, config: v.GenericSchema) {
  return async () => {
    loadedPlugins.push(name);
    return { config };
  };
}

export const tables = {
  attestors: {
    unix: plugin('unix', v.strictObject({ hashTimeoutSeconds: v.optional(v.number(), 5) })),
    docker: plugin('docker', v.strictObject({ socket: v.string() })),
  },
  doors: {
    fly: plugin('fly', v.strictObject({ audience: v.optional(v.string()), org: v.optional(v.string()) })),
    broken: async (): Promise<{ config: v.GenericSchema }> => {
      throw new Error('its library is missing');
    },
  },
  stores: {
    memory: plugin('memory', v.strictObject({})),
    file: plugin('file', v.union([v.string(), v.strictObject({ path: v.string() })])),
  },
  records: {
    sqlite: plugin('sqlite', v.string()),
  },
};

export const MINIMAL = `issuer: https://id.example.com
public: { listen: 127.0.0.1:8080 }
keys: { store: memory }
rules:
  - { name: web, match: [unix:user:web], subject: web, audiences: [sts.amazonaws.com] }
`;

export function load(text: string, env: Readonly<Record<string, string>> = {}): Promise<LoadedConfig> {
  return loadConfig({ text, file: 'mintmark.yaml', env, tables, host: 'web-1' });
}

/** What is wrong with a file, as people read it. */
export async function problemsOf(
  text: string,
  env: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  try {
    await load(text, env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.format().split('\n');
  }
}
