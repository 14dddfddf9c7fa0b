import { isDeepStrictEqual } from 'node:util';

type Schema = Readonly<Record<string, unknown>>;
type Check = (rule: never, value: unknown, schema: Schema) => boolean;

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const typeOf = (value: unknown) => (Array.isArray(value) ? 'array' : value === null ? 'null' : typeof value);
const lengthOf = (text: string) => [...text].length;

/** The keywords of JSON Schema 2020-12 that Mintmark's schema uses; any other one throws. */
const CHECKS: Readonly<Record<string, Check>> = {
  type: (type: string, value) => typeOf(value) === type || (type === 'integer' && Number.isInteger(value)),
  const: (wanted: unknown, value) => isDeepStrictEqual(wanted, value),
  enum: (wanted: unknown[], value) => wanted.some((one) => isDeepStrictEqual(one, value)),
  anyOf: (schemas: Schema[], value) => schemas.some((schema) => isValid(schema, value)),
  not: (schema: Schema, value) => !isValid(schema, value),
  pattern: (pattern: string, value) => typeof value !== 'string' || new RegExp(pattern, 'u').test(value),
  minLength: (length: number, value) => typeof value !== 'string' || lengthOf(value) >= length,
  maxLength: (length: number, value) => typeof value !== 'string' || lengthOf(value) <= length,
  minimum: (least: number, value) => typeof value !== 'number' || value >= least,
  maximum: (most: number, value) => typeof value !== 'number' || value <= most,
  minItems: (length: number, value) => !Array.isArray(value) || value.length >= length,
  maxItems: (length: number, value) => !Array.isArray(value) || value.length <= length,
  minProperties: (count: number, value) => !isMap(value) || Object.keys(value).length >= count,
  maxProperties: (count: number, value) => !isMap(value) || Object.keys(value).length <= count,
  items: (schema: Schema, value) => !Array.isArray(value) || value.every((item) => isValid(schema, item)),
  required: (keys: string[], value) => !isMap(value) || keys.every((key) => Object.hasOwn(value, key)),
  properties: (schemas: Record<string, Schema>, value) =>
    !isMap(value) ||
    Object.entries(schemas).every(
      ([key, schema]) => !Object.hasOwn(value, key) || isValid(schema, value[key]),
    ),
  additionalProperties: (schema: Schema | false, value, { properties = {} }) =>
    !isMap(value) ||
    Object.entries(value).every(
      ([key, item]) =>
        Object.hasOwn(properties as object, key) || (schema !== false && isValid(schema, item)),
    ),
  propertyNames: (schema: Schema, value) =>
    !isMap(value) || Object.keys(value).every((key) => isValid(schema, key)),
};
const ANNOTATIONS = new Set(['$schema', 'title', 'description', 'examples', 'default']);

export function isValid(schema: Schema, value: unknown): boolean {
  return Object.entries(schema).every(([keyword, rule]) => {
    if (ANNOTATIONS.has(keyword)) return true;
    const check = CHECKS[keyword];
    if (check === undefined) throw new Error(`the test knows no keyword ${keyword}`);
    return check(rule as never, value, schema);
  });
}
