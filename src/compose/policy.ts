/** The policy of a configuration: what its rules and token files may name depends on its attestors, its doors and the machine. */
import type { Names } from '../attestors/names.ts';
import type { Config, LoadedConfig } from '../config.ts';
import { compilePolicy, type Policy, type PolicyContext } from '../core/policy.ts';
import type { Facts, Provable } from '../core/ports.ts';
import { type DoorName, doors } from '../doors/index.ts';
import { idOf, resolveTokenFiles } from './token-files.ts';

/** Throws ConfigError with every mistake in rules, token files and the names of groups. */
export async function policyOf(loaded: LoadedConfig, attestor: Provable, names: Names): Promise<Policy> {
  const { policy, problems } = await compile(loaded.config, attestor, names);
  if (problems.length > 0) throw loaded.reject(problems);
  return policy;
}

/** The policy, and every mistake in rules, token files and the names of groups. */
export async function compile(
  config: Config,
  attestor: Provable,
  names: Names,
): Promise<ReturnType<typeof compilePolicy>> {
  const constants: Record<string, string> = { host: config.host };
  for (const [name, block] of Object.entries(config.doors))
    Object.assign(constants, await doorConstants(name as DoorName, block));
  const { issuer, rules, socket } = config;
  const context = { ...attestor, issuer, constants };
  const { policy, problems } = compilePolicy(rules, context);
  const all = [
    ...problems,
    ...tenantProblems(config, context),
    ...resolveTokenFiles({ config }, () => policy, names, 0).problems,
  ];
  if (socket.group !== undefined && idOf(names.groups(), socket.group) === undefined)
    all.push({ path: 'socket.group', message: `there is no group ${socket.group}` });
  return { policy, problems: all };
}

/** The policy of a further issuer. */
export function tenantPolicy(config: Config, name: string, context: Omit<PolicyContext, 'issuer'>) {
  const { rules = [] } = config.issuers[name] ?? {};
  return compilePolicy(rules, { ...context, issuer: `${config.issuer}/${name}` });
}

function tenantProblems(config: Config, context: PolicyContext) {
  return Object.keys(config.issuers).flatMap((name) =>
    tenantPolicy(config, name, context).problems.map((problem) => ({
      ...problem,
      path: `issuers.${name}.${problem.path}`,
    })),
  );
}

async function doorConstants(name: DoorName, block: unknown): Promise<Facts> {
  const { constants } = (await doors[name]()) as { readonly constants?: (block: unknown) => Facts };
  return constants?.(block) ?? {};
}
