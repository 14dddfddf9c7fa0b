/** All configured attestors as one: each proves what it can of the peers that it knows. */
import { type AttestorContext, type AttestorName, attestors } from '../attestors/index.ts';
import { IssuerError } from '../core/errors.ts';
import type { Attestor, Peer, Provable, Workload } from '../core/ports.ts';
import { kindOf } from '../core/selectors.ts';

type AttestorModule = Provable & {
  /** Where what can be proven depends on the settings. */
  readonly provable?: (block: unknown) => Provable;
  /** What a start finds in the files that the settings name. */
  readonly findings?: (block: unknown) => Promise<Findings>;
  open(block: unknown, context: AttestorContext): Attestor | Promise<Attestor>;
};

type Findings = {
  readonly problems: readonly { readonly path: string; readonly message: string }[];
  readonly warnings: readonly string[];
};

type Configured = Readonly<Record<string, unknown>>;

const load = (name: string) =>
  attestors[name as AttestorName]() as Promise<unknown> as Promise<AttestorModule>;

/** What the configured attestors can prove, without opening them. */
export async function provable(configured: Configured): Promise<Provable> {
  const all = Object.entries(configured).map(async ([name, block]) => {
    const module = await load(name);
    return module.provable?.(block) ?? module;
  });
  return combineProvable(await Promise.all(all));
}

export async function attestorFindings(configured: Configured): Promise<Findings> {
  const all = Object.entries(configured).map(async ([name, block]) => {
    const { problems = [], warnings = [] } = (await (await load(name)).findings?.(block)) ?? {};
    const placed = problems.map(({ path, message }) => ({ path: `attestors.${name}.${path}`, message }));
    return { problems: placed, warnings };
  });
  const found = await Promise.all(all);
  return {
    problems: found.flatMap(({ problems }) => problems),
    warnings: found.flatMap(({ warnings }) => warnings),
  };
}

export async function openAttestors(configured: Configured, context: AttestorContext): Promise<Attestor> {
  const opened = Object.entries(configured).map(async ([name, block]) =>
    (await load(name)).open(block, context),
  );
  return combine(await Promise.all(opened));
}

function combineProvable(all: readonly Provable[]): Provable {
  return {
    kinds: all.flatMap(({ kinds }) => kinds),
    claimedKinds: all.flatMap(({ claimedKinds = [] }) => claimedKinds),
    pluralKinds: all.flatMap(({ pluralKinds = [] }) => pluralKinds),
    facts: all.flatMap(({ facts = [] }) => facts),
    qualifiedBy: Object.assign({}, ...all.map(({ qualifiedBy }) => qualifiedBy)),
    faultOf: (selector, beside) => {
      const kind = kindOf(selector);
      return all.find(({ kinds }) => kinds.includes(kind))?.faultOf?.(selector, beside);
    },
  };
}

export function combine(all: readonly Attestor[]): Attestor {
  const knowing = (peer: Peer) => all.filter(({ peers }) => peers.includes(peer.kind));
  return {
    ...combineProvable(all),
    peers: all.flatMap(({ peers }) => peers),
    meet(peer, wanted) {
      for (const attestor of knowing(peer)) attestor.meet?.(peer, wanted);
    },
    async attest(peer, wanted) {
      const known = knowing(peer);
      if (known.length === 0) throw new IssuerError('peer_unproven', `no attestor knows a ${peer.kind} peer`);
      const [only] = known;
      if (known.length === 1 && only !== undefined) return only.attest(peer, wanted);
      return merge(await Promise.all(known.map((attestor) => attestor.attest(peer, wanted))));
    },
    confirm(peer, workload) {
      for (const attestor of knowing(peer)) attestor.confirm(peer, workload);
    },
    async close() {
      await Promise.all(all.map((attestor) => attestor.close()));
    },
    as: (issuer) => combine(all.map((attestor) => attestor.as?.(issuer) ?? attestor)),
  };
}

function merge(workloads: readonly Workload[]): Workload {
  const ends = workloads.flatMap(({ expiresAt }) => (expiresAt === undefined ? [] : [expiresAt]));
  return {
    selectors: new Set(workloads.flatMap(({ selectors }) => [...selectors])),
    facts: Object.assign({}, ...workloads.map(({ facts }) => facts)),
    unproven: Object.assign({}, ...workloads.map(({ unproven }) => unproven)),
    expiresAt: ends.length === 0 ? undefined : Math.min(...ends),
    assertion: workloads.find(({ assertion }) => assertion !== undefined)?.assertion,
  };
}
