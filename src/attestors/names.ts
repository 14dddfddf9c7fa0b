/** Names of users and groups, from passwd(5) and group(5). Directory services (NSS) are not asked. */
import { readFileSync, statSync } from 'node:fs';
import { versionOf } from './file-version.ts';

/** The names that stand for exactly one id, and the ids that have exactly one name. */
export type Accounts = {
  readonly nameOf: ReadonlyMap<number, string>;
  readonly idOf: ReadonlyMap<string, number>;
};

export type Names = {
  readonly users: () => Accounts;
  readonly groups: () => Accounts;
};

const PASSWD_FIELDS = 7;
const GROUP_FIELDS = 4;
const ID_FIELD = 2;
const LOOK_AGAIN_SECONDS = 1;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?$/;

export const parsePasswd = (text: string): Accounts => parseAccounts(text, PASSWD_FIELDS);
export const parseGroup = (text: string): Accounts => parseAccounts(text, GROUP_FIELDS);

/** Lines that are not of the file's form (half written, NIS) are passed over. */
function parseAccounts(text: string, fieldCount: number): Accounts {
  const nameOf = new Map<number, string>();
  const idOf = new Map<string, number>();
  const ambiguousIds = new Set<number>();
  const ambiguousNames = new Set<string>();
  for (const line of text.split('\n')) {
    const fields = line.split(':');
    const name = fields[0] ?? '';
    const digits = fields[ID_FIELD] ?? '';
    if (fields.length !== fieldCount || !NAME.test(name) || !/^\d{1,10}$/.test(digits)) continue;
    const id = Number(digits);
    if ((nameOf.get(id) ?? name) !== name) ambiguousIds.add(id);
    if ((idOf.get(name) ?? id) !== id) ambiguousNames.add(name);
    nameOf.set(id, name);
    idOf.set(name, id);
  }
  const isCertain = (name: string, id: number) => !ambiguousIds.has(id) && !ambiguousNames.has(name);
  return {
    nameOf: new Map([...nameOf].filter(([id, name]) => isCertain(name, id))),
    idOf: new Map([...idOf].filter(([name, id]) => isCertain(name, id))),
  };
}

/** Reads the files again when they change, which is looked at once a second at most. `elapsed` is in seconds. */
export function openNames(
  elapsed: () => number,
  passwd: string = '/etc/passwd',
  group: string = '/etc/group',
): Names {
  return {
    users: reading(passwd, parsePasswd, elapsed),
    groups: reading(group, parseGroup, elapsed),
  };
}

const NOBODY: Accounts = { nameOf: new Map(), idOf: new Map() };

function reading(path: string, parse: (text: string) => Accounts, elapsed: () => number): () => Accounts {
  let accounts = NOBODY;
  let version = '';
  let lookAgainAt = Number.NEGATIVE_INFINITY;
  return () => {
    const now = elapsed();
    if (now < lookAgainAt) return accounts;
    lookAgainAt = now + LOOK_AGAIN_SECONDS;
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    const found = stats === undefined ? '' : versionOf(stats);
    if (found !== version) accounts = found === '' ? NOBODY : parse(readFileSync(path, 'utf8'));
    version = found;
    return accounts;
  };
}
