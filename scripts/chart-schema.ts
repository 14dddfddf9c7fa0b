/**
 * charts/mintmark/values.schema.json: what helm takes as values, with the program's own
 * schemas where a value becomes a setting. Draft 7 is what every helm reads.
 */
import { chartValues, selectorPattern } from './chart-values.ts';
import { generate } from './generated.ts';
import { jsonSchemaOf } from './json-schema.ts';

const TALK = ['description', 'examples', 'default'];

const { $schema, ...rest } = jsonSchemaOf(await chartValues(), 'draft-07');
const selector = await selectorPattern();
const schema = { $schema, title: 'Values of the chart mintmark', ...withoutTalk(withSelectors(rest)) };
await generate('charts/mintmark/values.schema.json', `${JSON.stringify(schema, null, 2)}\n`);

/** A rule that names a fact which nobody proves keeps replicas from starting. */
function withSelectors(root: object): object {
  return JSON.parse(JSON.stringify(root), (key, value: unknown) =>
    key === 'match' ? { ...Object(value), items: { ...Object(value).items, pattern: selector } } : value,
  );
}

/** Helm prints what a schema asks for, never its words: README.md has those. */
function withoutTalk(node: object): object {
  return JSON.parse(JSON.stringify(node), (key, value: unknown) => {
    const isSchema =
      typeof value === 'object' && value !== null && !Array.isArray(value) && key !== 'properties';
    if (!isSchema) return value;
    return Object.fromEntries(Object.entries(value).filter(([keyword]) => !TALK.includes(keyword)));
  });
}
