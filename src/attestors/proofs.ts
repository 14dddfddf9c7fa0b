/** Facts that were proven or not, and the Workload that they make. */
import { readFileSync } from 'node:fs';
import type { SelectorKind, UnixPeer, Workload } from '../core/ports.ts';
import { parseUnit } from './cgroup.ts';
import { DELETED, type Executable, seesOrdinaryPaths } from './executable.ts';
import type { Accounts } from './names.ts';
import type { UnprovenReason } from './reasons.ts';

export type Proof = { readonly value: string } | { readonly unproven: UnprovenReason };
export type Proofs = readonly (readonly [SelectorKind, Proof])[];

/** Of whom nothing is known. */
export const NOTHING: Workload = { selectors: new Set(), facts: {}, unproven: {} };

/** The workload with more known of it. */
export function extend(known: Workload, proofs: Proofs): Workload {
  const selectors = new Set(known.selectors);
  const facts: Record<string, string> = { ...known.facts };
  const unproven: Record<SelectorKind, string> = { ...known.unproven };
  for (const [kind, proof] of proofs) {
    if ('value' in proof) {
      selectors.add(`${kind}:${proof.value}`);
      facts[kind.replace(':', '.')] = proof.value;
    } else unproven[kind] = proof.unproven;
  }
  return { selectors, facts, unproven };
}

/** The ids of a peer and their names. */
export function proveAccounts(peer: UnixPeer, users: Accounts, groups: Accounts): Workload {
  const workload = extend(NOTHING, [
    ['unix:uid', { value: String(peer.uid) }],
    ['unix:user', proveName(users, peer.uid)],
    ['unix:gid', { value: String(peer.gid) }],
    ['unix:group', proveName(groups, peer.gid)],
  ]);
  const supplementary = peer.supplementaryGids.map((gid) => `unix:supplementary-gid:${gid}`);
  return { ...workload, selectors: new Set([...workload.selectors, ...supplementary]) };
}

function proveName(accounts: Accounts, id: number): Proof {
  const name = accounts.nameOf.get(id);
  return name === undefined ? { unproven: 'no_name' } : { value: name };
}

/** The path of an executable, if it names the same file for us as for the process. */
export function provePath({ link }: Executable, proc: string): Proof {
  if (DELETED.test(link)) return { unproven: 'exe_deleted' };
  if (!seesOrdinaryPaths(proc)) return { unproven: 'other_mount_namespace' };
  if (link.includes('\uFFFD')) return { unproven: 'exe_path_not_text' };
  return { value: link };
}

/** Throws `peer_unproven` where the hierarchies contradict each other. */
export function proveUnit(proc: string | undefined): Proof {
  if (proc === undefined) return { unproven: 'no_process' };
  return parseUnit(readFileSync(`${proc}/cgroup`, 'latin1'));
}
