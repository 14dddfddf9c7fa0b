/**
 * What the OAuth engine and the part for people (pages, users, logins) agree on.
 *
 * How a login reaches the tokens. oidc-provider carries `accountId`, `amr`, `acr`, `authTime` and
 * `sessionUid` from the session to AuthorizationCode, DeviceCode and RefreshToken by itself (its
 * models' IN_PAYLOAD), and nothing else. The rest is found again by them:
 * - `idp` belongs to the account: a record of model `Account` (id = sub) names the identity provider
 *   that a person came from; a local user (model `User`, uid = sub) is of `local`.
 * - `tenant` belongs to one login: a record of model `Login`, written by `rememberLogin`, which the
 *   engine calls first in `loadExistingGrant`, since only there the session's uid and the result of the
 *   interaction are both known. A code or device code gets one of its own by `bindLogin`, under a
 *   `sessionUid` of its own, since the session outlives the login.
 * `loginOf(source)` brings all of it together for a code, device code, refresh token or session.
 *
 * What the engine's configuration of oidc-provider needs:
 * - `findAccount`, `renderError`, `interactions`, `claims` of People, the sources of
 *   `features.deviceFlow` and `features.rpInitiatedLogout`; `features.devInteractions` off;
 * - `extraClientMetadata.properties`: at least CLIENT_PROPERTIES; a client's `identity_providers` is a
 *   list of names (`local` is the password form; absent: all), `require_consent` a boolean;
 * - `loadExistingGrant(ctx)`: `await people.rememberLogin(ctx)`, then the default's work, and for a
 *   client with `require_consent: false` a grant with everything that is asked for;
 * - token claims: `people.loginOf(source)`, where source is what the token is made of;
 * - a password grant's own AccessToken and RefreshToken take `accountId`, `amr`, `acr`, `authTime`
 *   and `sessionUid` of what `passwords.check` answers, and never `expiresWithSession`;
 * - `middleware` before the provider's own, on paths with or without the issuer's path before them.
 */
import type { Context, Next } from 'koa';
import type {
  Account,
  ErrorOut,
  interactionPolicy,
  KoaContextWithOIDC,
  Client as OidcClient,
  Interaction as OidcInteraction,
  Provider,
} from 'oidc-provider';
import type { Clock, EpochSeconds } from '../../../core/ports.ts';
import type { RecordStore } from '../../../core/records.ts';
import type { Route } from '../../door.ts';
import type { GivenInLogin } from './accounts.ts';

/** Properties of a client's metadata that are read here. */
export const CLIENT_PROPERTIES = ['identity_providers', 'require_consent'] as const;

/** The identity provider that a user of our own is of. */
export const LOCAL_IDP = 'local';

/** For `acrValues`: what a login was made with. */
export const ACR = {
  password: 'urn:mintmark:acr:pwd',
  /** OpenID Provider Authentication Policy Extension 1.0, section 4. */
  multiFactor: 'http://schemas.openid.net/pape/policies/2007/06/multi-factor',
} as const;

export type IdentityProviderConfig = {
  /** The upstream's issuer; https, or http on loopback. */
  readonly issuer: string;
  readonly clientId: string;
  /** Absent: a public client. */
  readonly clientSecretFile?: string | undefined;
  readonly scopes?: readonly string[] | undefined;
  /** What the button says; the name where absent. */
  readonly title?: string | undefined;
  /** Our claim ← the upstream's claim, beside those of the same name. */
  readonly claims?: Readonly<Record<string, string>> | undefined;
};

export type PeopleConfig = {
  /** What the pages call this server. */
  readonly title?: string | undefined;
  readonly identityProviders?: Readonly<Record<string, IdentityProviderConfig>> | undefined;
  /** Scope → what it lets a client do, in words, for the consent page. */
  readonly scopes?: Readonly<Record<string, string>> | undefined;
  readonly logins?:
    | {
        /** Attempts for one user name, and from one address, in each window. */
        readonly perUser?: number | undefined;
        readonly perAddress?: number | undefined;
        readonly windowSeconds?: number | undefined;
      }
    | undefined;
  readonly passwords?:
    | {
        /** scrypt's cost, as a power of two. Each hash takes 1 KiB × 2^cost of memory. */
        readonly cost?: number | undefined;
        /** Hashes made at once; more wait, and too many are turned away. */
        readonly parallel?: number | undefined;
      }
    | undefined;
};

/** For an audit log. What was typed for a name is not in it: it may be a password. */
export type LoginEvent = {
  readonly outcome:
    | 'signed_in'
    | 'wrong_password'
    | 'wrong_code'
    | 'too_many'
    | 'wrong_tenant'
    | 'upstream_failed';
  readonly idp: string;
  readonly address: string;
  readonly client?: string | undefined;
  /** Whose login it was to be, where there is such a user. */
  readonly sub?: string | undefined;
};

export type PeopleParts = {
  /** The current instance; another one at any time. */
  readonly provider: () => Provider;
  readonly records: RecordStore;
  readonly realm: string;
  /** The realm that the local users, and what is counted of them, are in; `realm` where absent. */
  readonly usersOf?: string | undefined;
  /** That of the users' issuer, of 32 bytes: the secrets of second factors are sealed by it. */
  readonly secret: Uint8Array;
  /** Its path, if any, is before every path here. */
  readonly issuer: string;
  readonly config: PeopleConfig;
  readonly clock: Clock;
  readonly onLogin?: ((event: LoginEvent) => void) | undefined;
};

/** How somebody logged in. */
export type Login = {
  /** `local`, or the name of an upstream identity provider. */
  readonly idp: string;
  readonly tenant?: string | undefined;
  /** RFC 8176. */
  readonly amr: readonly string[];
  readonly acr?: string | undefined;
};

/** What a login is found again by: an AuthorizationCode, DeviceCode, RefreshToken, or a session's values. */
export type LoginSource = {
  readonly accountId?: string | undefined;
  readonly sessionUid?: string | undefined;
  readonly authTime?: EpochSeconds | undefined;
  readonly amr?: readonly string[] | undefined;
  readonly acr?: string | undefined;
};

export type CheckedPassword = Login & {
  readonly sub: string;
  readonly authTime: EpochSeconds;
  /** Stands for this login where a session's uid would: a token that carries it keeps the tenant. */
  readonly sessionUid: string;
};

export type PasswordQuestion = {
  /** Where it comes from, for the limits. */
  readonly address: string;
  /** `acr_values` as sent: `tenant:NAME` is kept; `idp:NAME` but `local` is refused. */
  readonly acrValues?: string | undefined;
  /** Whoever asks: its `identity_providers` must have `local`, if there are any. */
  readonly client?: OidcClient | undefined;
  /** The one-time code of a user who has to give one; without it such a user is refused. */
  readonly otp?: string | undefined;
};

export type Person = Account & { readonly idp: string };

export type People = {
  /** Answers /interaction/…; everything else goes on, and no page comes back with a script. */
  readonly middleware: (context: Context, next: Next) => Promise<void>;
  /** Answers with a page, in the place of what is there. */
  readonly showFault: (context: Context, error: unknown) => void;
  readonly findAccount: (
    context: KoaContextWithOIDC | undefined,
    sub: string,
    token?: unknown,
  ) => Promise<Person | undefined>;
  readonly rememberLogin: (context: KoaContextWithOIDC) => Promise<void>;
  readonly bindLogin: (context: KoaContextWithOIDC, given: GivenInLogin) => Promise<void>;
  readonly loginOf: (source: LoginSource) => Promise<Login>;
  readonly passwords: {
    /** Undefined: no such user, or not this password. Throws IssuerError `too_many_requests`, `invalid_request` for a tenant that cannot be one. */
    check(
      username: string,
      password: string,
      question: PasswordQuestion,
    ): Promise<CheckedPassword | undefined>;
  };
  readonly interactions: {
    readonly url: (context: KoaContextWithOIDC, interaction: OidcInteraction) => string;
    readonly policy: interactionPolicy.DefaultPolicy;
  };
  /** Scope → claims. */
  readonly claims: Readonly<Record<string, string[]>>;
  readonly deviceFlow: {
    readonly userCodeInputSource: (
      context: KoaContextWithOIDC,
      form: string,
      out?: ErrorOut,
      error?: Error,
    ) => void;
    readonly userCodeConfirmSource: (
      context: KoaContextWithOIDC,
      form: string,
      client: OidcClient,
      deviceInfo: unknown,
      userCode: string,
    ) => void;
    readonly successSource: (context: KoaContextWithOIDC) => void;
  };
  readonly rpInitiatedLogout: {
    readonly logoutSource: (context: KoaContextWithOIDC, form: string) => void;
    readonly postLogoutSuccessSource: (context: KoaContextWithOIDC) => void;
  };
  readonly renderError: (context: KoaContextWithOIDC, out: ErrorOut, error: Error) => void;
  /** On the admin socket: GET /v1/users and /v1/users/upstream, POST /v1/users/{add,set,remove,password,totp,forget}. */
  readonly adminRoutes: readonly Route[];
};
