/** What is wrong with a configuration: every mistake at once, each where it stands. */

/** Where a value stands: `['rules', 1, 'audiences']`. */
export type Path = readonly (string | number)[];

export type Problem = {
  /** `rules[1].audiences`; empty where it is the whole file. */
  readonly path: string;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Counted from 1. */
  readonly line?: number | undefined;
  /** The environment variable that the value came from, where it was one. */
  readonly variable?: string | undefined;
};

/** Every problem of a configuration. Its message is `format()`. */
export class ConfigError extends Error {
  /** So that it is told by what it says, not by where it was thrown. */
  readonly code = 'invalid_configuration';
  readonly problems: readonly Problem[];
  /** The file's name, where there was a file. */
  readonly file: string | undefined;

  constructor(problems: readonly Problem[], file?: string) {
    super(formatProblems(problems, file));
    this.name = 'ConfigError';
    this.problems = problems;
    this.file = file;
  }

  /** One problem a line: `mintmark.yaml:12: rules[1].audiences: must be a list, not "a"`. */
  format(): string {
    return this.message;
  }
}

/** Would break the line or speak to the terminal. */
const CONTROL = /[\p{Cc}\p{Zl}\p{Zp}]+/gu;

function formatProblems(problems: readonly Problem[], file: string | undefined): string {
  const lines = problems.map(({ path, message, hint, line, variable }) => {
    const source =
      variable ?? (line === undefined ? file : file === undefined ? `line ${line}` : `${file}:${line}`);
    const parts = [source, path === '' ? undefined : path, message].filter((part) => part !== undefined);
    const text = `${parts.join(': ')}${hint === undefined ? '' : ` (${hint})`}`;
    return text.replaceAll(CONTROL, ' ');
  });
  return lines.join('\n');
}

const PLAIN_KEY = /^[A-Za-z_][\w-]*$/;
const PATH_PART = /\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]|([^.[\]]+)/g;

/** `['rules', 1, 'a b']` → `rules[1]["a b"]`. */
export function formatPath(path: Path): string {
  let text = '';
  for (const part of path) {
    if (typeof part === 'number') text += `[${part}]`;
    else if (PLAIN_KEY.test(part)) text += text === '' ? part : `.${part}`;
    else text += `[${JSON.stringify(part)}]`;
  }
  return text;
}

/** The way back from `formatPath`. */
export function parsePath(text: string): Path {
  return [...text.matchAll(PATH_PART)].map(([, index, quoted, plain]) => {
    if (index !== undefined) return Number(index);
    return quoted === undefined ? (plain ?? '') : String(JSON.parse(`"${quoted}"`));
  });
}

const SHOWN_LENGTH = 60;

/** A value in a message: one short line, and never a key that was pasted where its path belongs. */
export function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (value === undefined) return 'nothing';
  if (typeof value === 'object' && value !== null) return 'a map';
  if (typeof value === 'string' && value.includes('-----BEGIN')) return 'a PEM text';
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > SHOWN_LENGTH ? `${text.slice(0, SHOWN_LENGTH)}…` : text;
}

/**
 * The candidate that was most likely meant, as a hint; undefined where none is near.
 * `prefix` is what all of them begin with.
 */
export function didYouMean(word: string, candidates: Iterable<string>, prefix = ''): string | undefined {
  const wanted = plain(word);
  let nearest: string | undefined;
  let distance = Math.floor((wanted.length - plain(prefix).length + 2) / 3) + 1;
  for (const candidate of candidates) {
    const edits = editDistance(wanted, plain(candidate));
    if (edits < distance) [nearest, distance] = [candidate, edits];
  }
  return nearest === undefined ? undefined : `did you mean ${nearest}?`;
}

function plain(word: string): string {
  return word.length > SHOWN_LENGTH ? '' : word.toLowerCase().replaceAll(/[-_]/g, '');
}

/** Levenshtein distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1);
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
