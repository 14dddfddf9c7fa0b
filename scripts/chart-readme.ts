/**
 * The table of values in charts/mintmark/README.md, from the comments of values.yaml: the
 * comment above a key is its row, and keys that have comments below them have rows of their own.
 */
import { isCollection, isMap, isPair, isScalar, type Node, type Pair, parseDocument, stringify } from 'yaml';
import { generate, readSource } from './generated.ts';

const README = 'charts/mintmark/README.md';
const BEGIN = '<!-- The values, from the comments of values.yaml: node scripts/chart-readme.ts -->';
const END = '<!-- End of the values. -->';

type Row = { readonly path: string; readonly fallback: string; readonly comment: string };

const values = parseDocument(await readSource('charts/mintmark/values.yaml')).contents;
const rows = rowsOf(values, []);
const bare = rows.filter(({ comment }) => comment === '').map(({ path }) => path);
if (bare.length > 0) throw new Error(`values.yaml has no comment above ${bare.join(', ')}`);
const table = [
  '| value | default | |',
  '|---|---|---|',
  ...rows.map(({ path, fallback, comment }) => `| \`${path}\` | ${fallback} | ${comment} |`),
];
const readme = await readSource(README);
const [before, rest] = readme.split(`${BEGIN}\n`);
const [, after] = rest?.split(END) ?? [];
if (before === undefined || after === undefined) throw new Error(`${README} has lost its marks`);
await generate(README, `${before}${BEGIN}\n\n${table.join('\n')}\n\n${END}${after}`);

function rowsOf(node: unknown, above: readonly string[]): readonly Row[] {
  if (!isMap(node)) return [];
  return node.items.flatMap((pair, index) => {
    const { key, value } = pair as Pair<Node, Node | null>;
    if (!isScalar(key)) return [];
    const path = [...above, String(key.value)];
    // The comment above a map's first key is the parser's of the map.
    const comment = lastParagraph((index === 0 ? node.commentBefore : undefined) ?? key.commentBefore);
    const isSection = isMap(value) && !value.flow && hasComments(value);
    if (!isSection) return [{ path: path.join('.'), fallback: formatDefault(value), comment }];
    const own = comment === '' ? [] : [{ path: path.join('.'), fallback: '', comment }];
    return [...own, ...rowsOf(value, path)];
  });
}

function hasComments(node: unknown): boolean {
  if (!isCollection(node)) return false;
  if (typeof node.commentBefore === 'string') return true;
  return node.items.some(
    (item) => isPair(item) && ((item.key as Node).commentBefore !== undefined || hasComments(item.value)),
  );
}

/** What stands above with a blank line in between is about the file. */
function lastParagraph(comment: string | null | undefined): string {
  const paragraph = (comment ?? '').split('\n\n').at(-1) ?? '';
  return paragraph
    .split('\n')
    .map((line) => line.trim())
    .join(' ')
    .replaceAll('|', '\\|');
}

function formatDefault(value: Node | null): string {
  if (value === null) return '';
  const text = stringify(value.toJSON(), { collectionStyle: 'flow', lineWidth: 0 }).trim();
  return text === '""' ? '' : `\`${text.replaceAll('|', '\\|')}\``;
}
