import { ADMIN_OPTION, adminSocket, askJson, printable } from './ask.ts';
import { type Command, CommandError, EXIT, type Invocation, JSON_OPTION } from './command.ts';

type ApiKey = {
  readonly id: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly providers?: readonly string[];
  readonly createdAt: number;
  readonly rotatedAt?: number;
};
type NewKey = ApiKey & { readonly key: string };

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
/** Which action each option is for. */
const OWNERS = { scope: 'add', provider: 'add', overlap: 'rotate' } as const;
const OVERLAP = /^(\d{1,7})([smhd])$/;

export const command: Command = {
  summary: 'List, add, rotate or remove API keys of the Vultr door',
  usage: 'list | add NAME | rotate NAME | remove NAME',
  details: `list      the keys, without their secrets
add       a key, which is printed once and stored as a hash
rotate    a new secret, printed once; the old one counts for --overlap more (24h)
remove    the key counts no more`,
  words: { list: 0, add: 1, rotate: 1, remove: 1 },
  options: {
    scope: {
      type: 'string',
      value: 'SCOPE',
      multiple: true,
      help: 'add: providers:read, providers:write, issuers:read, issuers:write or tokens (none: all)',
    },
    provider: { type: 'string', value: 'ID', multiple: true, help: 'add: for this provider alone' },
    overlap: {
      type: 'string',
      value: 'TIME',
      help: 'rotate: how long the old secret counts, such as 1h or 0s',
    },
    json: JSON_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const [action = 'list', name, ...rest] = invocation.words;
    if (rest.length > 0) throw usage(`mintmark api-keys ${action} takes no "${rest[0]}"`);
    if (!['list', 'add', 'rotate', 'remove'].includes(action))
      throw usage(`mintmark api-keys has no "${action}": it is list, add, rotate or remove`);
    assertOptions(invocation, action);
    if (action === 'list') return list(invocation);
    if (name === undefined) throw usage(`mintmark api-keys ${action} needs a NAME`);
    const answer = await post(invocation, action, { name, ...fieldsOf(invocation, action) });
    if (action === 'remove') print(invocation, {}, `removed ${printable(name)}\n`);
    else show(invocation, answer);
    return EXIT.ok;
  },
};

/** An option that says nothing of this action was meant to: it is not passed over. */
function assertOptions({ values }: Invocation, action: string): void {
  for (const [name, owner] of Object.entries(OWNERS)) {
    const isGiven = values.text(name) !== undefined || values.list(name).length > 0;
    if (isGiven && owner !== action) throw usage(`mintmark api-keys ${action} takes no --${name}`);
  }
}

function fieldsOf({ values }: Invocation, action: string): object {
  const scopes = values.list('scope');
  const providers = values.list('provider');
  const overlap = values.text('overlap');
  if (action === 'rotate') return overlap === undefined ? {} : { overlapSeconds: secondsOf(overlap) };
  if (action !== 'add') return {};
  return { ...(scopes.length === 0 ? {} : { scopes }), ...(providers.length === 0 ? {} : { providers }) };
}

function secondsOf(text: string): number {
  const [, count, unit] = OVERLAP.exec(text) ?? [];
  if (count === undefined) throw usage(`--overlap takes a time such as 1h, not "${text}"`);
  return Number(count) * UNITS[unit as keyof typeof UNITS];
}

/** The key alone on standard output: a script takes it from there. */
function show(invocation: Invocation, answer: NewKey): void {
  print(invocation, answer, `${answer.key}\n`);
  invocation.io.writeError('it is not shown again\n');
}

async function list(invocation: Invocation): Promise<number> {
  const { apiKeys } = await askJson<{ readonly apiKeys: readonly ApiKey[] }>(adminSocket(invocation), {
    path: '/v1/api-keys',
  });
  const row = ({ name, scopes, providers, createdAt, rotatedAt }: ApiKey) =>
    [
      printable(name).padEnd(20),
      new Date((rotatedAt ?? createdAt) * 1000).toISOString().padEnd(24),
      scopes.join(' '),
      providers === undefined ? '' : ` for ${providers.join(' ')}`,
    ].join(' ');
  const rows = [`${'NAME'.padEnd(20)} ${'SECRET SINCE'.padEnd(24)} SCOPES`, ...apiKeys.map(row)];
  print(invocation, { apiKeys }, `${rows.map((each) => each.trimEnd()).join('\n')}\n`);
  return EXIT.ok;
}

function print({ io, values }: Invocation, answer: unknown, text: string): void {
  io.write(values.flag('json') ? `${JSON.stringify(answer, null, 2)}\n` : text);
}

function post(invocation: Invocation, action: string, fields: object): Promise<NewKey> {
  return askJson<NewKey>(adminSocket(invocation), {
    path: `/v1/api-keys/${action}`,
    fields: { ...fields },
  });
}

function usage(sentence: string): CommandError {
  return new CommandError(`${sentence}: see mintmark api-keys --help`, EXIT.usage);
}
