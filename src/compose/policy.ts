/** The policy of a configuration: what its rules and token files may name depends on its attestors, its doors and the machine. */
import type { Names } from '../attestors/names.ts';
import type { LoadedConfig } from '../config.ts';
import { compilePolicy, type Policy } from '../core/policy.ts';
import type { Attestor, Facts } from '../core/ports.ts';
import { type DoorName, doors } from '../doors/index.ts';
import { idOf, resolveTokenFiles } from './token-files.ts';

/** Throws ConfigError with every mistake in rules, token files and the names of groups. */
export async function policyOf(
  loaded: LoadedConfig,
  attestor: Pick<Attestor, 'kinds' | 'claimedKinds'>,
  names: Names,
): Promise<Policy> {
  const { config, reject } = loaded;
  const constants: Record<string, string> = { host: config.host };
  for (const [name, block] of Object.entries(config.doors))
    Object.assign(constants, await doorConstants(name as DoorName, block));
  const { issuer, rules, socket } = config;
  const { kinds, claimedKinds = [] } = attestor;
  const { policy, problems } = compilePolicy(rules, { issuer, constants, kinds, claimedKinds });
  const all = [...problems, ...resolveTokenFiles(loaded, () => policy, names, 0).problems];
  if (socket.group !== undefined && idOf(names.groups(), socket.group) === undefined)
    all.push({ path: 'socket.group', message: `there is no group ${socket.group}` });
  if (all.length > 0) throw reject(all);
  return policy;
}

async function doorConstants(name: DoorName, block: unknown): Promise<Facts> {
  const module = await doors[name]();
  return module.constants(block as Parameters<typeof module.constants>[0]);
}
