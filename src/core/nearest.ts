/** Why was I denied: the rules that came nearest, and what kept each from matching. */
import type { CompiledRule, Rule } from './policy.ts';
import type { NearRule, Refused, Selector, TokenRequest, Workload } from './ports.ts';
import { kindOf } from './selectors.ts';

const NEAREST_SHOWN = 3;

/** What kept a request from being granted, and the rules that were nearest to granting it. */
export function refuse(rules: readonly CompiledRule[], workload: Workload, request: TokenRequest): Refused {
  const near = rules.map((compiled) => ({ compiled, near: nearRule(compiled, workload, request) }));
  near.sort((a, b) => distance(a.near) - distance(b.near));
  const shown = near.filter(({ compiled }) => compiled.rule.explain);
  const matching = shown
    .filter((entry) => entry.near.fails.length === 0)
    .map(({ compiled }) => compiled.rule);
  return {
    allowed: false,
    ...reasonOf(matching, request),
    nearest: near.slice(0, NEAREST_SHOWN).map((entry) => entry.near),
    shown: shown.slice(0, NEAREST_SHOWN).map((entry) => entry.near),
  };
}

/** `matching` are the rules whose selectors all hold, of those that may be told: the code shows what the others are. */
function reasonOf(matching: readonly Rule[], { audience }: TokenRequest): Pick<Refused, 'code' | 'reason'> {
  const reason = `no rule allows ${audience.join(' ')} to this caller`;
  if (matching.length === 0) return { code: 'access_denied', reason };
  if (audience.length === 1 || matching.some((rule) => rule.multipleAudiences))
    return { code: 'invalid_target', reason };
  return { code: 'single_audience', reason: 'no rule gives this caller one token for several audiences' };
}

function nearRule(
  { rule, allowsAudience }: CompiledRule,
  workload: Workload,
  request: TokenRequest,
): NearRule {
  const isHeld = (selector: string) => workload.selectors.has(selector);
  return {
    rule: rule.name,
    holds: rule.match.filter(isHeld),
    fails: rule.match
      .filter((selector) => !isHeld(selector))
      .map((selector) => ({ selector, instead: insteadOf(selector, workload) })),
    allowsAudience: allowsAudience(request.audience),
  };
}

/** The value that the caller has in place of the one asked for, or why it has none. */
function insteadOf(selector: Selector, workload: Workload): string {
  const kind = kindOf(selector);
  const [, reason] =
    Object.entries(workload.unproven).find(([missing]) => selector.startsWith(`${missing}:`)) ?? [];
  if (reason !== undefined) return reason;
  const values = [...workload.selectors].filter((held) => kindOf(held) === kind);
  return values.length === 0 ? 'not attested' : values.map((held) => held.slice(kind.length + 1)).join(', ');
}

function distance(near: NearRule): number {
  const total = near.holds.length + near.fails.length;
  return near.fails.length / total + (near.allowsAudience ? 0 : 0.5);
}
