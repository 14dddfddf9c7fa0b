/** Rules that promise more than attestation can hold (design: SECURITY.md). */
import { basename } from 'node:path';
import type { Selector } from '../core/ports.ts';

const INTERPRETERS =
  /^(?:python|pypy|perl|ruby|node|nodejs|deno|bun|php|java|lua|luajit|tclsh|guile|dotnet|mono|pwsh|bash|dash|ash|sh|zsh|ksh|mksh|fish|busybox|toybox|gawk|mawk|awk|env|systemd-run)[0-9.]*$/;
const NOBODY = ['unix:uid:65534', 'unix:user:nobody'];
const ACCOUNT = /^unix:(?:uid|user):|^systemd:unit:/;
const EXECUTABLE = /^unix:(?:path|sha256):/;

/** What to tell the operator of a rule's `match`: one sentence each, for the log when the configuration is read. */
export function warnings(match: readonly Selector[]): string[] {
  const found: string[] = [];
  for (const selector of match) {
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
