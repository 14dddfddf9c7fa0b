/** Asking a running issuer over its sockets. */
import { existsSync } from 'node:fs';
import { request } from 'node:http';
import { dirname, join } from 'node:path';
import { CommandError, EXIT, type Invocation, type Io, type Option } from './command.ts';

export type Question = {
  readonly method?: 'GET' | 'POST';
  readonly path: string;
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly bytes?: Buffer;
};

/** Where to ask, and what names another one. */
export type Socket = { readonly path: string; readonly namedBy: string };

export type Answer = { readonly status: number; readonly body: Buffer };

export const SOCKET_OPTION: Option = {
  type: 'string',
  value: 'PATH',
  help: "The issuer's socket (also MINTMARK_SOCKET)",
};
export const ADMIN_OPTION: Option = {
  type: 'string',
  value: 'PATH',
  help: "The issuer's admin socket (also MINTMARK_ADMIN)",
};

export const ISSUER_OPTION: Option = {
  type: 'string',
  value: 'NAME',
  help: 'One of `issuers`, or the id of a provider, in the place of the main issuer',
};

const SYSTEM_SOCKET = '/run/mintmark/api.sock';
const TIMEOUT_MS = 30_000;

/** An empty variable says nothing. */
export function variable(env: Io['env'], name: string): string | undefined {
  return env[name] === '' ? undefined : env[name];
}

/** Where `mintmark serve` without a configuration listens: below the user's own run-time directory, or in one that nobody else can move away. */
export function developmentSocket({ env, uid }: Io): string {
  const own = variable(env, 'XDG_RUNTIME_DIR');
  return join(own === undefined ? `/tmp/mintmark-${uid}` : join(own, 'mintmark'), 'api.sock');
}

export function workloadSocket({ io, values }: Invocation): Socket {
  const named = values.text('socket') ?? variable(io.env, 'MINTMARK_SOCKET');
  const usual = existsSync(SYSTEM_SOCKET) ? SYSTEM_SOCKET : developmentSocket(io);
  return { path: named ?? usual, namedBy: 'MINTMARK_SOCKET or --socket' };
}

export function adminSocket(invocation: Invocation): Socket {
  const { io, values } = invocation;
  const path =
    values.text('admin') ??
    variable(io.env, 'MINTMARK_ADMIN') ??
    join(dirname(workloadSocket(invocation).path), 'admin.sock');
  return { path, namedBy: 'MINTMARK_ADMIN or --admin' };
}

/** The same of one of the further issuers, where `--issuer` names it. */
export function ofIssuer({ values }: Invocation, question: Question): Question {
  const name = values.text('issuer');
  if (name === undefined) return question;
  return { ...question, path: question.path.replace('/v1/', `/v1/issuers/${encodeURIComponent(name)}/`) };
}

/** Throws CommandError `unreachable` with what to look at. */
export async function ask(socket: Socket, question: Question): Promise<Answer> {
  // Node would take no path for port 80 of this machine.
  if (socket.path === '') throw new CommandError('the path of the socket is empty', EXIT.usage);
  const body =
    question.bytes ??
    (question.fields === undefined ? undefined : Buffer.from(JSON.stringify(question.fields)));
  const type = question.bytes === undefined ? 'application/json' : 'application/octet-stream';
  return new Promise((resolve, reject) => {
    const outgoing = request({
      socketPath: socket.path,
      path: question.path,
      method: question.method ?? (body === undefined ? 'GET' : 'POST'),
      headers: body === undefined ? {} : { 'Content-Type': type, 'Content-Length': body.length },
      timeout: TIMEOUT_MS,
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error('no answer within 30 s')));
    outgoing.on('error', (error) => reject(unreachable(socket, error)));
    outgoing.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', (error) => reject(unreachable(socket, error)));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks) }));
    });
    outgoing.end(body);
  });
}

const OBEYED = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text that others chose, such as the path of an executable, without what a terminal would obey. */
export function printable(text: string): string {
  return text.replace(OBEYED, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** The answer's JSON; throws CommandError with the issuer's own words where it refused. */
export async function askJson<T>(socket: Socket, question: Question, member?: keyof T & string): Promise<T> {
  const answer = await ask(socket, question);
  assertIssuer(question, answer);
  const value = parseAnswer(answer);
  if (member !== undefined && value[member] === undefined) throw foreign(`"${member}" is missing`);
  return value as T;
}

const OF_ISSUER = /^\/v1\/issuers\/([^/]+)\//;

/** Where there is no such path, the issuer in it is the reason: the issuer that answers knows of none. */
function assertIssuer({ path }: Question, answer: Answer): void {
  const [, name] = OF_ISSUER.exec(path) ?? [];
  if (name === undefined || answer.status !== 404 || parseObject(answer).reason !== undefined) return;
  throw new CommandError(`not_found: there is no issuer ${printable(decodeURIComponent(name))} (--issuer)`);
}

/** Throws CommandError, also where it is not an issuer that answered. */
export function parseAnswer({ status, body }: Answer): Readonly<Record<string, unknown>> {
  const value = parseObject({ status, body });
  if (status < 400) return value;
  const { error, error_description: sentence, reason } = value;
  if (typeof error !== 'string') throw foreign(`status ${status}, no "error"`);
  throw new CommandError(printable(`${error}: ${reason ?? sentence}`));
}

/** Whatever its status. Throws CommandError. */
export function parseObject({ status, body }: Answer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    if (typeof value === 'object' && value !== null) return { ...value };
  } catch {
    // Told below.
  }
  throw foreign(`status ${status}, no JSON object`);
}

function foreign(what: string): CommandError {
  return new CommandError(`what answers is no issuer of this version (${what}): see --socket and --admin`);
}

function unreachable({ path, namedBy }: Socket, error: Error): CommandError {
  const code = (error as NodeJS.ErrnoException).code ?? error.message;
  if (code === 'EACCES')
    return new CommandError(
      `you may not open ${path}: a workload's socket is for its group (socket.group), the admin socket for the user that Mintmark runs as`,
    );
  return new CommandError(
    `no issuer answers at ${path} (${code}): is \`mintmark serve\` running? ${namedBy} names another socket`,
    EXIT.unreachable,
  );
}
