/** Plain data → settings by the schema, with a problem for everything that does not fit. */
import * as v from 'valibot';
import { formatPath, type Path, type Problem, show } from './problems.ts';
import { strayKeys } from './shape.ts';

export type Decoding<T> = {
  /** What could be decoded, key by key, so that the rest can be checked although one key is wrong. */
  readonly decoded: Partial<T>;
  readonly problems: readonly Problem[];
};

export function decodeTree<T>(
  tree: Readonly<Record<string, unknown>>,
  schema: v.GenericSchema & { readonly entries: Readonly<Record<string, v.GenericSchema>> },
): Decoding<T> {
  const problems: Problem[] = [...strayKeys(schema, tree)];
  const decoded: Record<string, unknown> = {};
  for (const [key, entry] of Object.entries(schema.entries)) {
    const result = v.safeParse(entry, tree[key], { message: describeIssue });
    if (result.success) decoded[key] = result.output;
    else problems.push(...result.issues.flatMap((issue) => problemsOf(issue, [key])));
  }
  return { decoded: decoded as Partial<T>, problems };
}

type Issue = v.BaseIssue<unknown>;

function problemsOf(issue: Issue, above: Path): readonly Problem[] {
  const path = [...above, ...(issue.path ?? []).map(({ key }) => key as string | number)];
  // A list where a map belongs has been told of already, and its items are no keys.
  if (issue.expected === 'never' && Array.isArray(issue.path?.at(-1)?.input)) return [];
  // Of a union's alternatives only those count that are of the value's own kind.
  const inner = issue.type === 'union' ? (issue.issues ?? []).filter(isBelowKind) : [];
  if (inner.length > 0) return inner.flatMap((part) => problemsOf(part, path));
  const isMissing = issue.kind === 'schema' && issue.input === undefined;
  return [{ path: formatPath(path), message: isMissing ? 'is required' : issue.message }];
}

function isBelowKind({ kind, path }: Issue): boolean {
  return kind !== 'schema' || path !== undefined;
}

const KINDS: Readonly<Record<string, string>> = {
  Object: 'a map',
  Array: 'a list',
  string: 'a text',
  boolean: 'true or false',
  number: 'a number',
};

const LIMITS: Readonly<Record<string, string>> = {
  min_value: 'be at least',
  max_value: 'be at most',
  min_length: 'have at least',
  max_length: 'have at most',
};

/** In words of the file's, where the schema has none of its own. */
function describeIssue({ expected, input, kind, type, requirement }: Issue): string {
  if (kind === 'schema' && expected === 'never') return 'is not known here';
  if (type === 'picklist') return `must be one of ${choicesOf(expected)}, not ${show(input)}`;
  if (type === 'integer') return `must be a whole number, not ${show(input)}`;
  if (type === 'non_empty') return 'must not be empty';
  if (LIMITS[type] !== undefined) {
    const unit = Array.isArray(input) ? ' items' : typeof input === 'string' ? ' characters' : '';
    return `must ${LIMITS[type]} ${requirement}${unit}`;
  }
  const kinds = choicesOf(expected)
    .split(', ')
    .map((each) => KINDS[each] ?? each);
  return `must be ${kinds.join(' or ') || 'something else'}, not ${show(input)}`;
}

/** `("a" | "b")` → `a, b`. */
function choicesOf(expected: string | null): string {
  return (expected ?? '').replaceAll(/[()"]/g, '').replaceAll(' | ', ', ');
}
