/** Answers as the API's clients read them: `Content-Type` is application/json and no more. */
import type { ServerResponse } from 'node:http';
import type { Context } from 'koa';
import type { IssuerError } from '../../core/errors.ts';

export const JSON_TYPE = 'application/json';

export function answerJson(context: Context, status: number, body: object): void {
  context.status = status;
  context.set('Content-Type', JSON_TYPE);
  if (!context.response.get('Cache-Control')) context.set('Cache-Control', 'no-store');
  context.body = Buffer.from(JSON.stringify(body));
}

export function answerNothing(context: Context): void {
  context.status = 204;
  context.body = null;
}

/** {"error", "status"}; why, where the caller may know. */
export function shapeError(context: Context, { shown, sentence }: IssuerError): void {
  const { status } = context;
  const reason = typeof shown?.reason === 'string' ? shown.reason : sentence;
  if (status === 401) context.set('WWW-Authenticate', 'Bearer');
  answerJson(context, status, { error: reason, status });
}

/** What the OAuth server writes by itself, in the API's form: errors have their `status`, JSON its exact type. */
export function shapeAnswer({ res, path }: Context): void {
  const setHeader = res.setHeader.bind(res);
  res.setHeader = (name, value) =>
    setHeader(name, /^content-type$/i.test(name) && JSON_WITH_MORE.test(String(value)) ? JSON_TYPE : value);
  const end = res.end.bind(res) as (chunk?: unknown) => typeof res;
  res.end = ((chunk?: unknown) => {
    const shaped = shapedBody(res, path, chunk);
    if (shaped === undefined) return end(chunk);
    setHeader('Content-Type', JSON_TYPE).setHeader('Content-Length', Buffer.byteLength(shaped));
    return end(shaped);
  }) as typeof res.end;
}

const JSON_WITH_MORE = /^application\/json\s*;/;

function shapedBody(res: ServerResponse, path: string, chunk: unknown): string | undefined {
  const { statusCode: status } = res;
  // RFC 7009 section 2.2: it says nothing, and clients decode it all the same.
  if (status === 200 && path.endsWith('/revocation')) return '{}';
  if (status < 400 || res.getHeader('Content-Type') !== JSON_TYPE || typeof chunk !== 'string')
    return undefined;
  return JSON.stringify({ ...JSON.parse(chunk), status });
}
