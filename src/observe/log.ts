/** The log: one JSON line an event, written before the call returns. */
import pino, { type Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** pino's logger: `log.info({ field }, 'what happened')`, `log.error(error, 'what failed')`; `level` can be set. */
export type Log = Logger & {
  /** `info` at every level and in half the time, for what is logged with each token; no `err`, a plain message. */
  always(fields: object, message: string): void;
};

export type LogParts = {
  readonly level: LogLevel;
  readonly version: string;
  /** Takes a line with its newline, and has written it when it returns; throws where it cannot. */
  readonly write: (line: string) => void;
};

/** What JSON leaves as it is although terminals obey it: C1 controls, line separators, changes of direction. */
const OBEYED = /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
const EACH_OBEYED = new RegExp(OBEYED, 'g');

/** Fields of every line: level, time (RFC 3339), name, version. An `err` is logged as `describeError` says. */
export function createLog({ level, version, write }: LogParts): Log {
  const base = { name: 'mintmark', version };
  const timestamp = createTimestamp(() => Date.now());
  const print = (line: string) =>
    write(OBEYED.test(line) ? line.replace(EACH_OBEYED, escapeCharacter) : line);
  const formatters = { level: (label: string) => ({ level: label }) };
  const log = pino(
    { level, base, timestamp, formatters, serializers: { err: describeError } },
    { write: print },
  );
  const start = membersOf(base);
  return Object.assign(log, {
    always: (fields: object, message: string) =>
      print(`{"level":"info"${timestamp()},${start},${membersOf(fields)},"msg":"${message}"}\n`),
  });
}

/** JSON without the braces. */
function membersOf(fields: object): string {
  return JSON.stringify(fields).slice(1, -1);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

/** Date.toISOString() is half the cost of a line, so it is called once a second. */
function createTimestamp(now: () => number): () => string {
  let second = Number.NaN;
  let prefix = '';
  return () => {
    const milliseconds = now();
    const current = Math.floor(milliseconds / 1000);
    if (current !== second) {
      second = current;
      prefix = new Date(milliseconds).toISOString().slice(0, 20);
    }
    return `,"time":"${prefix}${String(milliseconds - current * 1000).padStart(3, '0')}Z"`;
  };
}

const TEXT_LENGTH = 1000;
const CAUSES = 4;
const FRAMES = 5;

export type ErrorFields = {
  readonly name: string;
  readonly code?: string | undefined;
  readonly detail?: string | undefined;
  readonly message?: string | undefined;
  /** Where it was thrown; only of a fault in the program itself. */
  readonly at?: readonly string[] | undefined;
  readonly cause?: ErrorFields | undefined;
};

/** What is logged of an error: what it says and what it came from, never the objects that hang on it. */
export function describeError(error: unknown, depth = 0): ErrorFields {
  if (!(error instanceof Error)) return { name: typeof error, message: cut(String(error)) };
  const { code, detail } = error as { readonly code?: unknown; readonly detail?: unknown };
  const isCoded = typeof code === 'string' || typeof code === 'number';
  return {
    name: error.name,
    code: isCoded ? String(code) : undefined,
    detail: typeof detail === 'string' ? cut(detail) : undefined,
    message: typeof detail === 'string' ? undefined : cut(error.message),
    at: isCoded ? undefined : framesOf(error),
    cause: error.cause === undefined || depth >= CAUSES ? undefined : describeError(error.cause, depth + 1),
  };
}

function framesOf({ stack = '' }: Error): readonly string[] {
  const lines = stack.split('\n').map((line) => line.trim());
  return lines.filter((line) => line.startsWith('at ')).slice(0, FRAMES);
}

function cut(text: string): string {
  return text.length > TEXT_LENGTH ? `${text.slice(0, TEXT_LENGTH)}…` : text;
}
