/** The configured token files: whom each is for, and by which rule. */
import { chmod, mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Accounts, Names } from '../attestors/names.ts';
import type { LoadedConfig } from '../config.ts';
import type { Policy } from '../core/policy.ts';
import type { Workload } from '../core/ports.ts';
import type { TokenFile } from '../doors/token-files.ts';

export type Resolved = {
  readonly files: readonly TokenFile[];
  readonly warnings: readonly string[];
  readonly problems: readonly Problem[];
};

type Problem = { readonly path: string; readonly message: string };
type Entry = LoadedConfig['config']['tokens'][number];

/** `ownGid` is for files that name no group. */
export function resolveTokenFiles(
  { config }: Pick<LoadedConfig, 'config'>,
  policy: () => Policy,
  names: Names,
  ownGid: number,
): Resolved {
  const found = config.tokens.map((entry) => resolve(entry, policy, names, ownGid));
  return {
    files: found.flatMap((one) => ('file' in one ? [one.file] : [])),
    warnings: found.flatMap((one) => ('file' in one ? one.warnings : [])),
    problems: found.flatMap((one, index) =>
      'file' in one ? [] : [{ path: `tokens[${index}].${one.path}`, message: one.message }],
    ),
  };
}

type ResolvedFile = { readonly file: TokenFile; readonly warnings: readonly string[] };

function resolve(entry: Entry, policy: () => Policy, names: Names, ownGid: number): ResolvedFile | Problem {
  const { path, audience, mode, principalTags, rule } = entry;
  const uid = idOf(names.users(), entry.owner);
  const gid = entry.group === undefined ? undefined : idOf(names.groups(), entry.group);
  if (uid === undefined) return { path: 'owner', message: `there is no user ${entry.owner}` };
  if (entry.group !== undefined && gid === undefined)
    return { path: 'group', message: `there is no group ${entry.group}` };
  const owner = ownerWorkload(names, uid, gid);
  const vouched = policy().vouch(owner, audience, rule);
  if (vouched === undefined)
    return {
      path: 'audience',
      message: `no rule${rule === undefined ? '' : ` "${rule}"`} allows ${audience} to ${entry.owner}`,
    };
  const current = () => policy().vouch(owner, audience, rule) ?? { workload: owner, rule };
  const warnings =
    vouched.unproven.length === 0
      ? []
      : [
          `${path} takes rule "${vouched.rule}" on the configuration's word for ${vouched.unproven.join(' ')}: whoever can read the file has the token`,
        ];
  return {
    file: { path, audience, uid, gid: gid ?? ownGid, mode, principalTags, vouched: current },
    warnings,
  };
}

/**
 * Directories of token files right below the socket's, which is ours and mounted where the workload is: in a
 * volume nobody else could make them. No deeper one, since a symbolic link could lead there. Whatever keeps
 * one from being made the file's own refresh tells of.
 */
export async function makeDirectories(files: readonly TokenFile[], socketPath: string): Promise<void> {
  for (const directory of new Set(files.map(({ path }) => dirname(path))))
    if (dirname(directory) === dirname(socketPath))
      await mkdir(directory)
        .then(() => chmod(directory, DIRECTORY_MODE))
        .catch(() => undefined);
}

/** Whatever the umask: who may read a file its own mode says. */
const DIRECTORY_MODE = 0o755;

/** A number is an id, whether it has a name or not. */
export function idOf(accounts: Accounts, nameOrId: string): number | undefined {
  return /^\d{1,10}$/.test(nameOrId) ? Number(nameOrId) : accounts.idOf.get(nameOrId);
}

/** What is true of whoever may read a file: its owner, and the group where one is named. */
function ownerWorkload(names: Names, uid: number, gid: number | undefined): Workload {
  const facts = withoutGaps({
    'unix.uid': String(uid),
    'unix.user': names.users().nameOf.get(uid),
    'unix.gid': gid === undefined ? undefined : String(gid),
    'unix.group': gid === undefined ? undefined : names.groups().nameOf.get(gid),
  });
  const selectors = Object.entries(facts).map(([fact, value]) => `${fact.replace('.', ':')}:${value}`);
  return { selectors: new Set(selectors), facts, unproven: {} };
}

function withoutGaps(values: Readonly<Record<string, string | undefined>>): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
