/**
 * The ports of the issuer and the values that pass through them. Attestors,
 * signers, stores, doors and observers depend on this file; it depends on none
 * of them.
 */
import type { Caller, ErrorCode } from './errors.ts';
import type { PublicJwk } from './key-ports.ts';

/** Seconds since 1970-01-01T00:00:00Z, a whole number (NumericDate, RFC 7519 section 2). */
export type EpochSeconds = number;

/** JWS algorithms that Mintmark signs with (RFC 7518 section 3.1, RFC 8037). */
export const ALGORITHMS = ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'] as const;
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Clock {
  /** Wall time. */
  now(): EpochSeconds;
  /** Seconds that really went by since some fixed moment; never jumps. */
  elapsed(): number;
}

// ── who is calling ──────────────────────────────────────────────────────────

/** The other end of an accepted UNIX connection, as the kernel states it. */
export interface UnixPeer {
  readonly kind: 'unix';
  /** Process id in our own namespace; 0 is "unknown" (the peer lives outside of it). */
  readonly pid: number;
  /** Effective uid and gid when the peer connected (SO_PEERCRED). */
  readonly uid: number;
  readonly gid: number;
  /** Supplementary groups when the peer connected (SO_PEERGROUPS). */
  readonly supplementaryGids: readonly number[];
  /** The peer's own /proc directory, held open: `/proc/self/fd/N`. Absent where pid is 0. */
  readonly proc: string | undefined;
  /** Throws `peer_changed` unless the process still lives with the credentials it connected with. */
  assertSame(): void;
}

/** Whoever holds a token that somebody else vouches for, such as a pod's projected service account token. */
export type BearerPeer = {
  readonly kind: 'bearer';
  /** Secret: it is shown to the one who vouches for it, and to nobody else. */
  readonly token: string;
  /**
   * What the bearer says of itself, for example `sidecar:unix-uid:1000`. Nobody proves
   * it: it narrows what the bearer may have, and never widens it.
   */
  readonly claimed: readonly Selector[];
  /** Where the connection comes from: no proof of anything, and shared behind NAT. */
  readonly address?: string | undefined;
};

/**
 * A JWT that another issuer made of somebody (RFC 7521 section 4): a subject token, an
 * authorization grant, a client's assertion.
 */
export type AssertionPeer = {
  readonly kind: 'assertion';
  /** Secret. */
  readonly token: string;
  /** One of them must be among its `aud`. */
  readonly audiences: readonly string[];
  /** The client that presents it and has proven itself: the selector `oauth:client:ID`. */
  readonly client?: string | undefined;
};

/** A later door adds its own kind here (a TLS certificate …). */
export type Peer = UnixPeer | BearerPeer | AssertionPeer;

/** `type:key:value`, for example `unix:uid:1000` (the SPIFFE community's form). */
export type Selector = string;

/** A selector without its value, for example `unix:uid`. */
export type SelectorKind = string;

/** Single-valued facts for templates: `unix.uid` → `1000`. */
export type Facts = Readonly<Record<string, string>>;

/** What was proven of a caller. What could not be proven is absent, with the reason in `unproven`. */
export type Workload = {
  readonly selectors: ReadonlySet<Selector>;
  readonly facts: Facts;
  /** Selector kind → why it is missing, for example `unix:sha256` → `unsupported_filesystem`. */
  readonly unproven: Readonly<Record<SelectorKind, string>>;
  /** No token outlives what it was proven by. */
  readonly expiresAt?: EpochSeconds | undefined;
  /** What a verified assertion says, whole: for the door that took it (jti, act …). No rule sees it. */
  readonly assertion?: Assertion | undefined;
};

export type Assertion = { readonly issuer: string; readonly claims: ClaimSet };

/** What can be proven, as far as rules have to know. */
export type Provable = {
  /** The selector kinds. */
  readonly kinds: readonly SelectorKind[];
  /** Those among `kinds` that the caller only claims: a rule may not rest on them alone. */
  readonly claimedKinds?: readonly SelectorKind[];
  /** Those among `kinds` of which a workload may have several values: selectors alone, and no facts for templates. */
  readonly pluralKinds?: readonly SelectorKind[];
  /** Facts for templates beyond those of the kinds, for example `jwt.claim.ref`. */
  readonly facts?: readonly string[];
  /** Kinds whose values mean something only beside another's: `jwt:subject` → `jwt:issuer`. */
  readonly qualifiedBy?: Readonly<Record<SelectorKind, SelectorKind>>;
  /** Why a selector of the kinds never holds with these settings, alone or with those `beside` it. */
  readonly faultOf?: (selector: Selector, beside?: readonly Selector[]) => string | undefined;
};

export interface Attestor<P extends Peer = Peer> extends Provable {
  /** The peers that it knows something of; it is asked about no others. */
  readonly peers: readonly P['kind'][];
  /**
   * Proves what it can of the peer, at least the `wanted` kinds (costly ones,
   * such as a hash of the executable, only when wanted). Called for each request;
   * nothing of it is told to anyone before `confirm`.
   * Throws `peer_unproven` or `peer_changed` (of an assertion: `invalid_assertion`);
   * `temporarily_unavailable` on a timeout.
   */
  attest(peer: P, wanted: ReadonlySet<SelectorKind>): Promise<Workload>;
  /** At the accept, before a byte is read: remembers what must not change until the first request. Never throws. */
  meet?(peer: P, wanted: ReadonlySet<SelectorKind>): void;
  /** Checks again just before the answer that the peer is still the one attested; throws `peer_changed` or `invalid_assertion`. */
  confirm(peer: P, workload: Workload): void;
  close(): Promise<void>;
  /** The same for another issuer of this process, where that makes a difference. Only the first is to be closed. */
  as?(issuer: OwnIssuer): Attestor<P>;
}

/** An issuer that this process is, and the keys that it publishes once they are open. */
export type OwnIssuer = {
  readonly identifier: string;
  readonly keys: () => readonly { readonly publicJwk: PublicJwk }[];
};

// ── what is asked and decided ───────────────────────────────────────────────

export type TokenRequest = {
  /** One audience; more only where a rule permits it. Never empty. */
  readonly audience: readonly string[];
  /** Life asked for, in seconds; the rule's own where absent. */
  readonly ttlSeconds?: number | undefined;
  /** The caller asks for AWS principal tags. */
  readonly principalTags?: boolean | undefined;
  /** The one rule that may grant it, where the configuration (never the caller) names one. */
  readonly rule?: string | undefined;
  /** Claims that the door's configuration (never the caller) adds; a rule's own win over them. */
  readonly claims?: ClaimSet | undefined;
  /** The header's `typ`, where the door (never the caller) says one; the decision's own, or `JWT`, where absent. */
  readonly type?: TokenType | undefined;
  /** The longest life, where the door (never the caller) says one; the rule's holds where it is shorter. */
  readonly longestTtlSeconds?: number | undefined;
  /** What it is signed with, where the door (never the caller) says it; what the rule says where absent. */
  readonly algorithm?: Algorithm | undefined;
};

export type ClaimSet = Readonly<Record<string, unknown>>;

/** A rule that did not match, and how far it was from it. */
export type NearRule = {
  readonly rule: string;
  readonly holds: readonly Selector[];
  readonly fails: readonly { readonly selector: Selector; readonly instead: string }[];
  readonly allowsAudience: boolean;
};

export type Allowed = {
  readonly allowed: true;
  readonly rule: string;
  /** The rule's owner keeps its name from the caller. */
  readonly isHidden?: true;
  readonly subject: string;
  readonly audience: readonly string[];
  readonly claims: ClaimSet;
  readonly ttlSeconds: number;
  readonly algorithm: Algorithm;
  /** The header's `typ`; `JWT` where absent. */
  readonly type?: TokenType | undefined;
};

export type Refused = {
  readonly allowed: false;
  readonly code: Extract<
    ErrorCode,
    'access_denied' | 'invalid_target' | 'single_audience' | 'invalid_request'
  >;
  /** One line for people: what kept the request from being granted. */
  readonly reason: string;
  /** Nearest first. `shown` are those whose owner lets the caller see them. */
  readonly nearest: readonly NearRule[];
  readonly shown: readonly NearRule[];
};

export type Decision = Allowed | Refused;

// ── what is signed ──────────────────────────────────────────────────────────

/** The claims of a token (RFC 7519 section 4.1); the seven registered ones are always there. */
export type Claims = {
  readonly iss: string;
  readonly sub: string;
  readonly aud: string | readonly string[];
  readonly iat: EpochSeconds;
  readonly nbf: EpochSeconds;
  readonly exp: EpochSeconds;
  readonly jti: string;
} & ClaimSet;

/** `typ` of a token's header: RFC 7519 section 5.1, and RFC 9068 section 2.1 for access tokens. */
export type TokenType = 'JWT' | 'at+jwt';

export type SignedToken = { readonly token: string; readonly keyId: string };

export interface Signer {
  /** JWS compact serialization of the claims. Throws `key_not_ready` or `temporarily_unavailable`. */
  sign(claims: Claims, algorithm: Algorithm, type?: TokenType): Promise<SignedToken>;
  close(): Promise<void>;
}

export type IssuedToken = SignedToken & {
  readonly claims: Claims;
  readonly algorithm: Algorithm;
  readonly rule: string;
  /** It was handed out before, and is again since the authority does not answer. */
  readonly isReused?: boolean;
  /** False where it rests on what may be another by the next request: it is never handed out again. */
  readonly isReusable?: boolean;
};

/** What was attested of a caller, and what is decided of its request. */
export type Explanation = { readonly workload: Workload; readonly decision: Decision };

/** Who decides and signs for a sidecar. */
export interface Authority {
  /**
   * A token for what the sidecar's own identity and these claimed selectors may have. Throws the
   * refusal as it was given, `temporarily_unavailable` where nobody answers.
   */
  issueToken(claimed: readonly Selector[], request: TokenRequest): Promise<IssuedToken>;
  /** What would be decided, and why. */
  explain(claimed: readonly Selector[], request: TokenRequest): Promise<Explanation>;
  close(): Promise<void>;
}

// ── what is told ────────────────────────────────────────────────────────────

export type Issuance = {
  readonly door: string;
  readonly peer: Peer | undefined;
  readonly issued: IssuedToken;
  /** Whose it is, for peers that do not say it themselves. */
  readonly workload?: Workload | undefined;
  readonly attestSeconds: number;
  readonly totalSeconds: number;
};

export type Refusal = {
  readonly door: string;
  readonly peer: Peer | undefined;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly audience: readonly string[];
  /** What was attested of the caller, where it came so far. */
  readonly workload?: Workload | undefined;
  /** Whom the kernel named, where the peer is not proven. */
  readonly caller?: Caller | undefined;
  /** Whose tokens were asked for, where it is not the main issuer. */
  readonly issuer?: string | undefined;
  readonly cause?: unknown;
};

export interface Recorder {
  /** The audit line of a token. Throws where it cannot be written: the token is then withheld. */
  issued(event: Issuance): void;
  refused(event: Refusal): void;
}
