/** What a verified token says, as selectors and facts. */
import type { AssertionPeer, ClaimSet, SelectorKind, Workload } from '../core/ports.ts';
import { factOf } from '../core/selectors.ts';
import type { IssuerSettings } from './jwt-settings.ts';
import { audiencesOf } from './jwt-verify.ts';
import type { UnprovenReason } from './reasons.ts';

export const kinds = ['jwt:issuer', 'jwt:subject', 'jwt:audience', 'jwt:claim', 'oauth:client'] as const;
/** Facts without a selector: `jti` and `iss`. */
export const OTHER_FACTS = ['jwt.id', 'jwt.issuer-url'] as const;

export type NamedClaim = { readonly name: string; readonly path: readonly string[] };

const VALUE_MAX_LENGTH = 512;
const VALUES_MAX = 100;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

export function namedClaims(claims: IssuerSettings['claims']): readonly NamedClaim[] {
  return claims.map((claim) => (typeof claim === 'string' ? { name: claim, path: [claim] } : claim));
}

/** `jwt.claim.ref` */
export function factOfClaim(name: string): string {
  return `jwt.claim.${name}`;
}

type Draft = {
  readonly selectors: Set<string>;
  readonly facts: Record<string, string>;
  readonly unproven: Record<SelectorKind, string>;
};

/** `name` is what the configuration calls the issuer; the claims are verified. */
export function describeToken(
  name: string,
  named: readonly NamedClaim[],
  claims: ClaimSet,
  { client }: Pick<AssertionPeer, 'client'>,
): Pick<Workload, 'selectors' | 'facts' | 'unproven'> {
  const draft: Draft = { selectors: new Set(), facts: {}, unproven: {} };
  const single = (kind: SelectorKind, value: unknown) => add(draft, kind, factOf(kind), value);
  single('jwt:issuer', name);
  single('jwt:subject', claims.sub);
  const audiences = audiencesOf(claims);
  single('jwt:audience', audiences.length === 1 ? audiences[0] : audiences);
  if (client !== undefined) single('oauth:client', client);
  for (const { name: claim, path } of named)
    add(draft, `jwt:claim:${claim}`, factOfClaim(claim), valueAt(claims, path));
  addFact(draft, 'jwt.id', claims.jti);
  addFact(draft, 'jwt.issuer-url', claims.iss);
  return draft;
}

/** A selector for the value or for each of a list; a fact for a value alone. All of it or nothing. */
function add({ selectors, facts, unproven }: Draft, key: string, fact: string, value: unknown): void {
  const texts = textsOf(value);
  if (typeof texts === 'string') {
    unproven[key] = texts;
    return;
  }
  for (const text of texts) selectors.add(`${key}:${text}`);
  if (!Array.isArray(value) && texts[0] !== undefined) facts[fact] = texts[0];
}

function addFact({ facts }: Draft, fact: string, value: unknown): void {
  const texts = typeof value === 'string' ? textsOf(value) : [];
  if (typeof texts !== 'string' && texts[0] !== undefined) facts[fact] = texts[0];
}

function textsOf(value: unknown): readonly string[] | UnprovenReason {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (value === undefined || list.length === 0) return 'no_claim';
  if (list.length > VALUES_MAX) return 'too_many_values';
  const reason = list.map(reasonAgainst).find((each) => each !== undefined);
  return reason ?? list.map(String);
}

function reasonAgainst(value: unknown): UnprovenReason | undefined {
  if (typeof value === 'boolean') return undefined;
  // Above 2^53 two numbers read as the same one.
  if (typeof value === 'number') return isExact(value) ? undefined : 'number_not_exact';
  if (typeof value !== 'string') return 'value_not_plain';
  if (value === '') return 'value_empty';
  if (value.length > VALUE_MAX_LENGTH) return 'value_too_long';
  return CONTROL.test(value) || !value.isWellFormed() ? 'value_not_text' : undefined;
}

function isExact(value: number): boolean {
  return Number.isInteger(value) ? Number.isSafeInteger(value) : Number.isFinite(value);
}

/** Own members only. */
function valueAt(claims: ClaimSet, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, step) =>
      typeof value === 'object' && value !== null && !Array.isArray(value) && Object.hasOwn(value, step)
        ? (value as ClaimSet)[step]
        : undefined,
    claims,
  );
}
