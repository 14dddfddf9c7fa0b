import { readFile } from 'node:fs/promises';
import { ADMIN_OPTION, adminSocket, askJson, ISSUER_OPTION, ofIssuer, printable } from './ask.ts';
import { type Command, CommandError, EXIT, type Invocation, JSON_OPTION } from './command.ts';

type User = {
  readonly username: string;
  readonly sub: string;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly tenants?: readonly string[];
  readonly hasPassword: boolean;
  readonly hasTotp: boolean;
};
type Account = {
  readonly sub: string;
  readonly idp: string;
  /** There. */
  readonly subject: string;
  readonly claims: Readonly<Record<string, unknown>>;
};
type Page<T> = { readonly users: readonly T[]; readonly next?: string };
type Enrolment = { readonly secret: string; readonly uri: string };

export const command: Command = {
  summary: 'List, add, change or remove people who sign in by the OAuth door',
  usage: 'list | add NAME | set NAME | passwd NAME | totp NAME | remove NAME | forget SUB',
  details: `list      who there is
add       a user; the password is asked for, or read from standard input or --password FILE
set       changes claims and tenants: what is named; tokens and userinfo have it from then on
passwd    sets the password in the same way; the user is signed out everywhere
totp      gives the user a second factor, shown once: an otpauth:// address for an authenticator app
remove    the user can no longer sign in, and tokens are no longer renewed
forget    ends sessions, consents and tokens of a person who came from another identity provider, by the
          sub that list --upstream shows; who may sign in there comes again as the same sub`,
  words: { list: 0, add: 1, set: 1, passwd: 1, totp: 1, remove: 1, forget: 1 },
  options: {
    password: { type: 'string', value: 'FILE', help: 'File with the password; - is standard input' },
    'no-password': { type: 'boolean', help: 'add: without a password for now' },
    name: { type: 'string', value: 'TEXT', help: 'add, set: the full name' },
    email: { type: 'string', value: 'ADDRESS', help: 'add, set: the e-mail address' },
    phone: { type: 'string', value: 'NUMBER', help: 'add, set: the phone number' },
    claim: {
      type: 'string',
      value: 'KEY=VALUE',
      multiple: true,
      help: 'add, set: another claim of OpenID Connect; address is a JSON object',
    },
    'remove-claim': { type: 'string', value: 'KEY', multiple: true, help: 'set: the user has it no more' },
    tenant: {
      type: 'string',
      value: 'NAME',
      multiple: true,
      help: 'add: a tenant of the user (none: any); set: these alone from now on',
    },
    'any-tenant': { type: 'boolean', help: 'set: the user may ask for any tenant' },
    sub: { type: 'string', value: 'ID', help: 'add: the sub claim (chosen at random)' },
    upstream: { type: 'boolean', help: 'list: people of other identity providers' },
    off: { type: 'boolean', help: 'totp: take the second factor away' },
    json: JSON_OPTION,
    issuer: ISSUER_OPTION,
    admin: ADMIN_OPTION,
  },
  async run(invocation) {
    const [action = 'list', username, ...rest] = invocation.words;
    if (rest.length > 0) throw usage(`mintmark users ${action} takes no "${rest[0]}"`);
    if (action === 'list') return list(invocation);
    const act = Object.hasOwn(ACTIONS, action) ? ACTIONS[action] : undefined;
    if (act === undefined)
      throw usage(`mintmark users has no "${action}": it is list, add, set, passwd, totp, remove or forget`);
    if (username === undefined)
      throw usage(`mintmark users ${action} needs a ${action === 'forget' ? 'SUB' : 'NAME'}`);
    await act(invocation, username);
    return EXIT.ok;
  },
};

const ACTIONS: Readonly<Record<string, (invocation: Invocation, username: string) => Promise<void>>> = {
  add,
  set: async (invocation, username) => {
    print(invocation, await post<User>(invocation, 'set', { username, ...changeOf(invocation) }), describe);
  },
  forget: async (invocation, sub) => {
    print(invocation, await post<object>(invocation, 'forget', { sub }), () => `forgot ${printable(sub)}\n`);
  },
  passwd: async (invocation, username) => {
    const password = await readPassword(invocation);
    print(invocation, await post<User>(invocation, 'password', { username, password }), describe);
  },
  totp: async (invocation, username) => {
    if (invocation.values.flag('off'))
      return print(invocation, await post<User>(invocation, 'totp', { username, remove: true }), describe);
    const enrolment = await post<Enrolment>(invocation, 'totp', { username });
    print(invocation, enrolment, ({ uri, secret }) => `${uri}\nsecret ${secret}\n`);
    invocation.io.writeError('it is not shown again; from now on the user is asked for a code\n');
  },
  remove: async (invocation, username) => {
    print(invocation, await post<object>(invocation, 'remove', { username }), () => `removed ${username}\n`);
  },
};

async function add(invocation: Invocation, username: string): Promise<void> {
  const { values } = invocation;
  const sub = values.text('sub');
  const tenants = values.list('tenant');
  const claims = claimsOf(invocation);
  const password = values.flag('no-password') ? undefined : await readPassword(invocation);
  const fields = {
    ...{ username, claims },
    ...(password === undefined ? {} : { password }),
    ...(sub === undefined ? {} : { sub }),
    ...(tenants.length === 0 ? {} : { tenants }),
  };
  print(invocation, await post<User>(invocation, 'add', fields), describe);
}

function changeOf(invocation: Invocation) {
  const { values } = invocation;
  const given = claimsOf(invocation);
  const removed = values.list('remove-claim').map((name) => [name, null] as const);
  const both = removed.find(([name]) => Object.hasOwn(given, name));
  if (both !== undefined)
    throw usage(`setting ${both[0]} and --remove-claim ${both[0]} contradict each other`);
  const claims = { ...given, ...Object.fromEntries(removed) };
  const named = values.list('tenant');
  if (values.flag('any-tenant') && named.length > 0)
    throw usage('--tenant and --any-tenant contradict each other');
  const tenants = values.flag('any-tenant') ? null : named.length === 0 ? undefined : named;
  if (tenants === undefined && Object.keys(claims).length === 0)
    throw usage('mintmark users set needs a claim or tenants to change');
  return { claims, ...(tenants === undefined ? {} : { tenants }) };
}

function claimsOf({ values }: Invocation): Readonly<Record<string, unknown>> {
  const named = {
    name: values.text('name'),
    email: values.text('email'),
    phone_number: values.text('phone'),
  };
  const pairs = values.list('claim').map((pair) => {
    const [key = '', value] = pair.split(/=(.*)/s);
    if (value === undefined) throw usage(`--claim takes KEY=VALUE, not "${pair}"`);
    return [key, typed(key, value)] as const;
  });
  const given = [...Object.entries(named), ...pairs].filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

/** As a claim of that name is written; what cannot be that is left for the issuer to refuse. */
function typed(key: string, value: string): unknown {
  const isOther = key.endsWith('_verified') || key === 'updated_at' || key === 'address';
  try {
    return isOther ? JSON.parse(value) : value;
  } catch {
    return value;
  }
}

/** Never an argument, which every process of the machine may read. */
async function readPassword({ io, values }: Invocation): Promise<string> {
  const file = values.text('password');
  if (file === undefined && io.canAsk) return askTwice(io);
  const bytes = file === undefined || file === '-' ? await io.readInput() : await readNamed(file);
  const password = bytes.toString('utf8').replace(/\r?\n$/, '');
  if (password === '') throw usage('no password: type it, pipe it in, or name a file with --password');
  return password;
}

async function askTwice(io: Invocation['io']): Promise<string> {
  const first = await io.askSecret('Password: ');
  if (first !== (await io.askSecret('Again: '))) throw new CommandError('the two passwords differ');
  return first;
}

async function readNamed(file: string): Promise<Buffer> {
  return readFile(file).catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(`cannot read ${file}: ${error.code}`);
  });
}

async function list(invocation: Invocation): Promise<number> {
  if (invocation.values.flag('upstream')) {
    const people = await all<Account>(invocation, '/v1/users/upstream');
    const rows = () => [
      'SUB                                         IDENTITY PROVIDER    SUB THERE\n',
      ...people.map(accountRow),
    ];
    print(invocation, { users: people }, () => rows().join(''));
    return EXIT.ok;
  }
  const users = await all<User>(invocation, '/v1/users');
  print(invocation, { users }, () =>
    ['USER                 SECOND FACTOR SUB\n', ...users.map(row)].join(''),
  );
  return EXIT.ok;
}

async function all<T>(invocation: Invocation, path: string): Promise<readonly T[]> {
  const found: T[] = [];
  for (let after: string | undefined = ''; after !== undefined; ) {
    const query = after === '' ? '' : `?after=${encodeURIComponent(after)}`;
    const question = ofIssuer(invocation, { path: `${path}${query}` });
    const page: Page<T> = await askJson<Page<T>>(adminSocket(invocation), question, 'users');
    found.push(...page.users);
    after = page.next;
  }
  return found;
}

function accountRow({ sub, idp, subject, claims }: Account): string {
  const who = [subject, claims.name, claims.email].filter((text) => typeof text === 'string').join('  ');
  return `${sub} ${printable(idp).padEnd(20)} ${printable(who)}\n`;
}

function row({ username, sub, hasTotp }: User): string {
  return `${printable(username).padEnd(20)} ${(hasTotp ? 'totp' : '-').padEnd(13)} ${sub}\n`;
}

function describe(user: User): string {
  const { username, sub, claims, tenants, hasPassword, hasTotp } = user;
  const lines = [
    ['user', username],
    ['sub', sub],
    ...Object.entries(claims).map(([name, value]) => [name, textOf(value)]),
    ...(tenants === undefined ? [] : [['tenants', tenants.join(' ')]]),
    ['password', hasPassword ? 'yes' : 'none yet'],
    ['second factor', hasTotp ? 'totp' : 'none'],
  ];
  return lines.map(([name = '', value = '']) => `${name.padEnd(14)} ${printable(value)}\n`).join('');
}

function textOf(value: unknown): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

function print<T>({ io, values }: Invocation, answer: T, format: (answer: T) => string): void {
  io.write(values.flag('json') ? `${JSON.stringify(answer, null, 2)}\n` : format(answer));
}

function post<T>(invocation: Invocation, action: string, fields: object): Promise<T> {
  const question = { path: `/v1/users/${action}`, fields: { ...fields } };
  return askJson<T>(adminSocket(invocation), ofIssuer(invocation, question));
}

function usage(sentence: string): CommandError {
  return new CommandError(`${sentence}: see mintmark users --help`, EXIT.usage);
}
