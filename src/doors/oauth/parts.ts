/** What the OAuth engine is given, and what its files hand to each other. */
import type { IncomingMessage } from 'node:http';
import type { Provider } from 'oidc-provider';
import type { DecidedIssuer, Issuer } from '../../core/issuer.ts';
import type { RingKey } from '../../core/key-ports.ts';
import type { KeyRing } from '../../core/key-ring.ts';
import type { Clock, Peer, SelectorKind, Workload } from '../../core/ports.ts';
import type { RecordStore } from '../../core/records.ts';
import type { ScopeContext } from '../../core/scopes.ts';
import type { Guests } from '../oauth-server.ts';
import type { Internet } from './client-fetch.ts';
import type { LoginEvent, People } from './people/contract.ts';
import type { OAuthConfig } from './settings.ts';

/** What is told beside the tokens that are issued: never what was typed. */
export type OAuthAudit = {
  login(event: LoginEvent): void;
  /** A registered client was refused; `by` says who asked, on the local socket. */
  refused(detail: string, by?: Pick<PreparedRequest, 'peer' | 'workload'>): void;
};

export type EngineParts = {
  readonly config: OAuthConfig;
  /** `identifier` is the issuer; rules decide on attested callers, the register of clients on the others. */
  readonly issuer: Issuer & DecidedIssuer;
  /** Proves a peer: a process, or an assertion of another issuer. Throws IssuerError. */
  readonly attest: (peer: Peer, wanted: ReadonlySet<SelectorKind>) => Promise<Workload>;
  readonly records: RecordStore;
  readonly clock: Clock;
  readonly ring: () => KeyRing;
  /** A signature in the form that a JWS has (RFC 7515 section 5.1). Throws where the ring may be too old. */
  readonly sign: (key: RingKey, bytes: Uint8Array) => Promise<Buffer>;
  /** 32 secret bytes that stay the same over restarts and on every replica. */
  readonly secret: Uint8Array;
  readonly warn: (message: string) => void;
  readonly audit: OAuthAudit;
  readonly internet: () => Promise<Internet>;
  /** The realm whose local users sign in here; its own where absent. */
  readonly usersOf?: string | undefined;
  /** Its clients were looked at before. */
  readonly isTrusted?: boolean | undefined;
};

/** What the parts of one engine share. */
export type Engine = EngineParts & {
  /** The records' realm. */
  readonly realm: string;
  /** Of the issuer: what its host and scheme are, whatever a request says. */
  readonly origin: URL;
  /** What scopes are decided by. */
  readonly scoping: ScopeContext;
  readonly people: People;
  /** Clients of other doors. */
  readonly guests: () => Guests;
  /** Whose request it is; empty on the local socket. */
  readonly addressOf: (request: IncomingMessage) => string;
  readonly provider: () => Provider;
};

/** A request that the provider reads: its body was read before, and its client may have proven itself already. */
export type PreparedRequest = IncomingMessage & {
  /** The id of a client that was proven by attestation, or by another issuer's assertion. */
  provenClient?: string;
  /** With the path of the issuer, which the provider does not see in `url`. */
  originalUrl?: string;
  /** Who asks on the local socket, and what was attested of it. */
  peer?: Peer;
  /** The body, where it is a form. */
  form?: URLSearchParams;
  workload?: Workload;
  /** The scopes that a person's token is kept to, of those that were granted. */
  narrowTo?: readonly string[];
};

export const NO_WORKLOAD: Workload = { selectors: new Set(), facts: {}, unproven: {} };
