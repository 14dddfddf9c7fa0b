/**
 * Whoever another issuer vouches for: a JWT that names us as its audience, signed by a key of an
 * issuer that the configuration trusts (RFC 7521 section 5.2, RFC 8693 section 2.1).
 */
import { IssuerError } from '../core/errors.ts';
import type {
  AssertionPeer,
  Attestor,
  OwnIssuer,
  Provable,
  Selector,
  SelectorKind,
  Workload,
} from '../core/ports.ts';
import type { AttestorContext } from './index.ts';
import { remoteKeys } from './jwks-remote.ts';
import { fileKeys, fixedKeys, type KeySource, ownKeys } from './jwks-source.ts';
import { bundleWarnings } from './jwt-findings.ts';
import { type IssuerSettings, type JwtSettings, SELF } from './jwt-settings.ts';
import {
  assertClaims,
  assertSigned,
  isKnownKey,
  type ParsedToken,
  parseToken,
  trustDomainOf,
  unaccepted,
} from './jwt-verify.ts';
import {
  describeToken,
  factOfClaim,
  kinds,
  type NamedClaim,
  namedClaims,
  OTHER_FACTS,
} from './jwt-workload.ts';

export { findings } from './jwt-findings.ts';
export { config } from './jwt-settings.ts';
export { kinds };

/** Two issuers may use the same subjects, audiences, ids and claims. */
const qualifiedBy: Readonly<Record<SelectorKind, SelectorKind>> = {
  'jwt:subject': 'jwt:issuer',
  'jwt:audience': 'jwt:issuer',
  'jwt:claim': 'jwt:issuer',
  'jwt:id': 'jwt:issuer',
};

export function provable({ issuers }: JwtSettings): Provable {
  const names = Object.keys(issuers);
  const claims = [
    ...new Set(Object.values(issuers).flatMap((each) => namedClaims(each.claims).map(({ name }) => name))),
  ];
  const faultOf = (selector: Selector, beside: readonly Selector[] = []) => {
    const [, kind, key = '', value] = selector.split(':');
    if (kind === 'issuer' && !names.includes(selector.slice('jwt:issuer:'.length)))
      return `there is no such issuer; known: ${names.join(' ')}`;
    if (kind === 'subject') return subjectFault(selector, beside, issuers);
    if (kind !== 'claim') return undefined;
    if (!claims.includes(key)) return `no issuer's claims have ${key}; known: ${claims.join(' ')}`;
    return value === undefined || value === '' ? 'must have the form jwt:claim:NAME:VALUE' : undefined;
  };
  return { kinds, facts: [...OTHER_FACTS, ...claims.map(factOfClaim)], qualifiedBy, faultOf };
}

function subjectFault(
  selector: Selector,
  beside: readonly Selector[],
  issuers: JwtSettings['issuers'],
): string | undefined {
  const issuer = beside.find((each) => each.startsWith('jwt:issuer:'))?.slice('jwt:issuer:'.length) ?? '';
  const domain = issuers[issuer]?.trustDomain;
  if (domain === undefined || trustDomainOf({ sub: selector.slice('jwt:subject:'.length) }) === domain)
    return undefined;
  return `is no SPIFFE ID of ${issuer}'s trust domain: spiffe://${domain}/…`;
}

type Trusted = {
  readonly name: string;
  readonly settings: IssuerSettings;
  readonly claims: readonly NamedClaim[];
  readonly source: KeySource;
};

/** Throws `server_error` where a file of keys cannot be used, or there is no issuer of our own. */
export async function open(block: JwtSettings, context: AttestorContext): Promise<Attestor<AssertionPeer>> {
  const { own, clock } = context;
  if (own === undefined)
    throw new IssuerError('server_error', 'attestors.jwt: a sidecar takes no assertions, its authority does');
  const others: Trusted[] = [];
  for (const [name, settings] of Object.entries(block.issuers)) {
    if (name === SELF) continue;
    if (settings.issuer === own.identifier)
      throw new IssuerError(
        'server_error',
        `attestors.jwt.issuers.${name} is our own issuer: call it ${SELF}`,
      );
    others.push(await openIssuer(name, settings, context));
  }
  return createAttestor(block, others, own, () => clock.now());
}

async function openIssuer(
  name: string,
  settings: IssuerSettings,
  context: AttestorContext,
): Promise<Trusted> {
  const source = await openSource(name, settings, context);
  if ((settings.jwks ?? settings.jwksFile) !== undefined)
    for (const warning of bundleWarnings(name, settings, await source.keys())) context.warn(warning);
  // JWT-SVID section 3: both stand for the same.
  const types = settings.trustDomain === undefined ? settings.types : [...settings.types, 'JOSE'];
  return { name, settings: { ...settings, types }, claims: namedClaims(settings.claims), source };
}

function ownIssuer(settings: IssuerSettings, { identifier, keys }: OwnIssuer): Trusted {
  const source = ownKeys(keys);
  const claims = namedClaims(settings.claims);
  return { name: SELF, settings: { ...settings, issuer: identifier }, claims, source };
}

async function openSource(
  name: string,
  // The schema lets one that is to be discovered not be without an issuer.
  { issuer = '', jwks, jwksUri, jwksFile, caFile, allowPrivate }: IssuerSettings,
  { clock, warn, onKeysFetched: onFetch }: AttestorContext,
): Promise<KeySource> {
  const elapsed = () => clock.elapsed();
  if (jwks !== undefined) return fixedKeys(jwks);
  if (jwksFile === undefined) {
    const source = remoteKeys({ name, issuer, jwksUri, caFile, allowPrivate, elapsed, warn, onFetch });
    source.keys().catch(() => undefined); // so that the first caller waits less
    return source;
  }
  try {
    return await fileKeys({ path: jwksFile, elapsed, warn });
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new IssuerError('server_error', `attestors.jwt.issuers.${name}: ${jwksFile}: ${reason}`, { cause });
  }
}

function createAttestor(
  block: JwtSettings,
  others: readonly Trusted[],
  own: OwnIssuer,
  now: () => number,
): Attestor<AssertionPeer> {
  const { [SELF]: self } = block.issuers;
  const trusted = self === undefined ? others : [ownIssuer(self, own), ...others];
  return {
    ...provable(block),
    peers: ['assertion'],
    async attest(peer) {
      const token = parseToken(peer.token);
      const issuer = trustedIssuer(trusted, token);
      const expected = { ...issuer.settings, audiences: peer.audiences };
      const expiresAt = assertClaims(token, expected, now());
      assertSigned(token, await keysFor(token, issuer.source));
      const { claims } = token;
      const described = describeToken(issuer.name, issuer.claims, claims, peer);
      return { ...described, expiresAt, assertion: { issuer: issuer.name, claims } };
    },
    confirm(_peer, { expiresAt }: Pick<Workload, 'expiresAt'>) {
      if (expiresAt === undefined || expiresAt <= now()) throw unaccepted('it has expired');
    },
    async close() {
      for (const { source } of others) source.close();
    },
    as: (issuer) => createAttestor(block, others, issuer, now),
  };
}

/** By the token's own word, which its signature has to prove. */
function trustedIssuer(trusted: readonly Trusted[], { claims }: ParsedToken): Trusted {
  const domain = trustDomainOf(claims);
  const issuer =
    trusted.find(({ settings }) => settings.issuer !== undefined && settings.issuer === claims.iss) ??
    trusted.find(({ settings }) => domain !== undefined && settings.trustDomain === domain);
  if (issuer === undefined) throw unaccepted('its issuer is not trusted here');
  return issuer;
}

async function keysFor(token: ParsedToken, source: KeySource) {
  const keys = await source.keys();
  return isKnownKey(token, keys) ? keys : source.freshKeys();
}
