/** What a start would find out about a configuration, without starting. */

import { openNames } from '../attestors/names.ts';
import { warnings as attestationWarnings } from '../attestors/warnings.ts';
import type { Config, LoadedConfig, Problem } from '../config.ts';
import type { IssuerError } from '../core/errors.ts';
import type { PolicyProblem } from '../core/policy.ts';
import { attestorFindings, provable } from './attestors.ts';
import { awsToken } from './aws.ts';
import { doorMistakes } from './door-mistakes.ts';
import { assertStrictPeer } from './listeners.ts';
import { compile } from './policy.ts';
import { resolveTokenFiles } from './token-files.ts';

type Findings = { readonly problems: readonly Problem[]; readonly warnings: readonly string[] };

/** Resolves to the warnings; throws ConfigError with what is wrong in rules, token files and certificates. */
export async function checkMeaning(
  loaded: LoadedConfig,
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly string[]> {
  const aws = awsToken(loaded, env);
  const { problems, warnings } = await findMistakes(aws.config, () => false);
  const all = [...problems, ...aws.problems];
  if (all.length > 0) throw loaded.reject(all);
  return warnings;
}

/** `isHarmed` tells what was left out of the configuration: what only follows from that is left unsaid. */
export async function findMistakes(config: Config, isHarmed: (path: string) => boolean): Promise<Findings> {
  const names = openNames(() => 0);
  const proven = await provable(config.attestors);
  const { policy, problems } = await compile(config, proven, names);
  const tls = await certificateFindings(config);
  const attestation = await attestorFindings(config.attestors);
  const isTorn = ['attestors', 'doors', 'issuers'].some(isHarmed);
  const ofDoors = isTorn ? [] : await doorMistakes(config, { provable: proven, isWhole: true });
  const { warnings } = resolveTokenFiles({ config }, () => policy, names, 0);
  return {
    problems: [
      ...problems.filter((problem) => !isEcho(problem, config, isHarmed)),
      ...attestation.problems,
      ...tls.problems,
      ...ofDoors,
    ],
    warnings: [...ruleWarnings(config), ...warnings, ...attestation.warnings, ...tls.warnings],
  };
}

/** A fact may be unknown, a subject loose or a token file without a rule since something else is wrong. */
function isEcho(
  { path, isUnknown = false }: PolicyProblem,
  { rules, tokens }: Config,
  isHarmed: (path: string) => boolean,
): boolean {
  if (isUnknown) return isHarmed('attestors') || isHarmed('doors');
  const [, rule] = /^(rules\[\d+\])\.subject$/.exec(path) ?? [];
  if (rule !== undefined) return isHarmed(`${rule}.match`);
  const [, token] = /^tokens\[(\d+)\]\.audience$/.exec(path) ?? [];
  if (token === undefined) return false;
  const named = tokens[Number(token)]?.rule;
  const isNamed = named === undefined || rules.some(({ name }) => name === named);
  return !isNamed || isHarmed('rules') || isHarmed(path);
}

async function certificateFindings(config: Config): Promise<Findings> {
  const problems: Problem[] = [];
  const warnings: string[] = [];
  for (const name of ['public', 'private'] as const) {
    const tls = config[name]?.tls;
    if (tls?.kind !== 'files') continue;
    const { inspectTls } = await import('../net/tls.ts');
    const { loaded, faults } = await inspectTls(tls, Math.floor(Date.now() / 1000));
    problems.push(...faults.map(({ file, message }) => ({ path: `${name}.tls.${file}`, message })));
    warnings.push(...(loaded?.warnings ?? []));
  }
  return { problems, warnings };
}

/** Whether this machine can do what is asked: the configuration may be meant for another one. */
export function machineWarnings({ socket }: Pick<Config, 'socket'>): readonly string[] {
  try {
    assertStrictPeer(socket);
    return [];
  } catch (error) {
    return [`serve would not start here: ${(error as IssuerError).detail}`];
  }
}

/** Rules that promise more than attestation can hold. */
export function ruleWarnings(config: Config): readonly string[] {
  return config.rules.flatMap(({ name, match }) =>
    attestationWarnings(match, config.attestors).map((warning) => `rule "${name}": ${warning}`),
  );
}
