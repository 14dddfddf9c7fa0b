/** A peer, a workload and an attestor that says it of everyone. */
import type { Attestor, Facts, SelectorKind, UnixPeer, Workload } from '../../src/core/ports.ts';

export const KINDS: readonly SelectorKind[] = [
  'unix:uid',
  'unix:user',
  'unix:gid',
  'unix:group',
  'unix:path',
  'unix:sha256',
  'unix:supplementary-gid',
  'systemd:unit',
];

export function fakePeer(): UnixPeer {
  return {
    kind: 'unix',
    pid: 4711,
    uid: 998,
    gid: 998,
    supplementaryGids: [],
    proc: undefined,
    assertSame: () => undefined,
  };
}

/** Every fact is a selector too: `unix.uid` is `unix:uid`. */
export function workloadOf(facts: Facts, unproven: Workload['unproven'] = {}): Workload {
  const selectors = Object.entries(facts).map(([fact, value]) => `${fact.replace('.', ':')}:${value}`);
  return { selectors: new Set(selectors), facts, unproven };
}

export const WEB = workloadOf(
  { 'unix.uid': '998', 'unix.user': 'web', 'unix.gid': '998', 'systemd.unit': 'web.service' },
  { 'unix:sha256': 'unsupported_filesystem' },
);

export function fixedAttestor(workload: Workload = WEB): Attestor {
  return {
    peers: ['unix'],
    kinds: KINDS,
    attest: async () => workload,
    confirm: () => undefined,
    close: async () => undefined,
  };
}
