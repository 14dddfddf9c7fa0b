import { type Command, EXIT, JSON_OPTION } from './command.ts';

export const command: Command = {
  summary: 'Print the version',
  usage: '[--json]',
  options: { json: JSON_OPTION },
  async run({ io, values }) {
    const { version, nodeVersion } = io;
    io.write(
      values.flag('json')
        ? `${JSON.stringify({ version, node: nodeVersion })}\n`
        : `mintmark ${version} (Node ${nodeVersion})\n`,
    );
    return EXIT.ok;
  },
};
