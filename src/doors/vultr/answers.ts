/** Answers as the API's clients read them: `Content-Type` is application/json and no more. */
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
