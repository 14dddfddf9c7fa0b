/** The OAuth server as doors that are opened after it use it: those that translate another protocol to its own. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ClientMetadata } from 'oidc-provider';
import type { Clock } from '../core/ports.ts';
import type { RecordStore } from '../core/records.ts';
import type { Call, Called } from './oauth/call.ts';

export type { Called } from './oauth/call.ts';

/** A client of another door. */
export type Guest = {
  /** What it may do (RFC 7591 section 2), with the hash of its secret. */
  readonly metadata: ClientMetadata;
  /** It proves itself by its secret, or the door vouches for it (`provenClient` of a call). */
  readonly proof: 'secret' | 'door';
};

export type Guests = {
  /** Scopes that they may have, beside those of the server. */
  readonly scopes: readonly string[];
  /** Undefined where the id is none of that door's. */
  find(id: string): Promise<Guest | undefined>;
};

export type OAuthServer = {
  /** The path of the issuer, and below it that of the endpoints: /connect. */
  readonly prefix: string;
  readonly path: string;
  readonly clock: Clock;
  readonly records: RecordStore;
  /** Of everything that is stored for this server. */
  readonly realm: string;
  call(given: Call): Promise<Called>;
  /** Answers a browser's request as if it were one for `url`: a path on this listener, with its query. */
  show(request: IncomingMessage, response: ServerResponse, url: string): Promise<void>;
  admit(guests: Guests): void;
  /** The network that a request comes from, to count by. */
  networkOf(request: IncomingMessage): string;
};
