/** Claims of people (OpenID Connect Core 1.0 section 5.1), by the scope that asks for them (section 5.4). */
import { IssuerError } from '../../../core/errors.ts';

export type UserClaims = Readonly<Record<string, unknown>>;

export const CLAIMS_BY_SCOPE: Readonly<Record<string, string[]>> = {
  /** How somebody logged in is said with who it is, as IdentityServer does. */
  openid: ['sub', 'acr', 'amr', 'auth_time', 'idp'],
  profile: [
    'name',
    'given_name',
    'family_name',
    'middle_name',
    'nickname',
    'preferred_username',
    'profile',
    'picture',
    'website',
    'gender',
    'birthdate',
    'zoneinfo',
    'locale',
    'updated_at',
  ],
  email: ['email', 'email_verified'],
  phone: ['phone_number', 'phone_number_verified'],
  address: ['address'],
};

const { openid: _, ...SCOPES } = CLAIMS_BY_SCOPE;
const KNOWN: ReadonlySet<string> = new Set(Object.values(SCOPES).flat());

type Kind = { readonly is: (value: unknown) => boolean; readonly name: string };

const TEXT: Kind = { is: (value) => typeof value === 'string', name: 'a text' };
const TRUTH: Kind = { is: (value) => typeof value === 'boolean', name: 'true or false' };
/** OpenID Connect Core 1.0 section 5.1: all others are texts. */
const KINDS: Readonly<Record<string, Kind>> = {
  email_verified: TRUTH,
  phone_number_verified: TRUTH,
  updated_at: { is: Number.isSafeInteger, name: 'a number of seconds' },
  address: { is: isAddress, name: 'an object of texts' },
};

function isAddress(value: unknown): boolean {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every(TEXT.is)
  );
}

/** Throws `invalid_request`. */
export function assertClaims(claims: UserClaims): UserClaims {
  for (const [name, value] of Object.entries(claims)) {
    if (!KNOWN.has(name))
      throw wrongClaim(`a user has no claim ${name.slice(0, 100)}: they are ${[...KNOWN].join(' ')}`);
    const kind = KINDS[name] ?? TEXT;
    if (!kind.is(value)) throw wrongClaim(`the claim ${name} must be ${kind.name}`);
  }
  return claims;
}

function wrongClaim(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

/** Those of an upstream's claims that we know, with the names of ours where they are mapped. */
export function mapClaims(
  upstream: Readonly<Record<string, unknown>>,
  mapping: Readonly<Record<string, string>> = {},
): UserClaims {
  const pairs = [...KNOWN].map((name) => [name, upstream[mapping[name] ?? name]] as const);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined && value !== null));
}
