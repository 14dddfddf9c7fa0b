/**
 * The container of our own pod that a process runs in, as the kernel names its cgroup. We see such
 * a process only where the pod shares its processes (shareProcessNamespace). Which container the id
 * is of, and whether it is one of the pod's at all, is for whoever asks the Kubernetes API to say.
 */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { IssuerError } from '../core/errors.ts';
import type { Attestor, SelectorKind, UnixPeer, Workload } from '../core/ports.ts';
import { hierarchiesOf } from './cgroup.ts';
import { isContainerName, locateContainer, type Place } from './container-cgroup.ts';
import { asIssuerError } from './process-faults.ts';
import { extend, NOTHING } from './proofs.ts';
import type { UnprovenReason } from './reasons.ts';

const KIND = 'pod:container-id';
export const kinds = [KIND] as const;

/** Beside our own from one cgroup further inside, where a runtime (crun) puts the processes. */
const BESIDE_OUR_PARENT = '/../..';

type Found = Place | { readonly unproven: UnprovenReason };

/** `own` is our own /proc/self/cgroup. Shape: Attestor of core/ports.ts. */
export function open(own: string = readFileSync('/proc/self/cgroup', 'latin1')): Attestor<UnixPeer> {
  return new ContainerAttestor([...parentsOf(own), BESIDE_OUR_PARENT]);
}

/** The containers of a pod lie side by side, so that ours tells where the others are. */
function parentsOf(own: string): readonly string[] {
  const paths = hierarchiesOf(own).map(({ path }) => path);
  return paths.filter((path) => isContainerName(path.slice(path.lastIndexOf('/') + 1))).map(dirname);
}

class ContainerAttestor implements Attestor<UnixPeer> {
  readonly peers = ['unix'] as const;
  readonly kinds = kinds;
  readonly #parents: readonly string[];
  /** Where each was when it first asked. */
  readonly #paths = new WeakMap<UnixPeer, string>();

  constructor(parents: readonly string[]) {
    this.#parents = parents;
  }

  async attest(peer: UnixPeer, wanted: ReadonlySet<SelectorKind>): Promise<Workload> {
    if (!wanted.has(KIND)) return NOTHING;
    peer.assertSame();
    const found = this.#find(peer);
    if (!('id' in found)) return extend(NOTHING, [[KIND, found]]);
    this.#assertThere(peer, found);
    peer.assertSame();
    return extend(NOTHING, [[KIND, { value: found.id }]]);
  }

  /** That it is still in the container that was named, if one was. */
  confirm(peer: UnixPeer, { facts }: Pick<Workload, 'facts'>): void {
    peer.assertSame();
    if (facts['pod.container-id'] !== undefined) this.#assertThere(peer, this.#find(peer));
  }

  async close(): Promise<void> {}

  #assertThere(peer: UnixPeer, found: Found): void {
    const path = 'id' in found ? found.path : undefined;
    const before = this.#paths.get(peer) ?? path;
    if (path === undefined || path !== before)
      throw new IssuerError('peer_changed', 'it has left the container that it connected from');
    this.#paths.set(peer, path);
  }

  #find(peer: UnixPeer): Found {
    if (peer.proc === undefined) return { unproven: 'no_process' };
    let text: string;
    try {
      text = readFileSync(`${peer.proc}/cgroup`, 'latin1');
    } catch (error) {
      throw asIssuerError(error, peer);
    }
    try {
      return locateContainer(text, this.#parents);
    } catch {
      // Hierarchies that contradict each other: the pod may have its token still, the container is not named.
      return { unproven: 'cgroup_unreadable' };
    }
  }
}
