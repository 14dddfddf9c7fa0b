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

/** Throws `invalid_request`. */
export function assertClaims(claims: UserClaims): UserClaims {
  const wrong = Object.keys(claims).find((name) => !KNOWN.has(name));
  if (wrong === undefined) return claims;
  const reason = `a user has no claim ${wrong.slice(0, 100)}: they are ${[...KNOWN].join(' ')}`;
  throw new IssuerError('invalid_request', 'unknown claim', { shown: { reason } });
}

/** Those of an upstream's claims that we know, with the names of ours where they are mapped. */
export function mapClaims(
  upstream: Readonly<Record<string, unknown>>,
  mapping: Readonly<Record<string, string>> = {},
): UserClaims {
  const pairs = [...KNOWN].map((name) => [name, upstream[mapping[name] ?? name]] as const);
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined && value !== null));
}
