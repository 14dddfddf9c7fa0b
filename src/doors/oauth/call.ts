/**
 * The OAuth server asked by another door, in process: the same endpoints, without a socket and
 * without parsing an answer again.
 */
import { type IncomingMessage, ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import type { Context } from 'koa';
import type { Provider } from 'oidc-provider';
import type { PreparedRequest } from './parts.ts';
import { changeValues } from './request.ts';

export type Call = {
  /** Below the issuer, such as `/connect/token`. */
  readonly path: string;
  readonly form: URLSearchParams;
  /** Those of the request that is translated: its caller's address and `authorization` count. */
  readonly request: IncomingMessage;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A client that the door has proven in a way of its own. */
  readonly provenClient?: string | undefined;
  /** The scopes that a person's token is kept to, of those that were granted. */
  readonly narrowTo?: readonly string[] | undefined;
};

export type Called = {
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, unknown>>;
};

type Composed = { compose(middleware: unknown): (context: Context) => Promise<void> };

/** `prefix`: the path of the issuer, which stands in the addresses that the provider tells of. */
export async function call(provider: Provider, prefix: string, given: Call): Promise<Called> {
  const { path, request, headers = {}, provenClient, narrowTo } = given;
  const form = new URLSearchParams(given.form);
  changeValues(form, path);
  const bytes = Buffer.from(form.toString());
  const { host } = new URL(provider.issuer);
  const asked = Object.assign(Readable.from([bytes], { objectMode: false }), {
    ...{ method: 'POST', url: path, originalUrl: `${prefix}${path}`, complete: true },
    ...{ socket: request.socket, httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1, form },
    headers: {
      ...{
        host,
        accept: 'application/json',
        'x-forwarded-proto': new URL(provider.issuer).protocol.slice(0, -1),
      },
      ...headers,
      'content-type': 'application/x-www-form-urlencoded',
      'content-length': String(bytes.length),
    },
    ...(provenClient === undefined ? {} : { provenClient }),
    ...(narrowTo === undefined ? {} : { narrowTo }),
  }) as unknown as PreparedRequest;
  const context = provider.createContext(asked, new ServerResponse(asked)) as unknown as Context;
  context.res.statusCode = 404;
  const { compose } = provider as unknown as Composed;
  await compose(provider.middleware)(context);
  const body = typeof context.body === 'object' && context.body !== null ? context.body : {};
  return { status: context.status, body: body as Called['body'], headers: context.response.headers };
}
