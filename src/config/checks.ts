/** What settings say about each other: contradictions, and what is allowed but rarely meant. */
import { DEFAULT_CACHE_SECONDS } from './listeners.ts';
import { pathFaults } from './paths.ts';
import { formatPath, type Problem } from './problems.ts';
import type { Decoded } from './schema.ts';
import { formatDuration, formatListen, isLoopback } from './units.ts';

const DAY = 86_400;

type Report = (path: readonly (string | number)[], message: string) => void;
export type Findings = { readonly problems: readonly Problem[]; readonly warnings: readonly string[] };

/** http is for development only, so an http issuer is one. */
export function isDevelopment(issuer: string): boolean {
  return issuer.startsWith('http:');
}

/** Default: a day, as verifiers keep a JWKS for as long; a development issuer's verifiers obey Cache-Control. */
export function publishAtLeast({ issuer, public: listener, keys }: Partial<Decoded>): number {
  if (keys?.publishAtLeastSeconds !== undefined) return keys.publishAtLeastSeconds;
  const twice = 2 * (listener?.cacheForSeconds ?? DEFAULT_CACHE_SECONDS);
  return issuer !== undefined && isDevelopment(issuer) ? twice : Math.max(DAY, twice);
}

/** Keys that could not be decoded are absent, and what depends on them is left unsaid. */
export function checkSettings(
  decoded: Partial<Decoded>,
  tree: Readonly<Record<string, unknown>>,
  file: string | undefined,
): Findings {
  const problems: Problem[] = [];
  const warnings: string[] = [];
  const report: Report = (path, message) => problems.push({ path: formatPath(path), message });
  const warn: Report = (path, message) => warnings.push(`${formatPath(path)}: ${message}`);
  checkRotation(decoded, report);
  for (const { path, message } of pathFaults(decoded, file)) report(path, message);
  checkListeners(decoded, report, warn);
  checkNames(tree, report);
  warnOfRules(decoded, warn);
  return { problems, warnings };
}

function checkRotation(decoded: Partial<Decoded>, report: Report): void {
  const { issuer, keys, public: listener } = decoded;
  if (keys === undefined || issuer === undefined) return;
  const published = publishAtLeast(decoded);
  const isGiven = keys.publishAtLeastSeconds !== undefined;
  if (isGiven && published < DAY && !isDevelopment(issuer))
    report(['keys', 'publishAtLeast'], 'is shorter than 24h: verifiers may keep an old JWKS for a day');
  if (listener !== undefined && published < 2 * listener.cacheForSeconds)
    report(
      ['keys', 'publishAtLeast'],
      `is shorter than twice public.cacheFor (${formatDuration(listener.cacheForSeconds)})`,
    );
  if (published > keys.rotateEverySeconds)
    report(
      ['keys', isGiven ? 'publishAtLeast' : 'rotateEvery'],
      `a key cannot be published ${formatDuration(published)} before it signs when keys rotate every ${formatDuration(keys.rotateEverySeconds)}`,
    );
}

function checkListeners(
  { issuer, public: listener, status }: Partial<Decoded>,
  report: Report,
  warn: Report,
): void {
  if (issuer === undefined) return;
  if (!isDevelopment(issuer) && new URL(issuer).port !== '')
    warn(['issuer'], 'has a port: AWS takes no such issuer');
  if (listener === undefined) {
    warn(['public'], 'is not set: publish what `mintmark jwks` prints where the issuer URL points');
    return;
  }
  const { listen, tls } = listener;
  const isOpen = !isLoopback(listen.host);
  if (isOpen && tls.kind === 'none')
    warn(
      ['public', 'tls'],
      isDevelopment(issuer)
        ? 'is not set: this development issuer can be reached from other machines'
        : 'is not set and others can reach the listener: TLS is then the job of a proxy in front of it',
    );
  if (isDevelopment(issuer) && tls.kind !== 'none') report(['issuer'], 'is http, but public.tls is set');
  if (
    typeof status !== 'string' &&
    status &&
    status.listen.port !== 0 &&
    formatListen(status.listen) === formatListen(listen)
  )
    report(['status', 'listen'], 'is the address of public.listen too');
}

/** Read from the tree, so that a name counts although its rule has another mistake. */
function checkNames({ rules, tokens }: Readonly<Record<string, unknown>>, report: Report): void {
  const names = listOf(rules).map(({ name }) => name);
  names.forEach((name, index) => {
    if (name !== undefined && names.indexOf(name) < index)
      report(['rules', index, 'name'], `is the name of rules[${names.indexOf(name)}] too`);
  });
  listOf(tokens).forEach(({ rule }, index) => {
    if (rule !== undefined && !names.includes(rule))
      report(
        ['tokens', index, 'rule'],
        `there is no rule of this name; rules: ${names.join(', ') || 'none'}`,
      );
  });
}

function listOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  return list.map((item) => (typeof item === 'object' && item !== null ? { ...item } : {}));
}

function warnOfRules({ issuer, rules }: Partial<Decoded>, warn: Report): void {
  if (rules?.length === 0) warn(['rules'], 'there are none: nobody gets a token');
  rules?.forEach(({ audiences, audiencePatterns }, index) => {
    if (audiences.length === 0 && audiencePatterns.length === 0)
      warn(['rules', index, 'audiences'], 'is empty: this rule gives nobody a token');
    const starred = audiences.find((each) => each.includes('*'));
    if (starred !== undefined)
      warn(
        ['rules', index, 'audiences'],
        `"${starred}" is taken exactly, its * too: did you mean audiencePatterns?`,
      );
    if (audiencePatterns.some((glob) => /^\*+$/.test(glob)) && issuer !== undefined && !isDevelopment(issuer))
      warn(
        ['rules', index, 'audiencePatterns'],
        'takes any audience: a token for one could be meant for all',
      );
  });
}
