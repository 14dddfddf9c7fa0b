/** What a start would find out about a configuration, without starting. */

import { openNames } from '../attestors/names.ts';
import { warnings as attestationWarnings } from '../attestors/warnings.ts';
import type { Config, LoadedConfig } from '../config.ts';
import { provable } from './attestors.ts';
import { policyOf } from './policy.ts';
import { resolveTokenFiles } from './token-files.ts';

/** Resolves to the warnings; throws ConfigError with what is wrong in rules and token files. */
export async function checkRules(loaded: LoadedConfig): Promise<readonly string[]> {
  const names = openNames(() => 0);
  const policy = await policyOf(loaded, await provable(loaded.config.attestors), names);
  const { warnings } = resolveTokenFiles(loaded, () => policy, names, 0);
  return [...ruleWarnings(loaded.config), ...warnings];
}

/** Rules that promise more than attestation can hold. */
export function ruleWarnings(config: Config): readonly string[] {
  return config.rules.flatMap(({ name, match }) =>
    attestationWarnings(match).map((warning) => `rule "${name}": ${warning}`),
  );
}
