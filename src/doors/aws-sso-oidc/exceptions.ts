/** The exceptions of IAM Identity Center OIDC: OAuth's words, each with its class and status. */
import type { Context } from 'koa';
import type { ErrorCode, IssuerError } from '../../core/errors.ts';

/** `x-amzn-ErrorType`, by the `error` of the body. 400 where nothing else is said. */
const CLASSES = {
  access_denied: 'AccessDeniedException',
  authorization_pending: 'AuthorizationPendingException',
  expired_token: 'ExpiredTokenException',
  invalid_client: 'InvalidClientException',
  invalid_client_metadata: 'InvalidClientMetadataException',
  invalid_grant: 'InvalidGrantException',
  invalid_redirect_uri: 'InvalidRedirectUriException',
  invalid_request: 'InvalidRequestException',
  invalid_scope: 'InvalidScopeException',
  server_error: 'InternalServerException',
  slow_down: 'SlowDownException',
  unauthorized_client: 'UnauthorizedClientException',
  unsupported_grant_type: 'UnsupportedGrantTypeException',
} as const;

export type Word = keyof typeof CLASSES;
export const WORDS = Object.keys(CLASSES) as readonly Word[];

const STATUS: Readonly<Partial<Record<Word, number>>> = { invalid_client: 401, server_error: 500 };

type More = {
  /** Only AccessDeniedException and InvalidRequestException have it. */
  readonly reason?: string | undefined;
  /** InvalidRequestRegionException: where the caller should have asked. */
  readonly elsewhere?: { readonly endpoint: string; readonly region: string };
};

/** What a handler throws to refuse a call. */
export class Exception extends Error {
  readonly word: Word;
  readonly more: More;

  constructor(word: Word, description: string, more: More = {}) {
    super(description);
    this.name = 'Exception';
    this.word = word;
    this.more = more;
  }
}

export function answerException(context: Context, { word, message, more }: Exception): void {
  const { reason, elsewhere } = more;
  context.status = STATUS[word] ?? 400;
  context.set('x-amzn-ErrorType', elsewhere === undefined ? CLASSES[word] : 'InvalidRequestRegionException');
  context.set('Cache-Control', 'no-store');
  if (!context.req.complete) context.set('Connection', 'close');
  context.body = {
    error: word,
    error_description: message,
    ...(reason === undefined ? {} : { reason }),
    ...elsewhere,
  };
}

const OWN: Readonly<Record<ErrorCode, Word>> = {
  invalid_request: 'invalid_request',
  invalid_target: 'access_denied',
  single_audience: 'invalid_request',
  access_denied: 'access_denied',
  peer_unproven: 'access_denied',
  invalid_assertion: 'invalid_grant',
  peer_changed: 'access_denied',
  forwarded_request: 'invalid_request',
  not_found: 'invalid_request',
  method_not_allowed: 'invalid_request',
  request_too_large: 'invalid_request',
  unsupported_encoding: 'invalid_request',
  request_timeout: 'invalid_request',
  too_many_requests: 'slow_down',
  conflict: 'invalid_request',
  key_not_ready: 'server_error',
  temporarily_unavailable: 'server_error',
  server_error: 'server_error',
};

/** An error of the frame or the core in the same form. */
export function shapeError(context: Context, error: IssuerError): void {
  if (error.code === 'method_not_allowed') return; // none of its operations was asked for
  const word = OWN[error.code];
  const shown = typeof error.shown?.reason === 'string' ? error.shown.reason : error.sentence;
  answerException(context, new Exception(word, shown));
}

/** What the OAuth server refused, as an exception; words that are not in the table are told by their status. */
export function exceptionOf(status: number, body: Readonly<Record<string, unknown>>): Exception {
  const { error, error_description: description } = body;
  const known = WORDS.find((word) => word === error);
  const word = known ?? (status >= 500 ? 'server_error' : 'invalid_request');
  return new Exception(word, typeof description === 'string' ? description : String(error ?? 'it failed'));
}
