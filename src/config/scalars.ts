/** Schemas of single values: each has its pattern, its words for a wrong value, and what it becomes. */
import * as v from 'valibot';
import { AUDIENCE_MAX_LENGTH } from '../core/audience.ts';
import { show } from './problems.ts';
import {
  durationPattern,
  durationProblem,
  formatDuration,
  LISTEN,
  listenProblem,
  MODE,
  modeProblem,
  parseDuration,
  parseListen,
  parseMode,
} from './units.ts';

/** A setting that may be left out and then is `fallback`. */
export function withDefault<S extends v.GenericSchema, D extends v.InferInput<S>>(schema: S, fallback: D) {
  return v.optional(schema, () => fallback);
}

type Notation<T> = {
  readonly pattern: RegExp;
  /** Throws RangeError with a sentence for the operator. */
  readonly parse: (text: string) => T;
  /** What is wrong with a value that is no text at all. */
  readonly problem: (value: unknown) => string;
  readonly description: string;
  readonly examples: readonly string[];
};

/** A text in a notation, which becomes what it stands for. */
export function notation<T>({ pattern, parse, problem, description, examples }: Notation<T>) {
  return v.pipe(
    v.string(({ input }) => problem(input)),
    v.regex(pattern, ({ input }) => faultOf(parse, input) ?? problem(input)),
    v.description(description),
    v.examples([...examples]),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const fault = faultOf(parse, dataset.value);
      if (fault === undefined) return parse(dataset.value);
      addIssue({ message: fault });
      return NEVER;
    }),
  );
}

function faultOf(parse: (text: string) => unknown, text: string): string | undefined {
  try {
    parse(text);
    return undefined;
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
}

/** A duration in seconds, between two bounds. */
export function duration(description: string, example: string, least: number, most: number) {
  return notation({
    pattern: durationPattern(least, most),
    problem: durationProblem,
    description: `${description} A number with a unit: s, m, h or d; ${formatDuration(least)} to ${formatDuration(most)}.`,
    examples: [example],
    parse: (text) => {
      const seconds = parseDuration(text);
      if (seconds < least) throw new RangeError(`is shorter than ${formatDuration(least)}`);
      if (seconds > most) throw new RangeError(`is longer than ${formatDuration(most)}`);
      return seconds;
    },
  });
}

/** A file mode; only bits of `allowed` may be set. */
export function mode(description: string, example: string, allowed: number, why: string) {
  return notation({
    pattern: MODE,
    problem: modeProblem,
    description,
    examples: [example],
    parse: (text) => {
      const bits = parseMode(text);
      if ((bits & ~allowed) !== 0) throw new RangeError(why);
      if ((bits & 0o400) === 0) throw new RangeError('must let its owner read');
      return bits;
    },
  });
}

export function listenAddress(description: string, example: string) {
  return notation({
    pattern: LISTEN,
    problem: listenProblem,
    parse: parseListen,
    description,
    examples: [example],
  });
}

const CONTROL = /\p{Cc}|\p{Zl}|\p{Zp}/u;

/** One line of text, at most `longest` characters. */
export function singleLine(description: string, longest: number, example: string) {
  return v.pipe(
    v.string(({ input }) => `must be a text, not ${show(input)}`),
    v.nonEmpty('must not be empty'),
    v.maxLength(longest, `is longer than ${longest} characters`),
    v.check(
      (text) => text.trim() === text && !CONTROL.test(text),
      'has a blank at an end or a control character',
    ),
    v.description(description),
    v.examples([example]),
  );
}

/** An absolute path in normal form. */
export function absolutePath(description: string, example: string, longestBytes = 4095) {
  return notation({
    pattern: /^\//,
    problem: (value) => `must be an absolute path, not ${show(value)}`,
    description,
    examples: [example],
    parse: (text) => {
      if (CONTROL.test(text)) throw new RangeError('has a control character');
      if (Buffer.byteLength(text) > longestBytes)
        throw new RangeError(`is longer than ${longestBytes} bytes`);
      if (!text.startsWith('/')) throw new RangeError(`must be an absolute path, not ${show(text)}`);
      if (/\/\/|\/\.{1,2}(?:\/|$)|\/$/.test(text)) throw new RangeError('has a //, /./, /../ or final slash');
      return text;
    },
  });
}

/** What the kernel takes for the path of a socket (unix(7)). */
const SOCKET_PATH_BYTES = 107;

export function socketPath(description: string, example: string) {
  return absolutePath(description, example, SOCKET_PATH_BYTES);
}

/** A user or group, by name or by number; becomes text. */
export function account(description: string, example: string) {
  return v.pipe(
    v.union(
      [
        v.pipe(v.string(), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$/)),
        v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff_fffe)),
      ],
      ({ input }) => `must be a name or a number, not ${show(input)}`,
    ),
    v.description(description),
    v.examples([example]),
    v.transform(String),
  );
}

export function audience(description: string, example: string) {
  return singleLine(description, AUDIENCE_MAX_LENGTH, example);
}

export function flag(description: string) {
  return v.pipe(v.boolean(), v.description(description));
}

export function count(description: string, least: number, most: number) {
  return v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most), v.description(description));
}
