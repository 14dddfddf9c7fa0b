import { ask, parseAnswer, parseObject, printable, SOCKET_OPTION, workloadSocket } from './ask.ts';
import { type Command, CommandError, EXIT, type Values } from './command.ts';
import { describeNear, type Near } from './explain.ts';
import { decodeToken, formatToken } from './token-text.ts';

export const command: Command = {
  summary: 'Ask the socket for a token and print it',
  usage:
    '--aud AUDIENCE [--ttl SECONDS] [--principal-tags] [--verify URL] [--decode | --json] [--socket PATH]',
  details: 'The token goes to stdout and nothing else does, so TOKEN=$(mintmark token --aud X) works.',
  options: {
    aud: {
      type: 'string',
      value: 'AUDIENCE',
      multiple: true,
      help: 'Who is to take the token; again for a second one',
    },
    ttl: { type: 'string', value: 'SECONDS', help: "Its life, within what the rule allows (the rule's own)" },
    'principal-tags': { type: 'boolean', help: 'Add the AWS principal tags of the rule' },
    verify: {
      type: 'string',
      value: 'URL',
      help: 'First verify it by what is published there, which may be another way to its issuer',
    },
    decode: { type: 'boolean', help: 'Show header and claims as people read them instead of the token' },
    json: { type: 'boolean', help: 'Print {"token", "header", "claims"}' },
    socket: SOCKET_OPTION,
  },
  async run(invocation) {
    const { io, values } = invocation;
    const answer = await ask(workloadSocket(invocation), {
      path: '/v1/tokens/oidc',
      fields: fieldsOf(invocation.values),
    });
    if (answer.status !== 200) throw refusal(answer);
    const token = answer.body.toString('utf8');
    const published = values.text('verify');
    if (published !== undefined) await (await import('./verify.ts')).verifyToken(token, published);
    if (values.flag('json')) io.write(`${JSON.stringify({ token, ...decodeToken(token) }, null, 2)}\n`);
    else if (values.flag('decode')) io.write(formatToken(token, Date.now() / 1000));
    else io.write(`${token}\n`);
    return EXIT.ok;
  },
};

function fieldsOf(values: Values): Readonly<Record<string, unknown>> {
  const [first, ...more] = values.list('aud');
  const ttl = values.text('ttl');
  if (ttl !== undefined && !/^[0-9]+$/.test(ttl))
    throw new CommandError('--ttl is a number of seconds, as in --ttl 300', EXIT.usage);
  return {
    ...(first === undefined ? {} : { aud: more.length === 0 ? first : [first, ...more] }),
    ...(ttl === undefined ? {} : { ttl: Number(ttl) }),
    ...(values.flag('principal-tags') ? { aws_principal_tags: true } : {}),
  };
}

/** The issuer's reason, and the nearest rules as `explain` shows them. */
function refusal(answer: Parameters<typeof parseAnswer>[0]): Error {
  const { nearest = [] } = parseObject(answer) as { readonly nearest?: readonly Near[] };
  try {
    parseAnswer(answer);
  } catch (error) {
    const lines = nearest.map((near) => `nearest  ${printable(describeNear(near))}`);
    return new CommandError([(error as Error).message, ...lines].join('\n'));
  }
  return new CommandError(`unexpected status ${answer.status}`);
}
