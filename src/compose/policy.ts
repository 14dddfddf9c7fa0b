/** The policy of a configuration: what its rules may name depends on its attestors and doors. */
import type { LoadedConfig } from '../config.ts';
import { compilePolicy, type Policy } from '../core/policy.ts';
import type { Facts, SelectorKind } from '../core/ports.ts';
import { type DoorName, doors } from '../doors/index.ts';

/** Throws ConfigError with every mistake in the rules. */
export async function policyOf(
  { config, reject }: LoadedConfig,
  kinds: readonly SelectorKind[],
): Promise<Policy> {
  const constants: Record<string, string> = { host: config.host };
  for (const [name, block] of Object.entries(config.doors))
    Object.assign(constants, await doorConstants(name as DoorName, block));
  const { policy, problems } = compilePolicy(config.rules, { issuer: config.issuer, constants, kinds });
  if (problems.length > 0) throw reject(problems);
  return policy;
}

async function doorConstants(name: DoorName, block: unknown): Promise<Facts> {
  const module = await doors[name]();
  return module.constants(block as Parameters<typeof module.constants>[0]);
}
