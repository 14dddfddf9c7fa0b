/** What the door is handed. */
import type { KeyObject } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Context } from 'koa';
import type { PublicDocuments } from '../../core/discovery.ts';
import type { ErrorCode } from '../../core/errors.ts';
import type { Clock } from '../../core/ports.ts';
import type { RecordStore } from '../../core/records.ts';
import type { Route } from '../door.ts';
import type { VultrConfig } from './settings.ts';

export type Jwk = Readonly<Record<string, string>>;

/** An issuer that the door has made, whose keys are in the key store. */
export type HostedSpec = {
  /** The id of its key ring. */
  readonly ring: string;
  /** The `iss` of its tokens. */
  readonly identifier: string;
  /** The provider whose issuer it is: it has clients and people. */
  readonly provider?: { readonly id: string; readonly name: string } | undefined;
};

/** An issuer of others whose tokens are taken for an exchange. */
export type TrustedIssuer = { readonly id: string; readonly uri: string; readonly keys: readonly Jwk[] };

export type HostHooks = {
  /** False once it was removed here or by another replica. */
  exists(spec: HostedSpec): Promise<boolean>;
  all(): Promise<readonly HostedSpec[]>;
  /** Ends removals that were cut short, where some may be. */
  tidy(): Promise<void>;
  /** By the token's own `iss`; `isFresh`: its keys are fetched again where that is due. */
  trusted(spec: HostedSpec, issuer: string, isFresh: boolean): Promise<TrustedIssuer | undefined>;
};

export type TokenCall = {
  readonly form: URLSearchParams;
  readonly request: IncomingMessage;
  readonly headers: Readonly<Record<string, string>>;
  /** A client that an API key speaks for. */
  readonly provenClient: string | undefined;
};

export type TokenAnswer = { readonly status: number; readonly body: Readonly<Record<string, unknown>> };

export interface IssuerHost {
  /** Makes its keys, with this one as the first. Throws `invalid_request` where that is no key for RS256. */
  make(spec: HostedSpec, key: KeyObject | undefined): Promise<void>;
  documents(spec: HostedSpec): Promise<PublicDocuments>;
  /** The same, without keeping it in memory or others from it. */
  look(spec: HostedSpec): Promise<PublicDocuments>;
  /** One in memory: by the provider whose it is, or its own id, which is that of its ring. */
  kept(kind: 'provider' | 'issuer', id: string): HostedSpec | undefined;
  /** A browser's request, or one of the endpoints below the issuer. */
  handle(spec: HostedSpec, request: IncomingMessage, response: ServerResponse): Promise<void>;
  token(spec: HostedSpec, given: TokenCall): Promise<TokenAnswer>;
  /** The client that a code or a refresh token was given to. */
  holderOf(
    spec: HostedSpec,
    model: 'AuthorizationCode' | 'RefreshToken',
    value: string,
  ): Promise<string | undefined>;
  /** The routes of the admin socket, of which each says its path and its operation. */
  readonly adminRoutes: readonly Route[];
  admin(spec: HostedSpec, route: Route): Promise<Route['handle']>;
  /** Its keys, and everything that is stored of it. */
  remove(spec: HostedSpec): Promise<void>;
  close(): Promise<void>;
}

export type VultrContext = {
  readonly issuer: { readonly identifier: string };
  readonly clock: Clock;
  readonly records: () => Promise<RecordStore>;
  readonly warn: (message: string) => void;
  readonly cacheForSeconds: number;
  readonly hostIssuers: (config: VultrConfig, hooks: HostHooks) => Promise<IssuerHost>;
  /** Throws Error with a sentence. */
  readonly fetchPublishedKeys: (asked: {
    readonly issuer: string;
    readonly allowPrivate: boolean;
  }) => Promise<{ readonly keys: readonly Jwk[]; readonly freshForSeconds: number }>;
  /** Throws RangeError with a sentence. */
  readonly publicKeys: (jwks: unknown) => readonly Jwk[];
  /** The network that a request comes from, to count by. */
  readonly networkOf: (request: IncomingMessage) => string;
  /** For a browser, the page of what is not there, or cannot be had at the moment. */
  readonly showError: (context: Context, code: 'not_found' | 'temporarily_unavailable') => Promise<void>;
  /** For the audit log: never a secret. */
  readonly tell: (event: Readonly<Record<string, unknown>>, message: string) => void;
  readonly refused: (code: ErrorCode, detail: string) => void;
};

/** What the parts of the door share. */
export type Vultr = Omit<VultrContext, 'records' | 'hostIssuers'> & {
  readonly config: VultrConfig;
  readonly records: RecordStore;
  /** Of the door's own records. */
  readonly realm: string;
  /** Below which everything is: https://id.example.com/v2/oidc. */
  readonly base: string;
};
