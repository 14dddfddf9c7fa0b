/**
 * Reading and checking a signed JWT (RFC 7515 section 5.2, RFC 7519 section 7.2, RFC 8725). What is
 * returned was parsed from the very bytes that the signature is over. Every refusal is
 * `invalid_assertion` with its reason, which has nothing of the token in it.
 */
import { IssuerError } from '../core/errors.ts';
import { parseJsonObject } from '../core/json.ts';
import type { ClaimSet, EpochSeconds } from '../core/ports.ts';
import { isSignedBy, type KeySet } from './jwt-keys.ts';

export type ParsedToken = {
  readonly algorithm: string;
  readonly keyId: string | undefined;
  /** In lower case and without `application/`; undefined: none. */
  readonly type: string | undefined;
  readonly claims: ClaimSet;
  readonly input: Buffer;
  readonly signature: Buffer;
};

export type Expected = {
  /** Undefined: its tokens are known by their trust domain alone. */
  readonly issuer?: string | undefined;
  /** With it tokens need no `iss`, and each must be of it by its `sub`. */
  readonly trustDomain?: string | undefined;
  readonly audiences: readonly string[];
  readonly algorithms: readonly string[];
  readonly types: readonly string[];
  readonly maxAgeSeconds: number;
  readonly clockSkewSeconds: number;
};

const TOKEN_MAX = 16 * 1024;
const KEY_ID_MAX = 512;
/** Members that change what is verified, or bring a key along. */
const REFUSED_MEMBERS = ['crit', 'b64', 'jwk', 'jku', 'x5u', 'x5c'];
const PART = /^[A-Za-z0-9_-]*$/;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function unaccepted(reason: string): IssuerError {
  return new IssuerError('invalid_assertion', reason, { shown: { reason } });
}

/** Nothing in it is to be believed before `assertSigned`. */
export function parseToken(token: string): ParsedToken {
  if (token.length > TOKEN_MAX) throw unaccepted(`it is longer than ${TOKEN_MAX} characters`);
  const parts = token.split('.', 6);
  if (parts.length === 5) throw unaccepted('it is encrypted (a JWE), and only signed tokens are taken');
  const [head, body, end] = parts;
  if (parts.length !== 3 || head === undefined || body === undefined || end === undefined)
    throw unaccepted('it is no JWT in compact form');
  const header = parseObject(head, 'its header');
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string') throw unaccepted('its header has no alg');
  const refused = REFUSED_MEMBERS.find((member) => Object.hasOwn(header, member));
  if (refused !== undefined) throw unaccepted(`its header has ${refused}, which is not taken`);
  if (!isOptionalText(kid, KEY_ID_MAX)) throw unaccepted('its kid is no text');
  if (!isOptionalText(typ, 255)) throw unaccepted('its typ is no text');
  return {
    algorithm: alg,
    keyId: kid,
    type: typ === undefined ? undefined : mediaType(typ),
    claims: parseObject(body, 'its payload'),
    input: Buffer.from(`${head}.${body}`, 'latin1'),
    signature: decodePart(end, 'its signature'),
  };
}

function parseObject(part: string, what: string): ClaimSet {
  const bytes = decodePart(part, what);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw unaccepted(`${what} is not UTF-8`);
  }
  try {
    return parseJsonObject(text, what);
  } catch (error) {
    throw unaccepted((error as RangeError).message);
  }
}

/** One text for one sequence of bytes: no padding, no blanks, no spare bits (RFC 7515 section 2). */
function decodePart(part: string, what: string): Buffer {
  const bytes = Buffer.from(part, 'base64url');
  if (!PART.test(part) || bytes.toString('base64url') !== part) throw unaccepted(`${what} is not base64url`);
  return bytes;
}

function isOptionalText(value: unknown, longest: number): value is string | undefined {
  return value === undefined || (typeof value === 'string' && value !== '' && value.length <= longest);
}

/** RFC 7515 section 4.1.9 */
function mediaType(type: string): string {
  return type.toLowerCase().replace(/^application\//, '');
}

/** Checks everything but the signature; returns when it ends. */
export function assertClaims(token: ParsedToken, expected: Expected, now: EpochSeconds): EpochSeconds {
  const { claims, algorithm, type } = token;
  if (!expected.algorithms.includes(algorithm)) throw unaccepted('its alg is not taken of its issuer');
  if (!expected.types.map(mediaType).includes(type ?? 'jwt'))
    throw unaccepted('its typ is not taken of its issuer');
  assertIssuer(claims, expected);
  if (!audiencesOf(claims).some((audience) => expected.audiences.includes(audience)))
    throw unaccepted('it is not for us: its aud names another');
  // Whoever shows a token that is bound to a key would have to show the key too (RFC 7800 section 3).
  if (Object.hasOwn(claims, 'cnf')) throw unaccepted('it is bound to a key (cnf), which nobody has proven');
  return assertTimes(claims, expected, now);
}

function assertIssuer(claims: ClaimSet, { issuer, trustDomain }: Expected): void {
  const isOptional = trustDomain !== undefined && (issuer === undefined || claims.iss === undefined);
  if (!isOptional && claims.iss !== issuer) throw unaccepted('it is of another issuer');
  if (!isOptionalText(claims.iss, Number.POSITIVE_INFINITY)) throw unaccepted('its iss is no text');
  if (typeof claims.sub !== 'string' || claims.sub === '') throw unaccepted('it has no sub');
  if (trustDomain !== undefined && trustDomainOf(claims) !== trustDomain)
    throw unaccepted("its sub is no SPIFFE ID of its issuer's trust domain");
}

/** SPIFFE-ID section 2: of a workload, so with a path. */
const SPIFFE_ID = /^spiffe:\/\/([a-z0-9._-]{1,255})(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)+$/;

/** Undefined where `sub` is no SPIFFE ID. */
export function trustDomainOf({ sub }: ClaimSet): string | undefined {
  return typeof sub === 'string' ? SPIFFE_ID.exec(sub)?.[1] : undefined;
}

/** RFC 7519 section 4.1.3. Empty where it is malformed. */
export function audiencesOf({ aud }: ClaimSet): readonly string[] {
  const list: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  return list.every((each): each is string => typeof each === 'string') ? list : [];
}

function assertTimes(claims: ClaimSet, expected: Expected, now: EpochSeconds): EpochSeconds {
  const { maxAgeSeconds: longest, clockSkewSeconds: skew } = expected;
  const expiresAt = timeOf(claims, 'exp');
  const startsAt = timeOf(claims, 'nbf');
  const issuedAt = timeOf(claims, 'iat');
  if (expiresAt === undefined) throw unaccepted('it has no exp');
  if (expiresAt <= now) throw unaccepted('it has expired');
  if (expiresAt > now + longest + skew) throw unaccepted(`it ends more than ${longest} seconds from now`);
  if (startsAt !== undefined && startsAt > now + skew) throw unaccepted('it is not valid yet (nbf)');
  if (issuedAt !== undefined && issuedAt > now + skew) throw unaccepted('it was issued in the future (iat)');
  if (issuedAt !== undefined && issuedAt < now - longest - skew)
    throw unaccepted(`it was issued more than ${longest} seconds ago`);
  return expiresAt;
}

/** Whole seconds; an end is never later for it, and a start by less than one earlier. */
function timeOf(claims: ClaimSet, name: string): EpochSeconds | undefined {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) throw unaccepted(`its ${name} is no number`);
  return Math.floor(value);
}

/** False where the set does not have the key that the token names. */
export function isKnownKey(token: ParsedToken, keys: KeySet): boolean {
  return keys.some(({ keyId }) => token.keyId === undefined || keyId === token.keyId);
}

/** A token without a kid is taken only where one key alone could have signed it. */
export function assertSigned(token: ParsedToken, keys: KeySet): void {
  const { keyId, algorithm, input, signature } = token;
  if (!isKnownKey(token, keys)) throw unaccepted('its issuer has no key of its kid');
  const fitting = keys.filter(
    (key) => key.algorithms.includes(algorithm) && (keyId === undefined || key.keyId === keyId),
  );
  if (fitting.length === 0) throw unaccepted('the key of its issuer is not for its alg');
  if (keyId === undefined && fitting.length > 1)
    throw unaccepted('it names no key, and its issuer has several');
  if (!fitting.some((key) => isSignedBy(key, algorithm, input, signature)))
    throw unaccepted('its signature is not by the key of its issuer');
}
