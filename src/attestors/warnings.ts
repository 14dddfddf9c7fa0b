/** Rules that promise more than attestation can hold (design: SECURITY.md). */
import { basename } from 'node:path';
import type { Selector } from '../core/ports.ts';

const INTERPRETERS =
  /^(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|java|lua|luajit|tclsh|guile|dotnet|mono|pwsh|bash|dash|ash|sh|zsh|ksh|mksh|fish|busybox|toybox|gawk|mawk|awk|env|systemd-run)[0-9.]*$/;
const NOBODY = ['unix:uid:65534', 'unix:user:nobody'];
const ACCOUNT = /^unix:(?:uid|user):|^systemd:unit:|^docker:/;
const EXECUTABLE = /^unix:(?:path|sha256):/;

const FORMS = [
  { kind: 'unix:uid:', value: /^(0|[1-9]\d{0,9})$/, name: 'a number' },
  { kind: 'unix:gid:', value: /^(0|[1-9]\d{0,9})$/, name: 'a number' },
  { kind: 'unix:supplementary-gid:', value: /^(0|[1-9]\d{0,9})$/, name: 'a number' },
  { kind: 'unix:sha256:', value: /^[0-9a-f]{64}$/, name: '64 lower-case hexadecimal digits' },
  { kind: 'unix:path:', value: /^\//, name: 'an absolute path' },
  { kind: 'docker:label:', value: /^[^:]+:/, name: 'KEY:VALUE' },
  { kind: 'docker:image-id:', value: /^sha256:[0-9a-f]{64}$/, name: 'sha256: with all 64 digits' },
  { kind: 'docker:image-digest:', value: /^sha256:[0-9a-f]{64}$/, name: 'sha256: with all 64 digits' },
  { kind: 'docker:container-id:', value: /^[0-9a-f]{64}$/, name: 'all 64 digits' },
  { kind: 'docker:container-name:', value: /^[^/]/, name: 'the name without a slash before it' },
  { kind: 'sidecar:unix-uid:', value: /^(0|[1-9]\d{0,9})$/, name: 'a number' },
  { kind: 'sidecar:unix-gid:', value: /^(0|[1-9]\d{0,9})$/, name: 'a number' },
  {
    kind: 'sidecar:container-name:',
    value: /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/,
    name: "a container's name",
  },
];

type Attestors = Readonly<Record<string, unknown>>;

/**
 * What to tell the operator of a rule's `match`: one sentence each, for the log when the
 * configuration is read. `attestors`: the settings of those that there are.
 */
export function warnings(match: readonly Selector[], attestors: Attestors = {}): string[] {
  const found: string[] = [...unlistedKeys(match, attestors)];
  for (const selector of match) {
    const form = FORMS.find(({ kind }) => selector.startsWith(kind));
    if (form !== undefined && !form.value.test(selector.slice(form.kind.length)))
      found.push(`${selector} never holds: it is ${form.kind} and ${form.name}`);
    if (selector.startsWith('unix:path:') && INTERPRETERS.test(basename(selector)))
      found.push(`${selector} is an interpreter: the rule holds for every script that it can be made to run`);
    if (NOBODY.includes(selector))
      found.push(`${selector} is shared by many programs, and inside a user namespace it is never matched`);
  }
  if (
    match.some((selector) => EXECUTABLE.test(selector)) &&
    !match.some((selector) => ACCOUNT.test(selector))
  )
    found.push('an executable alone proves little: name the user or the unit too, for any user may start it');
  return found;
}

/** Labels and the like are looked at only where the attestor's settings name their keys. */
const LISTED = [
  { kind: 'docker:label:', attestor: 'docker', setting: 'labels' },
  { kind: 'k8s:pod-label:', attestor: 'kubernetes', setting: 'labels' },
  { kind: 'k8s:pod-annotation:', attestor: 'kubernetes', setting: 'annotations' },
] as const;

function unlistedKeys(match: readonly Selector[], attestors: Attestors): readonly string[] {
  return match.flatMap((selector) => {
    const listed = LISTED.find(({ kind }) => selector.startsWith(kind));
    const block = listed && (attestors[listed.attestor] as Readonly<Record<string, unknown>> | undefined);
    if (listed === undefined || block === undefined) return [];
    const [key = ''] = selector.slice(listed.kind.length).split(':');
    if ((block[listed.setting] as readonly string[]).includes(key)) return [];
    return [`${selector} never holds: attestors.${listed.attestor}.${listed.setting} does not name ${key}`];
  });
}
