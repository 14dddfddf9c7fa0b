/** What the doors' operations have in common, in OpenAPI 3.1's words. */
import { AUDIENCE_MAX_COUNT, AUDIENCE_MAX_LENGTH } from '../core/audience.ts';

type Part = Readonly<Record<string, unknown>>;

/** One `aud`: see core/audience.ts. */
export const audience: Part = {
  type: 'string',
  minLength: 1,
  maxLength: AUDIENCE_MAX_LENGTH,
  pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]*$',
};

export const audiences: Part = {
  type: 'array',
  minItems: 1,
  maxItems: AUDIENCE_MAX_COUNT,
  items: audience,
};

/** A request's fields; none but these are taken. */
export function jsonBody(properties: Part, required: readonly string[] = []) {
  const schema = { type: 'object', additionalProperties: false, required, properties };
  return { required: required.length > 0, content: { 'application/json': { schema } } };
}

/** The same body as a form too, in which some of the fields are simpler. */
export function withForm(body: ReturnType<typeof jsonBody>, properties: Part): Part {
  const { schema } = body.content['application/json'];
  const form = { 'application/x-www-form-urlencoded': { schema: { ...schema, properties } } };
  return { ...body, content: { ...body.content, ...form } };
}

export function jsonAnswer(description: string): Part {
  return { description, content: { 'application/json': { schema: { type: 'object' } } } };
}

/** An answer in the wire form of doors/door.ts. */
export function errorAnswer(description: string): Part {
  const text = { type: 'string' };
  const properties = { error: text, error_description: text, reason: text };
  const schema = { type: 'object', required: ['error', 'error_description'], properties };
  return { description, content: { 'application/json': { schema } } };
}

/** What whoever sends a body may hear. */
export const bodyErrors: Part = {
  400: errorAnswer('The request is malformed'),
  413: errorAnswer('The body is over 64 KiB'),
  415: errorAnswer('The body has a Content-Encoding'),
};
