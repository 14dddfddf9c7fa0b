/**
 * The frame around every door: finds the route, refuses what came through a
 * proxy, and turns an error into the door's own wire form, once, for the caller,
 * the audit log and the metrics.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import Koa, { type Context } from 'koa';
import { type ErrorCode, IssuerError } from '../core/errors.ts';
import type { Peer, Recorder } from '../core/ports.ts';
import { BODY_MAX_BYTES } from './body.ts';
import { buildRouteTable, type Found, findRoute, type Match, type Methods } from './route-table.ts';

/** The listener that a door's routes hang on. */
export type Surface = 'workload' | 'public' | 'private' | 'status' | 'admin';
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS';

export type Route = {
  readonly method: Method;
  /** A segment {name} stands for any: `parameterOf` tells which. */
  readonly path: string;
  /** It takes the paths one segment below its own too. */
  readonly isPrefix?: boolean | undefined;
  /** A page on the way of a browser, which no client asks for by itself: it is not described. */
  readonly isPage?: boolean | undefined;
  /** The operation in OpenAPI 3.1's words, served at /openapi.json. */
  readonly operation: Readonly<Record<string, unknown>>;
  handle(context: Context): void | Promise<void>;
};

export type Door = {
  readonly name: string;
  readonly surface: Surface;
  readonly routes: readonly Route[];
  /** The wire form of an error; the frame's own where absent. */
  readonly errorStatus?: Readonly<Record<ErrorCode, number>>;
  /** Gives the answer to an error, which the frame has written, another form. */
  shapeError?(context: Context, error: IssuerError): void;
  /** All below this path is the door's, also where it has no route. */
  readonly base?: string;
  /** Names in `security` of its operations, in OpenAPI's words. */
  readonly securitySchemes?: Readonly<Record<string, unknown>>;
  /** What doors that stand behind it in the table find in their context. */
  readonly offers?: Readonly<Record<string, unknown>>;
  /** Ends what it does beside answering. */
  close?(): Promise<void>;
};

export type FrameParts = {
  readonly surface: Surface;
  readonly doors: readonly Door[];
  readonly version: string;
  readonly recorder: Recorder;
  /** The attested end of a connection; undefined on listeners that attest nobody. Throws `peer_unproven`. */
  readonly peerOf: (request: IncomingMessage) => Peer | undefined;
};

/** HTTP status of each code on the local API (security.md section 5). */
export const ERROR_STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid_request: 400,
  invalid_target: 403,
  single_audience: 400,
  access_denied: 403,
  peer_unproven: 403,
  invalid_assertion: 400,
  peer_changed: 403,
  forwarded_request: 400,
  not_found: 404,
  method_not_allowed: 405,
  request_too_large: 413,
  unsupported_encoding: 415,
  request_timeout: 408,
  conflict: 409,
  too_many_requests: 429,
  key_not_ready: 503,
  temporarily_unavailable: 503,
  server_error: 500,
};

/** On the wire a code is its own word, but where OAuth has one word for two. */
const ERROR_WORD: Readonly<Partial<Record<ErrorCode, string>>> = { single_audience: 'invalid_target' };

const FORWARDED: ReadonlySet<string> = new Set(['origin', 'forwarded', 'via']);

/** The listener's request handler for all doors of one surface. */
export function createFrame(parts: FrameParts): (request: IncomingMessage, response: ServerResponse) => void {
  const doors = parts.doors.filter((door) => door.surface === parts.surface);
  const table = buildRouteTable([...doors, describingDoor(doors, parts)]);
  const isLocal = parts.surface === 'workload' || parts.surface === 'admin';
  const app = new Koa();
  app.use(async (context) => {
    let match: Match | undefined;
    let found: Found | undefined;
    try {
      const path = pathOf(context);
      match = findRoute(table, path);
      const methods = match?.methods;
      context.state.parameters = match?.parameters;
      found = methods?.get(context.method === 'HEAD' ? 'GET' : context.method);
      if (isLocal) assertDirect(context);
      if (methods === undefined) throw new IssuerError('not_found', 'no door has this path'); // which may hold anything: it is not logged
      if (found === undefined) throw methodNotAllowed(context, methods);
      if (found.route.method !== 'GET') assertNotEncoded(context);
      await found.route.handle(context);
    } catch (error) {
      const [beside] = match?.methods.values() ?? [];
      const shapedBy = (found ?? beside)?.door ?? doorAbove(doors, context);
      answerError(context, { door: found?.door, shapedBy }, error, parts);
    }
  });
  app.on('error', () => undefined); // a caller that hangs up is no news
  return app.callback();
}

/** Koa parses the target when it is first asked for. */
function pathOf(context: Context): string {
  try {
    return context.path;
  } catch {
    throw new IssuerError('invalid_request', 'the request target is no URL');
  }
}

/** Whose part of the tree a path is in that no route has. */
function doorAbove(doors: readonly Door[], context: Context): Door | undefined {
  const { pathname = '' } = URL.parse(context.req.url ?? '', 'http://localhost') ?? {};
  return doors.find(({ base }) => base !== undefined && `${pathname}/`.startsWith(`${base}/`));
}

/** Serves the OpenAPI document of the doors beside it. */
function describingDoor(doors: readonly Door[], { surface, version }: FrameParts): Door {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { path, method, operation } of doors
    .flatMap((door) => door.routes)
    .filter(({ isPage }) => isPage !== true)) {
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation };
  }
  const securitySchemes = Object.assign({}, ...doors.map((door) => door.securitySchemes));
  const document = {
    openapi: '3.1.0',
    info: { title: `Mintmark: the ${surface} listener`, version },
    paths,
    ...(Object.keys(securitySchemes).length === 0 ? {} : { components: { securitySchemes } }),
  };
  const handle = (context: Context) => {
    answerJson(context, document);
  };
  return {
    name: 'openapi',
    surface,
    routes: [{ method: 'GET', path: '/openapi.json', operation: {}, handle }],
  };
}

/** A browser or a proxy never speaks to a UNIX socket by itself: somebody made it. */
function assertDirect(context: Context): void {
  for (const name in context.req.headers) {
    if (FORWARDED.has(name) || name.startsWith('x-forwarded-'))
      throw new IssuerError('forwarded_request', `it has the header ${name.slice(0, 100)}`);
  }
}

/** No door decodes a body, and what is not decoded would be read as something else (RFC 9110 section 12.5.3). */
function assertNotEncoded(context: Context): void {
  const transfer = context.req.headers['transfer-encoding'] ?? 'chunked';
  if (!/^\s*chunked\s*$/i.test(transfer))
    throw new IssuerError('invalid_request', `Transfer-Encoding is ${transfer.slice(0, 100)}`);
  const coding = context.req.headers['content-encoding'];
  if (coding === undefined || /^\s*(?:identity)?\s*$/i.test(coding)) return;
  context.set('Accept-Encoding', 'identity');
  throw new IssuerError('unsupported_encoding', `Content-Encoding is ${coding.slice(0, 100)}`);
}

function methodNotAllowed(context: Context, methods: Methods): IssuerError {
  context.set(
    'Allow',
    [...methods.keys()].flatMap((method) => (method === 'GET' ? ['GET', 'HEAD'] : [method])).join(', '),
  );
  return new IssuerError('method_not_allowed', `${context.method} ${context.path.slice(0, 100)}`);
}

/** What stands in the path for {name}. */
export function parameterOf(context: Context, name: string): string {
  return (context.state.parameters as Readonly<Record<string, string>> | undefined)?.[name] ?? '';
}

/** Koa itself asks of an object first whether it is a Response of fetch, and so loads that whole client: 3 MiB. */
export function answerJson(context: Context, body: object): void {
  context.type = 'json';
  context.body = JSON.stringify(body);
}

/** Who asks; throws where the listener could not tell. */
export function requirePeer(peerOf: FrameParts['peerOf'], context: Context): Peer {
  const peer = peerOf(context.req);
  if (peer === undefined) throw new IssuerError('peer_unproven', 'the connection has no attested peer');
  return peer;
}

/** Nobody is refused a token on the open listeners: what the internet tries there is no news, our own faults are. */
function isWorthRecording(surface: Surface, code: ErrorCode): boolean {
  return surface === 'workload' || surface === 'admin' || surface === 'private' || FAULTS.includes(code);
}

const FAULTS: readonly ErrorCode[] = ['server_error', 'temporarily_unavailable'];

function peerOrNone(peerOf: FrameParts['peerOf'], context: Context): Peer | undefined {
  try {
    return peerOf(context.req);
  } catch {
    return undefined;
  }
}

type Answering = {
  /** Whose route it was. */
  readonly door: Door | undefined;
  /** Whose path it was, at least. */
  readonly shapedBy: Door | undefined;
};

/** Who still sends would not read the answer before the reset of a connection that is closed meanwhile. */
function leaveBody(context: Context, code: ErrorCode): void {
  const { req } = context;
  const isSmall = Number(req.headers['content-length']) <= BODY_MAX_BYTES;
  if (!isSmall || code === 'request_timeout') context.set('Connection', 'close');
  if (code !== 'request_too_large') req.resume();
}

function answerError(
  context: Context,
  { door, shapedBy }: Answering,
  thrown: unknown,
  parts: FrameParts,
): void {
  const error =
    thrown instanceof IssuerError
      ? thrown
      : new IssuerError('server_error', 'an unexpected fault', { cause: thrown });
  if (isWorthRecording(parts.surface, error.code))
    parts.recorder.refused({
      door: door?.name ?? parts.surface,
      peer: peerOrNone(parts.peerOf, context),
      code: error.code,
      detail: error.detail,
      audience: context.state.audience ?? [],
      workload: error.workload,
      caller: error.caller,
      cause: error.cause,
    });
  context.status = (door?.errorStatus ?? ERROR_STATUS)[error.code];
  if (error.retryAfterSeconds !== undefined) context.set('Retry-After', String(error.retryAfterSeconds));
  if (!context.req.complete) leaveBody(context, error.code);
  context.set('Cache-Control', 'no-store');
  answerJson(context, {
    error: ERROR_WORD[error.code] ?? error.code,
    error_description: error.sentence,
    ...(parts.surface === 'admin' && door !== undefined ? { reason: error.detail } : {}), // the operator may read why
    ...error.shown,
  });
  shapedBy?.shapeError?.(context, error);
}
