/**
 * charts/mintmark/values.schema.json: what helm takes as values, with the program's own
 * schemas where a value becomes a setting. Draft 7 is what every helm reads. Helm prints a
 * pattern as it is, so what needs a long one is left to templates/_checks.tpl, which says it in words.
 */
import { isMap } from '../src/core/json.ts';
import { chartValues } from './chart-values.ts';
import { generate } from './generated.ts';
import { jsonSchemaOf } from './json-schema.ts';

type Node = Readonly<Record<string, unknown>>;

const TALK = ['description', 'examples', 'default'];
/** One line, and no blank at its ends. */
const line = (most: string) => `^[^\\s\\x00-\\x1f\\x7f]([^\\x00-\\x1f\\x7f]${most}[^\\s\\x00-\\x1f\\x7f])?$`;
const SELECTOR = `^[a-z0-9]+:[a-z0-9-]+:[^:\\s\\x00-\\x1f\\x7f]([^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f])?$`;
const DURATION = '^(0|[1-9][0-9]{0,8})[smhd]$';

const { $schema, ...rest } = jsonSchemaOf(await chartValues(), 'draft-07');
const schema = { $schema, title: 'Values of the chart mintmark', ...rewrite(rest) };
await generate('charts/mintmark/values.schema.json', `${JSON.stringify(schema, null, 2)}\n`);

function rewrite(root: object): object {
  return JSON.parse(JSON.stringify(root), (key, value: unknown) => {
    if (!isMap(value) || key === 'properties') return value;
    // Helm prints what a schema asks for, never its words: README.md has those.
    const node = Object.fromEntries(Object.entries(value).filter(([keyword]) => !TALK.includes(keyword)));
    if (key === 'match') return { ...node, items: { ...Object(node.items), pattern: SELECTOR } };
    if (key === 'subject') return { ...node, pattern: '^[!-~]+$' };
    if (isMap(node.propertyNames)) return withPatternProperties(node, node.propertyNames);
    return node.type === 'string' ? withPattern(node) : node;
  });
}

function withPattern(node: Node): Node {
  const { pattern, minLength, maxLength } = node;
  if (typeof pattern === 'string' && /^\^\(\?:\(\?:.*\)[smhd]\)\$$/.test(pattern))
    return { ...node, pattern: DURATION };
  const isLine = pattern === undefined && minLength === 1 && maxLength !== undefined;
  return isLine ? { ...node, pattern: line('*') } : node;
}

/** Helm names another path than the wrong one for propertyNames. */
function withPatternProperties(node: Node, { minLength = 0, maxLength, not }: Node): Node {
  const { propertyNames: _, additionalProperties = {}, ...rest } = node;
  if (minLength === 0 && maxLength === undefined && not === undefined)
    return { ...rest, additionalProperties };
  const names = JSON.stringify(not ?? {}).match(/"enum":\[[^\]]*\]/g) ?? [];
  const taken = names.flatMap((each) => JSON.parse(`{${each}}`).enum as string[]);
  return {
    ...rest,
    ...(taken.length > 0 ? { properties: Object.fromEntries(taken.map((name) => [name, false])) } : {}),
    patternProperties: { [line(`{0,${Number(maxLength) - 2}}`)]: additionalProperties },
    additionalProperties: false,
  };
}
