import { randomBytes } from 'node:crypto';
import { hashSecret } from '../core/client-secrets.ts';
import { type Command, CommandError, EXIT, JSON_OPTION } from './command.ts';

const BYTES = 32;
/** RFC 6749 appendix A.2. */
const VISIBLE = /^[\x20-\x7E]+$/;
/** 128 bits as base64url has. */
const SHORT = 22;

export const command: Command = {
  summary: 'Make a secret for an OAuth client, and its hash for the configuration',
  usage: '[--stdin] [--json]',
  details: `The secret goes to the client, the hash below doors.oauth.clients[].secrets. The secret is
kept nowhere and cannot be had from the hash.`,
  options: {
    stdin: { type: 'boolean', help: 'Read a secret that there is already; print its hash alone' },
    json: JSON_OPTION,
  },
  async run({ io, values }) {
    const given = values.flag('stdin') ? readSecret((await io.readInput()).toString()) : undefined;
    if (given !== undefined && given.length < SHORT)
      io.writeError('mintmark: this secret is short: whoever sees its hash may guess it\n');
    const secret = given ?? randomBytes(BYTES).toString('base64url');
    const hash = hashSecret(secret);
    if (values.flag('json'))
      io.write(`${JSON.stringify(given === undefined ? { secret, hash } : { hash })}\n`);
    else io.write(given === undefined ? `secret  ${secret}\nhash    ${hash}\n` : `${hash}\n`);
    return EXIT.ok;
  },
};

/** Without the line's end. */
function readSecret(text: string): string {
  const secret = text.replace(/\r?\n$/, '');
  if (!VISIBLE.test(secret))
    throw new CommandError(
      'a secret is one line of printable ASCII characters (RFC 6749 appendix A.2)',
      EXIT.usage,
    );
  return secret;
}
