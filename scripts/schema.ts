/** The configuration's JSON Schema from the program's own: writes mintmark.schema.json, or with --check compares it. */
import { readFile, writeFile } from 'node:fs/promises';
import { toJsonSchema } from '@valibot/to-json-schema';
import { attestors } from '../src/attestors/index.ts';
import { fullSchema } from '../src/config.ts';
import { doors } from '../src/doors/index.ts';
import { stores } from '../src/stores/index.ts';

const FILE = new URL('../mintmark.schema.json', import.meta.url);

const schema = toJsonSchema(await fullSchema({ attestors, doors, stores }), {
  target: 'draft-2020-12',
  typeMode: 'input',
  // What only the program can check: an editor says less, never something else.
  ignoreActions: ['check', 'raw_check'],
  overrideSchema({ valibotSchema, jsonSchema }) {
    const { required, default: fallback, ...rest } = jsonSchema;
    const isOptional = valibotSchema.type === 'nullable';
    return {
      ...rest,
      ...(required === undefined || required.length === 0 ? {} : { required }),
      // A block with nothing in it counts as {}, which is no default of the setting.
      ...(fallback === undefined || isOptional ? {} : { default: fallback }),
    };
  },
});
const { $schema, ...rest } = schema;
const text = `${JSON.stringify({ $schema, title: 'Mintmark configuration', ...rest }, null, 2)}\n`;

if (process.argv[2] === '--check') {
  const committed = await readFile(FILE, 'utf8').catch(() => '');
  if (committed !== text) {
    console.error('mintmark.schema.json is not what the schemas say: run node scripts/schema.ts');
    process.exitCode = 1;
  }
} else {
  await writeFile(FILE, text);
}
