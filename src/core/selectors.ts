/** The parts of selectors, and the facts that go with them. */
import type { Facts, Selector, SelectorKind } from './ports.ts';

/** `unix:uid:1000` → `unix:uid`. */
export function kindOf(selector: string): SelectorKind {
  return selector.split(':', 2).join(':');
}

/** `unix:uid` → `unix.uid`. */
export function factOf(kind: SelectorKind): string {
  return kind.replace(':', '.');
}

/** `jwt.claim.ref` is of `jwt:claim`, as `jwt.claim` would be. */
export function isFactOf(fact: string, kind: SelectorKind): boolean {
  const own = factOf(kind);
  return fact === own || fact.startsWith(`${own}.`);
}

/**
 * `unix:user:web` pins `unix.user` to `web` for whoever the rule matches. `keyed` are facts with a
 * key of their own: `jwt:claim:ref:main` pins `jwt.claim.ref`.
 */
export function pinnedFacts(match: readonly Selector[], keyed: readonly string[] = []): Facts {
  const pins = match.flatMap((selector) => {
    const kind = kindOf(selector);
    const value = selector.slice(kind.length + 1);
    const deeper = keyed
      .map((fact) => [fact, fact.slice(factOf(kind).length + 1)] as const)
      .filter(([fact, key]) => isFactOf(fact, kind) && value.startsWith(`${key}:`))
      .map(([fact, key]) => [fact, value.slice(key.length + 1)] as const);
    return [[factOf(kind), value] as const, ...deeper];
  });
  return Object.fromEntries(pins);
}
