import { type Command, CommandError, EXIT, JSON_OPTION } from './command.ts';
import { CONFIGURATION_OPTIONS, loadConfiguration } from './configuration.ts';

export const command: Command = {
  summary: 'Check the configuration and print what it comes to',
  usage: '[--config FILE] [--json]',
  details: 'Every mistake, certificates included, is told at once with its path; the exit code is then 2.',
  options: { ...CONFIGURATION_OPTIONS, json: JSON_OPTION },
  async run(invocation) {
    const { io, values } = invocation;
    const loaded = await loadConfiguration(invocation);
    const [{ describeConfig, describeSidecar }, { checkMeaning, machineWarnings }] = await Promise.all([
      import('../config.ts'),
      import('../compose/check.ts'),
    ]);
    for (const warning of machineWarnings(loaded.config)) io.writeError(`warning: ${warning}\n`);
    if ('authority' in loaded.config) {
      io.write(describeSidecar(loaded.config, values.flag('json') ? 'json' : 'yaml'));
      return EXIT.ok;
    }
    const issuer = { ...loaded, config: loaded.config };
    const warnings = await checkMeaning(issuer, io.env).catch((error: Error) => {
      throw new CommandError(error.message, error.name === 'ConfigError' ? EXIT.usage : EXIT.failed);
    });
    for (const warning of [...loaded.warnings, ...warnings]) io.writeError(`warning: ${warning}\n`);
    io.write(describeConfig(issuer.config, values.flag('json') ? 'json' : 'yaml'));
    return EXIT.ok;
  },
};
