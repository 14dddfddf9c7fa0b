import type { Workload } from './ports.ts';

/**
 * The one error that Mintmark answers with. Every door has a table typed over
 * these codes, so a new code breaks the build where it has no answer.
 *
 * The sentence is fixed and safe to show to anyone; what happened in this very
 * case is the error's `detail` and goes to the log only.
 */
export const ERROR_SENTENCES = {
  invalid_request: 'The request is malformed.', // RFC 6749 section 5.2
  invalid_target: 'No rule allows this audience to this caller.', // RFC 8693 section 2.2.2
  single_audience: 'A token for several audiences at once is not given to this caller.',
  access_denied: 'No rule matches this caller.', // RFC 6749 section 4.1.2.1
  peer_unproven: 'It could not be proven who is calling.',
  invalid_assertion: 'The token that was shown as a proof is not taken.', // doors have OAuth's words for it (RFC 7521 section 4)
  peer_changed: 'The calling process ended or changed while it was being answered.',
  forwarded_request: 'Requests that came through a proxy or a browser are not answered here.',
  not_found: 'There is no such thing here.',
  method_not_allowed: 'This path does not take this method.',
  request_too_large: 'The request body is too large.',
  unsupported_encoding: 'A body that is compressed or encoded otherwise is not taken: send it as it is.', // RFC 9110 section 15.5.16
  request_timeout: 'The request did not arrive in time.',
  too_many_requests: 'This caller asks too often.', // RFC 6585 section 4
  conflict: 'Somebody else made a change first, or this change is not allowed now.',
  key_not_ready: 'The signing key for this algorithm is published and does not sign yet.',
  temporarily_unavailable: 'The issuer cannot answer at the moment.',
  server_error: 'The issuer failed; its log says why.',
} as const;

/** A code of the closed table above. */
export type ErrorCode = keyof typeof ERROR_SENTENCES;

export type Caller = { readonly pid: number; readonly uid: number; readonly gid: number };

export type IssuerErrorOptions = {
  readonly cause?: unknown;
  /** Facts that policy lets the caller see: plain data, no secret. */
  readonly shown?: Readonly<Record<string, unknown>>;
  /** What was attested of whom it refuses: for the audit log. */
  readonly workload?: Workload;
  /** Whom the kernel named where no more than that could be proven: for the audit log. */
  readonly caller?: Caller | undefined;
  /** When a retry makes sense, in seconds (Retry-After, RFC 9110 section 10.2.3). */
  readonly retryAfterSeconds?: number;
};

export class IssuerError extends Error {
  readonly code: ErrorCode;
  readonly detail: string;
  readonly shown: Readonly<Record<string, unknown>> | undefined;
  readonly workload: Workload | undefined;
  readonly caller: Caller | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ErrorCode, detail: string, options: IssuerErrorOptions = {}) {
    super(`${code}: ${detail}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'IssuerError';
    this.code = code;
    this.detail = detail;
    this.shown = options.shown;
    this.workload = options.workload;
    this.caller = options.caller;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** The fixed sentence for the caller. */
  get sentence(): string {
    return ERROR_SENTENCES[this.code];
  }
}
