/** YAML text → plain data, strictly, remembering on which line everything stands. */
import {
  type Document,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  parseDocument,
  type YAMLError,
} from 'yaml';
import { formatPath, type Path, type Problem } from './problems.ts';

export const MAX_BYTES = 1024 * 1024;
const MAX_DEPTH = 32;
/** Of what the parser has begun and not ended: some for each level of nesting. */
const MAX_OPEN = 8 * MAX_DEPTH;
/** How often an anchor may be repeated: enough for shared lists, too little for a bomb. */
const MAX_ALIASES = 100;
/** After the first mistakes of syntax the rest are only their echo. */
const MAX_SYNTAX_PROBLEMS = 5;
/** The text is understood all the same, so that other mistakes can be told with these. */
const UNDERSTOOD = new Set(['DUPLICATE_KEY', 'TAG_RESOLVE_FAILED']);

export type YamlText = {
  /** Undefined where the text could not be understood; null where it is empty. Nothing in it is shared. */
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** The line of a path, or of the nearest thing above it that stands in the text. */
  lineOf(path: Path): number | undefined;
};

/** YAML 1.2 core schema: unique string keys, no tags, no merge keys, one document. Throws nothing. */
export function readYaml(text: string): YamlText {
  if (Buffer.byteLength(text) > MAX_BYTES) return unreadable('is larger than 1 MiB');
  if (isBottomless(text)) return unreadable(TOO_DEEP);
  const { document, lines } = parse(text);
  const lineOf = findingLines(text, { document, lines });
  const faults: YAMLError[] = [...document.errors, ...document.warnings];
  const fatal = faults.filter(({ code }) => !UNDERSTOOD.has(code));
  const told = (fatal.length > 0 ? fatal.slice(0, MAX_SYNTAX_PROBLEMS) : faults).map((fault) => ({
    path: '',
    message: describeFault(fault),
    line: lines.linePos(fault.pos[0]).line,
  }));
  if (document.directives?.yaml.version !== '1.2')
    return { value: undefined, problems: [{ path: '', message: 'must be YAML 1.2', line: 1 }], lineOf };
  if (fatal.length > 0) return { value: undefined, problems: told, lineOf };
  try {
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES });
    const unfit = unfitValues(value).map((problem) => ({
      ...problem,
      line: lineOf(problem.at),
      path: formatPath(problem.at),
    }));
    const isDeep = unfit.some(({ message }) => message === TOO_DEEP);
    return { value: isDeep ? undefined : copy(value), problems: [...told, ...unfit], lineOf };
  } catch (error) {
    // An alias without its anchor, or too many of them.
    return unreadable(error instanceof ReferenceError ? `has a bad alias: ${error.message}` : TOO_DEEP);
  }
}

const TOO_DEEP = 'is nested too deeply';

/** Told before it is composed, which recurses: a stack that ends within a regular expression ends the process. */
function isBottomless(text: string): boolean {
  const parser = new Parser();
  for (const lexeme of new Lexer().lex(text)) {
    for (const _ of parser.next(lexeme));
    if (parser.stack.length > MAX_OPEN) return true;
  }
  return false;
}

type Parsed = { readonly document: Document; readonly lines: LineCounter };

function parse(text: string): Parsed {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    resolveKnownTags: false,
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    merge: false,
    prettyErrors: false,
    lineCounter: lines,
  });
  return { document, lines };
}

/** The text alone is kept, as long as the configuration is in use: what is parsed takes fifty times its room. */
function findingLines(text: string, parsed: Parsed): YamlText['lineOf'] {
  let held = new WeakRef(parsed);
  return (path) => {
    const again = held.deref() ?? parse(text);
    held = new WeakRef(again);
    return findLine(again, path);
  };
}

function unreadable(message: string): YamlText {
  return { value: undefined, problems: [{ path: '', message }], lineOf: () => undefined };
}

function describeFault({ code, message }: YAMLError): string {
  if (code === 'RESOURCE_EXHAUSTION') return TOO_DEEP;
  if (code === 'DUPLICATE_KEY') return 'the same key stands here a second time';
  if (code === 'TAG_RESOLVE_FAILED') return 'tags are not taken here';
  if (code === 'MULTIPLE_DOCS') return 'a second document begins here: a configuration is one';
  return `is no YAML: ${message}`;
}

/** Names that every JavaScript object answers to, which no setting may have. */
function isInherited(key: string): boolean {
  return key in Object.prototype;
}

type Unfit = { readonly at: Path; readonly message: string };

/**
 * What YAML can say and a configuration may not: cycles, inherited names, numbers
 * that JSON lacks. `above` are the objects that this one stands in: an alias shows
 * the same object again, a cycle is one that contains itself.
 */
function unfitValues(value: unknown, at: Path = [], above = new Set<unknown>()): Unfit[] {
  if (typeof value === 'number' && (!Number.isFinite(value) || Math.abs(value) > Number.MAX_SAFE_INTEGER))
    return [{ at, message: 'is a number that JSON cannot carry exactly: quote it' }];
  if (typeof value !== 'object' || value === null) return [];
  if (at.length > MAX_DEPTH || above.has(value)) return [{ at: [], message: TOO_DEEP }];
  above.add(value);
  const isList = Array.isArray(value);
  const unfit = Object.entries(value).flatMap(([key, item]) => {
    const place = [...at, isList ? Number(key) : key];
    if (!isList && isInherited(key)) return [{ at: place, message: 'is a name that cannot be used' }];
    return unfitValues(item, place, above);
  });
  above.delete(value);
  return unfit;
}

/** Without the names that were just refused, and with a copy of its own wherever an alias stands. */
function copy(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (key, inner) => (isInherited(key) ? undefined : inner));
}

function findLine({ document, lines }: Parsed, path: Path): number | undefined {
  let offset: number | undefined;
  let node: unknown = document.contents;
  for (const part of path) {
    if (isSeq(node) && typeof part === 'number') {
      node = node.items[part];
      offset = startOf(node) ?? offset;
    } else if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === part);
      if (pair === undefined) break;
      offset = startOf(pair.key) ?? offset;
      node = pair.value;
    } else break;
  }
  return offset === undefined ? undefined : lines.linePos(offset).line;
}

function startOf(node: unknown): number | undefined {
  const range = (node as { range?: readonly number[] | null } | null | undefined)?.range;
  return range?.[0];
}
