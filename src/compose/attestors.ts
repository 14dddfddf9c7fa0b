/** All configured attestors as one: each proves what it can of the peers that it knows. */
import { type AttestorContext, type AttestorName, attestors } from '../attestors/index.ts';
import { IssuerError } from '../core/errors.ts';
import type { Attestor, Peer, SelectorKind } from '../core/ports.ts';

type AttestorModule = {
  readonly kinds: readonly SelectorKind[];
  readonly claimedKinds?: readonly SelectorKind[];
  open(block: unknown, context: AttestorContext): Attestor | Promise<Attestor>;
};

type Configured = Readonly<Record<string, unknown>>;

const load = (name: string) =>
  attestors[name as AttestorName]() as Promise<unknown> as Promise<AttestorModule>;

export type Provable = Required<Pick<Attestor, 'kinds' | 'claimedKinds'>>;

/** What the configured attestors can prove, without opening them. */
export async function provable(configured: Configured): Promise<Provable> {
  const modules = await Promise.all(Object.keys(configured).map(load));
  return {
    kinds: modules.flatMap(({ kinds }) => kinds),
    claimedKinds: modules.flatMap(({ claimedKinds = [] }) => claimedKinds),
  };
}

export async function openAttestors(configured: Configured, context: AttestorContext): Promise<Attestor> {
  const opened = Object.entries(configured).map(async ([name, block]) =>
    (await load(name)).open(block, context),
  );
  return combine(await Promise.all(opened));
}

export function combine(all: readonly Attestor[]): Attestor {
  const knowing = (peer: Peer) => all.filter(({ peers }) => peers.includes(peer.kind));
  return {
    peers: all.flatMap(({ peers }) => peers),
    kinds: all.flatMap(({ kinds }) => kinds),
    claimedKinds: all.flatMap(({ claimedKinds = [] }) => claimedKinds),
    meet(peer, wanted) {
      for (const attestor of knowing(peer)) attestor.meet?.(peer, wanted);
    },
    async attest(peer, wanted) {
      const known = knowing(peer);
      if (known.length === 0) throw new IssuerError('peer_unproven', `no attestor knows a ${peer.kind} peer`);
      const [only] = known;
      if (known.length === 1 && only !== undefined) return only.attest(peer, wanted);
      const workloads = await Promise.all(known.map((attestor) => attestor.attest(peer, wanted)));
      return {
        selectors: new Set(workloads.flatMap((workload) => [...workload.selectors])),
        facts: Object.assign({}, ...workloads.map((workload) => workload.facts)),
        unproven: Object.assign({}, ...workloads.map((workload) => workload.unproven)),
      };
    },
    confirm(peer, workload) {
      for (const attestor of knowing(peer)) attestor.confirm(peer, workload);
    },
    async close() {
      await Promise.all(all.map((attestor) => attestor.close()));
    },
  };
}
