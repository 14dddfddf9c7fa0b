/** The members of a request (Smithy's restJson1): a JSON object, whose members that nobody knows are passed over. */
import type { Context } from 'koa';
import { parseJsonObject } from '../../core/json.ts';
import { readBody } from '../body.ts';
import { Exception } from './exceptions.ts';

export type Fields = Readonly<Record<string, unknown>>;

export type Members = {
  /** Throws `invalid_request` where it is there and no text. */
  text(name: string): string | undefined;
  /** Throws `invalid_request` where it is not there, or empty. */
  required(name: string): string;
  texts(name: string): readonly string[] | undefined;
};

export const TEXT_MAX = 32 * 1024;
export const LIST_MAX = 100;

export async function readMembers(context: Context): Promise<{ members: Members; bytes: Buffer }> {
  const bytes = await readBody(context.req);
  return { members: membersOf(parse(bytes)), bytes };
}

function parse(bytes: Buffer): Fields {
  try {
    return parseJsonObject(new TextDecoder('utf-8', { fatal: true }).decode(bytes), 'the body');
  } catch {
    throw new Exception('invalid_request', 'the body is no JSON object');
  }
}

function membersOf(fields: Fields): Members {
  // restJson1: a member that is null is not there.
  const of = (name: string) => (Object.hasOwn(fields, name) ? (fields[name] ?? undefined) : undefined);
  const text = (name: string) => {
    const value = of(name);
    if (value !== undefined && !isText(value))
      throw new Exception('invalid_request', `${name} must be a string`);
    return value;
  };
  return {
    text,
    required(name) {
      const value = text(name);
      if (value === undefined || value === '') throw new Exception('invalid_request', `${name} is missing`);
      return value;
    },
    texts(name) {
      const value = of(name);
      if (value === undefined) return undefined;
      if (!Array.isArray(value) || value.length > LIST_MAX || !value.every(isText))
        throw new Exception('invalid_request', `${name} must be a list of at most ${LIST_MAX} strings`);
      return value;
    },
  };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT_MAX && value.isWellFormed();
}
