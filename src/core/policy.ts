/**
 * Who may have which token. Compiled once from the configuration's rules; pure.
 * Rules are read from the top: the first whose selectors all hold and that
 * allows the audience decides.
 */
import { type AudienceMatch, compileAudiences } from './audience.ts';
import { type ClaimTemplates, compileClaims, renderClaims } from './claim-templates.ts';
import { refuse } from './nearest.ts';
import type {
  Algorithm,
  Decision,
  Facts,
  NearRule,
  Provable,
  Refused,
  SelectorKind,
  TokenRequest,
  Workload,
} from './ports.ts';
import { factOf, isFactOf, kindOf, pinnedFacts } from './selectors.ts';
import { parseTemplate, renderSubject, subjectProblems, type Template, variablesOf } from './template.ts';

/** One rule, as the configuration gives it. */
export type Rule = {
  readonly name: string;
  /** All must hold. */
  readonly match: readonly string[];
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly audiencePatterns: readonly string[];
  readonly claims: Readonly<Record<string, unknown>>;
  readonly ttlSeconds: number;
  readonly maxTtlSeconds: number;
  readonly algorithm: Algorithm;
  readonly multipleAudiences: boolean;
  readonly principalTags?: Readonly<Record<string, string>> | undefined;
  readonly transitiveTags?: readonly string[] | undefined;
  readonly sourceIdentity?: string | undefined;
  /** False: the caller is never told of this rule. */
  readonly explain: boolean;
};

export type PolicyContext = {
  readonly issuer: string;
  /** Facts of the installation that every caller shares, such as `host`. */
  readonly constants: Facts;
} & Provable;

export type PolicyProblem = {
  readonly path: string;
  readonly message: string;
  /** It names what no attestor or door of the configuration knows. */
  readonly isUnknown?: boolean;
};

export interface Policy {
  /** The selector kinds that some rule or template needs. */
  readonly wanted: ReadonlySet<SelectorKind>;
  /** The longest life that a rule allows, in seconds. */
  readonly longestTtlSeconds: number;
  readonly algorithms: readonly Algorithm[];
  decide(workload: Workload, request: TokenRequest): Decision;
  /**
   * For a token file, which has no process to attest: the first rule (or the one
   * named) that allows the audience and agrees with what is known of the file's
   * owner. Its other selectors are taken on the configuration's word. Undefined
   * where there is none.
   */
  vouch(owner: Workload, audience: string, rule?: string): Vouched | undefined;
  /** The selector kinds that a token of the rule rests on: its matches and the facts in it. */
  restsOn(rule: string): readonly SelectorKind[];
}

export type Vouched = {
  readonly rule: string;
  readonly workload: Workload;
  /** What nobody proves: true because the configuration says so. */
  readonly unproven: readonly string[];
};

export type CompiledRule = {
  readonly rule: Rule;
  readonly allowsAudience: AudienceMatch;
  readonly subject: Template;
  readonly claims: ClaimTemplates;
};

export const MIN_TTL_SECONDS = 60;

/** Throws nothing: every mistake is in `problems`, each with its path below `rules`. */
export function compilePolicy(
  rules: readonly Rule[],
  context: PolicyContext,
): { readonly policy: Policy; readonly problems: readonly PolicyProblem[] } {
  const problems: PolicyProblem[] = [];
  const compiled = rules.map((rule, index) => {
    const report: Report = (key, message, isUnknown = false) =>
      problems.push({ path: `rules[${index}].${key}`, message, isUnknown });
    return compileRule(rule, context, report);
  });
  return { policy: createPolicy(compiled, context), problems };
}

type Report = (key: string, message: string, isUnknown?: boolean) => void;

function compileRule(rule: Rule, context: PolicyContext, report: Report): CompiledRule {
  reportSelectors(rule, context, report);
  const { claimedKinds = [] } = context;
  if (rule.match.length > 0 && rule.match.every((selector) => claimedKinds.includes(kindOf(selector))))
    report(
      'match',
      'rests on nothing but what a sidecar says of its caller: name the pod too, as in k8s:sa:web',
    );
  const parse = (key: string, text: string) => {
    const template = attempt(key, report, () => parseTemplate(text)) ?? { text, parts: [text] };
    reportUnknown(template, context, (message) => report(key, message, true));
    for (const kind of claimedKinds)
      if (variablesOf(template).includes(factOf(kind)) && !rule.match.some((each) => kindOf(each) === kind))
        report(key, `{${factOf(kind)}} is what a sidecar says: only a value that match names may be used`);
    for (const fault of unqualified(template, rule, context)) report(key, fault);
    return template;
  };
  const subject = parse('subject', rule.subject);
  const known = { ...context.constants, ...pinnedFacts(rule.match, context.facts) };
  for (const problem of subjectProblems(subject, known)) report('subject', problem);
  const claims = compileClaims(rule, parse);
  const allowsAudience =
    attempt('audiencePatterns', report, () => compileAudiences(rule, context.issuer)) ?? (() => false);
  return { rule, subject, claims, allowsAudience };
}

function reportSelectors(
  { match }: Rule,
  { kinds, qualifiedBy = {}, faultOf }: PolicyContext,
  report: Report,
) {
  for (const [index, selector] of match.entries()) {
    const kind = kindOf(selector);
    const place = `match[${index}]`;
    if (!kinds.includes(kind)) report(place, `no attestor proves ${kind}; known: ${kinds.join(' ')}`, true);
    const qualifier = qualifiedBy[kind];
    if (qualifier !== undefined && !match.some((each) => kindOf(each) === qualifier))
      report(place, `${kind} means something only beside ${qualifier}: match that too`);
    const fault = faultOf?.(selector);
    if (fault !== undefined) report(place, fault, true);
  }
}

/** Values that two issuers may both use are told apart by the match or by the text itself. */
function unqualified(template: Template, { match }: Rule, { qualifiedBy = {} }: PolicyContext) {
  const names = variablesOf(template);
  return Object.entries(qualifiedBy).flatMap(([kind, qualifier]) => {
    if (match.some((each) => kindOf(each) === qualifier) || names.includes(factOf(qualifier))) return [];
    return names
      .filter((name) => isFactOf(name, kind))
      .map((name) => `{${name}} means something only beside ${qualifier}: match that too`);
  });
}

/** Undefined where it cannot be compiled, which is reported under the key. */
function attempt<T>(key: string, report: Report, compile: () => T): T | undefined {
  try {
    return compile();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    report(key, error.message);
    return undefined;
  }
}

function reportUnknown(template: Template, context: PolicyContext, report: (message: string) => void): void {
  const { constants, kinds, pluralKinds = [], facts = [] } = context;
  const single = kinds.filter((kind) => !pluralKinds.includes(kind));
  const own = single.map(factOf).filter((fact) => !facts.some((each) => each.startsWith(`${fact}.`)));
  const known = [...Object.keys(constants), ...own, ...facts];
  for (const name of variablesOf(template)) {
    if (!known.includes(name))
      report(`nothing is known as {${name}}; known: ${known.map((fact) => `{${fact}}`).join(' ')}`);
  }
}

function createPolicy(rules: readonly CompiledRule[], context: PolicyContext): Policy {
  const wantedOf = new Map(rules.map((each) => [each.rule.name, wantedBy(each, context.kinds)]));
  const wanted = new Set([...wantedOf.values()].flat());
  const algorithms = [...new Set(rules.map(({ rule }) => rule.algorithm))];
  return {
    wanted,
    algorithms,
    longestTtlSeconds: Math.max(MIN_TTL_SECONDS, ...rules.map(({ rule }) => rule.maxTtlSeconds)),
    decide(workload, request) {
      const granting = rules.find(
        ({ rule, allowsAudience }) =>
          (request.rule === undefined || rule.name === request.rule) &&
          rule.match.every((selector) => workload.selectors.has(selector)) &&
          allowsAudience(request.audience),
      );
      return granting === undefined
        ? refuse(rules, workload, request)
        : grant(granting, workload, request, context.constants, () => refuse(rules, workload, request));
    },
    vouch: (owner, audience, name) => vouch(rules, context, owner, audience, name),
    restsOn: (name) => wantedOf.get(name) ?? [],
  };
}

function vouch(
  rules: readonly CompiledRule[],
  { facts }: PolicyContext,
  owner: Workload,
  audience: string,
  name?: string,
): Vouched | undefined {
  const known = new Set([...owner.selectors].map(kindOf));
  const isOwners = ({ match }: Rule) =>
    match.some((selector) => owner.selectors.has(selector)) &&
    match.every((selector) => owner.selectors.has(selector) || !known.has(kindOf(selector)));
  const found = rules.find(
    ({ rule, allowsAudience }) =>
      (name === undefined || rule.name === name) && allowsAudience([audience]) && isOwners(rule),
  );
  if (found === undefined) return undefined;
  const { match } = found.rule;
  return {
    rule: found.rule.name,
    unproven: match.filter((selector) => !owner.selectors.has(selector)),
    workload: {
      ...owner,
      selectors: new Set([...owner.selectors, ...match]),
      facts: { ...pinnedFacts(match, facts), ...owner.facts },
    },
  };
}

function grant(
  { rule, subject, claims }: CompiledRule,
  workload: Workload,
  request: TokenRequest,
  constants: Facts,
  refuseAll: () => Refused,
): Decision {
  const facts = { ...workload.facts, ...constants };
  const rendered = renderSubject(subject, facts);
  if ('missing' in rendered) {
    const { missing, why } = rendered;
    if (!rule.explain) return withheld(refuseAll(), rule.name, { selector: `{${missing}}`, instead: why });
    return refusal('access_denied', `${nameOf(rule)}: its subject needs {${missing}}, which ${why}`);
  }
  const ttlSeconds = request.ttlSeconds ?? rule.ttlSeconds;
  if (!(ttlSeconds >= MIN_TTL_SECONDS && ttlSeconds <= rule.maxTtlSeconds))
    return refusal(
      'invalid_request',
      `${nameOf(rule)} gives a life of ${MIN_TTL_SECONDS} to ${rule.maxTtlSeconds} seconds`,
    );
  const extra = renderClaims(claims, rule.transitiveTags, request, facts);
  if (extra === undefined) return refusal('invalid_request', `${nameOf(rule)} has no principal tags to give`);
  return {
    allowed: true,
    rule: rule.name,
    subject: rendered.value,
    audience: request.audience,
    claims: extra,
    ttlSeconds,
    algorithm: rule.algorithm,
    ...(rule.explain ? {} : { isHidden: true }),
  };
}

/** To the caller as if no rule matched; the log has the fact that the hidden one lacks. */
function withheld(refused: Refused, rule: string, fail: NearRule['fails'][number]): Refused {
  const nearest = refused.nearest.map((near) => (near.rule === rule ? { ...near, fails: [fail] } : near));
  return { ...refused, nearest };
}

/** The reason reaches the caller, so it names the rule only where its owner lets it. */
function nameOf(rule: Rule): string {
  return rule.explain ? `rule "${rule.name}"` : 'the rule that matches';
}

function refusal(code: Refused['code'], reason: string): Refused {
  return { allowed: false, code, reason, nearest: [], shown: [] };
}

function wantedBy(
  { rule, subject, claims }: CompiledRule,
  kinds: readonly SelectorKind[],
): readonly SelectorKind[] {
  const variables = [...variablesOf(subject), ...claims.variables];
  return [
    ...rule.match.map(kindOf),
    ...kinds.filter((kind) => variables.some((name) => isFactOf(name, kind))),
  ];
}
