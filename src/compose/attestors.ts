/** All configured attestors as one: each proves what it can of the peer. */
import { type AttestorContext, type AttestorName, attestors } from '../attestors/index.ts';
import type { Config } from '../config.ts';
import type { Attestor } from '../core/ports.ts';

export async function openAttestors(config: Config, context: AttestorContext): Promise<Attestor> {
  const opened = await Promise.all(
    Object.entries(config.attestors).map(async ([name, block]) => {
      const module = await attestors[name as AttestorName]();
      return module.open(block as never, context);
    }),
  );
  const [only] = opened;
  return opened.length === 1 && only !== undefined ? only : combine(opened);
}

function combine(all: readonly Attestor[]): Attestor {
  return {
    kinds: all.flatMap((attestor) => attestor.kinds),
    meet(peer, wanted) {
      for (const attestor of all) attestor.meet?.(peer, wanted);
    },
    async attest(peer, wanted) {
      const workloads = await Promise.all(all.map((attestor) => attestor.attest(peer, wanted)));
      return {
        selectors: new Set(workloads.flatMap((workload) => [...workload.selectors])),
        facts: Object.assign({}, ...workloads.map((workload) => workload.facts)),
        unproven: Object.assign({}, ...workloads.map((workload) => workload.unproven)),
      };
    },
    confirm(peer, workload) {
      for (const attestor of all) attestor.confirm(peer, workload);
    },
    async close() {
      await Promise.all(all.map((attestor) => attestor.close()));
    },
  };
}
