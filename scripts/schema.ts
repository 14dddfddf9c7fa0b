/** The configuration's JSON Schema from the program's own: writes mintmark.schema.json, or with --check compares it. */
import { attestors } from '../src/attestors/index.ts';
import { fullSchema } from '../src/config.ts';
import { doors } from '../src/doors/index.ts';
import { stores } from '../src/stores/index.ts';
import { recordStores } from '../src/stores/records.ts';
import { generate } from './generated.ts';
import { jsonSchemaOf } from './json-schema.ts';

const { $schema, ...rest } = jsonSchemaOf(
  await fullSchema({ attestors, doors, stores, records: recordStores }),
  'draft-2020-12',
);
const schema = { $schema, title: 'Mintmark configuration', ...rest };
await generate('mintmark.schema.json', `${JSON.stringify(schema, null, 2)}\n`);
