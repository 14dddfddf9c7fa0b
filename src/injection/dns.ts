/** The sidecar must be able to look up the authority: a Service's name is known to the cluster's DNS only. */
import type { Pod } from './pod.ts';
import { refuse } from './refuse.ts';

/**
 * On the host's network `ClusterFirst`, which is what a pod has that says nothing, means the host's resolver;
 * what it says of itself is had by `ClusterFirstWithHostNet`. Throws where the pod wants no cluster DNS at all.
 */
export function resolvable(spec: Pod['spec'], url: string): Pod['spec'] {
  const { hostname } = new URL(url);
  if (!/\.svc(?:\.|$)/.test(hostname)) return spec;
  const policy = spec.dnsPolicy ?? 'ClusterFirst';
  if (policy === 'Default')
    throw refuse(
      `dnsPolicy Default asks the node's resolver, which does not know ${hostname}: use ClusterFirst`,
    );
  const isChanged = spec.hostNetwork === true && policy === 'ClusterFirst';
  return isChanged ? { ...spec, dnsPolicy: 'ClusterFirstWithHostNet' } : spec;
}
