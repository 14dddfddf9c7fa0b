/** What the kernel says of a process on this machine: its ids, their names, its executable, its systemd unit. */
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import type { Attestor, SelectorKind, UnixPeer, Workload } from '../core/ports.ts';
import { closeExecutable, type Executable, isTrustworthy, openExecutable } from './executable.ts';
import { type Hasher, openHasher } from './hash.ts';
import type { AttestorContext } from './index.ts';
import { type Accounts, type Names, openNames } from './names.ts';
import { asIssuerError } from './process-faults.ts';
import { extend, type Proof, type Proofs, proveAccounts, provePath, proveUnit } from './proofs.ts';

const MIB = 1024 * 1024;

export const config = v.strictObject({
  executableLimitMiB: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(4096),
      v.description('Larger executables are not hashed (MiB); for rules with unix:sha256.'),
    ),
    256,
  ),
  hashTimeoutSeconds: v.optional(
    v.pipe(
      v.number(),
      v.minValue(0.1),
      v.maxValue(60),
      v.description('How long a caller waits for the hash of its executable, in seconds.'),
    ),
    5,
  ),
});

export const kinds = [
  'unix:uid',
  'unix:user',
  'unix:gid',
  'unix:group',
  'unix:supplementary-gid',
  'unix:path',
  'unix:sha256',
  'systemd:unit',
] as const;
export const pluralKinds = ['unix:supplementary-gid'] as const;
const EXECUTABLE_KINDS = ['unix:path', 'unix:sha256'] as const;

/** It has something to remember of each connection. */
export type UnixAttestor = Attestor<UnixPeer> & Required<Pick<Attestor<UnixPeer>, 'meet'>>;

type KnownAccounts = { readonly users: Accounts; readonly groups: Accounts; readonly workload: Workload };

/** Shape: Attestor of core/ports.ts. */
export function open(
  block: v.InferOutput<typeof config>,
  { clock }: { readonly clock: Pick<AttestorContext['clock'], 'elapsed'> },
): UnixAttestor {
  const elapsed = () => clock.elapsed();
  const { executableLimitMiB, hashTimeoutSeconds: timeoutSeconds } = block;
  const hasher = openHasher({ maxBytes: executableLimitMiB * MIB, timeoutSeconds, elapsed });
  return new ProcessAttestor(openNames(elapsed), hasher);
}

class ProcessAttestor implements UnixAttestor {
  readonly peers = ['unix'] as const;
  readonly kinds = kinds;
  readonly pluralKinds = pluralKinds;
  readonly #names: Names;
  readonly #hasher: Hasher;
  readonly #accounts = new WeakMap<UnixPeer, KnownAccounts>();
  /** What each peer ran when it was first looked at; empty where the kernel would not show it. */
  readonly #executables = new WeakMap<UnixPeer, string>();

  constructor(names: Names, hasher: Hasher) {
    this.#names = names;
    this.#hasher = hasher;
  }

  meet(peer: UnixPeer, wanted: ReadonlySet<SelectorKind>): void {
    if (!wantsExecutable(wanted)) return;
    try {
      this.#assertSameExecutable(peer);
    } catch {
      // Whatever it is, the request finds it again and answers it.
    }
  }

  async attest(peer: UnixPeer, wanted: ReadonlySet<SelectorKind>): Promise<Workload> {
    const known = this.#accountsOf(peer);
    if (!wantsExecutable(wanted) && !wanted.has('systemd:unit')) return known;
    peer.assertSame();
    try {
      const unit: Proofs = wanted.has('systemd:unit') ? [['systemd:unit', proveUnit(peer.proc)]] : [];
      const executable = await this.#proveExecutable(peer, wanted);
      peer.assertSame();
      return extend(known, [...unit, ...executable]);
    } catch (error) {
      throw asIssuerError(error, peer);
    }
  }

  confirm(peer: UnixPeer, workload: Workload): void {
    peer.assertSame();
    if (workload.facts['unix.path'] === undefined && workload.facts['unix.sha256'] === undefined) return;
    try {
      this.#assertSameExecutable(peer);
    } catch (error) {
      throw asIssuerError(error, peer);
    }
  }

  close(): Promise<void> {
    return this.#hasher.close();
  }

  /** The ids and their names: once for each connection, and again when the names' files change. */
  #accountsOf(peer: UnixPeer): Workload {
    const users = this.#names.users();
    const groups = this.#names.groups();
    const known = this.#accounts.get(peer);
    if (known?.users === users && known.groups === groups) return known.workload;
    const workload = proveAccounts(peer, users, groups);
    this.#accounts.set(peer, { users, groups, workload });
    return workload;
  }

  async #proveExecutable(peer: UnixPeer, wanted: ReadonlySet<SelectorKind>): Promise<Proofs> {
    const kinds = EXECUTABLE_KINDS.filter((kind) => wanted.has(kind));
    const { proc } = peer;
    if (kinds.length === 0 || proc === undefined)
      return kinds.map((kind) => [kind, { unproven: 'no_process' }]);
    const executable = openExecutable(proc);
    try {
      this.#assertIdentity(peer, executable);
      const proofs: [SelectorKind, Proof][] = [];
      for (const kind of kinds) proofs.push([kind, await this.#prove(kind, executable, peer, proc)]);
      return proofs;
    } finally {
      closeExecutable(executable);
    }
  }

  async #prove(
    kind: SelectorKind,
    executable: Executable | undefined,
    peer: UnixPeer,
    proc: string,
  ): Promise<Proof> {
    if (executable === undefined) return { unproven: 'exe_unreadable' };
    if (kind === 'unix:path') return provePath(executable, proc);
    if (!isTrustworthy(executable, proc)) return { unproven: 'unsupported_filesystem' };
    const result = await this.#hasher.hash(executable.fd, peer.uid);
    return 'sha256' in result ? { value: result.sha256 } : result;
  }

  #assertSameExecutable(peer: UnixPeer): void {
    if (peer.proc === undefined) return;
    const executable = openExecutable(peer.proc);
    closeExecutable(executable);
    this.#assertIdentity(peer, executable);
  }

  #assertIdentity(peer: UnixPeer, executable: Executable | undefined): void {
    const identity = executable?.identity ?? '';
    const before = this.#executables.get(peer) ?? identity;
    this.#executables.set(peer, before);
    if (identity !== before)
      throw new IssuerError('peer_changed', 'the caller runs another executable than when it connected');
  }
}

const wantsExecutable = (wanted: ReadonlySet<SelectorKind>): boolean =>
  EXECUTABLE_KINDS.some((kind) => wanted.has(kind));
