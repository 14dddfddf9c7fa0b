/** valibot → JSON Schema, as editors and helm read it. */
import { type ConversionConfig, toJsonSchema } from '@valibot/to-json-schema';

type Schema = Parameters<typeof toJsonSchema>[0];

export function jsonSchemaOf(schema: Schema, target: NonNullable<ConversionConfig['target']>) {
  return toJsonSchema(schema, {
    target,
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
}
