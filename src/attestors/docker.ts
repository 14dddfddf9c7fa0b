/** The Docker container that a process on this machine runs in: the id from its cgroup, the rest by Docker's word. */
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import * as v from 'valibot';
import { IssuerError } from '../core/errors.ts';
import { ABSOLUTE_PATH } from '../core/path-pattern.ts';
import type { Attestor, SelectorKind, UnixPeer, Workload } from '../core/ports.ts';
import { locateContainer, type Place, parseStartTime } from './container-cgroup.ts';
import { type Container, type DockerApi, openDockerApi } from './docker-api.ts';
import { DOCKER_KINDS, needsImage, proveContainer, proveImage } from './docker-proofs.ts';
import type { AttestorContext } from './index.ts';
import { asIssuerError } from './process-faults.ts';
import { extend, NOTHING } from './proofs.ts';
import type { UnprovenReason } from './reasons.ts';

const absolutePath = (description: string) =>
  v.pipe(
    v.string(),
    v.regex(ABSOLUTE_PATH, 'must be an absolute path in normal form'),
    v.description(description),
  );

const labelKey = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,254}$/, 'must be the key of a label'),
  v.description("A label's key, without its value."),
);

export const config = v.strictObject({
  socket: v.optional(
    v.pipe(absolutePath("Docker's socket. Whoever may write to it is root."), v.maxLength(107)),
    '/var/run/docker.sock',
  ),
  timeoutSeconds: v.optional(
    v.pipe(
      v.number(),
      v.minValue(0.1),
      v.maxValue(60),
      v.description('How long a caller waits for Docker, in seconds.'),
    ),
    5,
  ),
  labels: v.optional(
    v.pipe(
      v.array(labelKey),
      v.description('Labels of containers that rules may match; no others are looked at.'),
    ),
    [],
  ),
  cgroupParents: v.optional(
    v.pipe(
      v.array(absolutePath('A path in the tree of cgroups.')),
      v.nonEmpty('must name at least one'),
      v.description("Where Docker puts containers' cgroups; Podman's is /machine.slice."),
    ),
    ['/system.slice', '/docker'],
  ),
});

export type DockerSettings = Pick<v.InferOutput<typeof config>, 'labels' | 'cgroupParents'>;

/** Shape: Attestor of core/ports.ts. */
export function open(
  block: v.InferOutput<typeof config>,
  { clock }: { readonly clock: Pick<AttestorContext['clock'], 'elapsed'> },
): Attestor<UnixPeer> {
  const { socket, timeoutSeconds } = block;
  return createAttestor(block, openDockerApi({ socket, timeoutSeconds, elapsed: () => clock.elapsed() }));
}

export function createAttestor(settings: DockerSettings, api: DockerApi): Attestor<UnixPeer> {
  return new DockerAttestor(settings, api);
}

export const kinds = DOCKER_KINDS;
/** Each key is one of its own. */
export const pluralKinds = ['docker:label'] as const;

type Found = { readonly container: Container } | { readonly unproven: UnprovenReason };

class DockerAttestor implements Attestor<UnixPeer> {
  readonly peers = ['unix'] as const;
  readonly kinds = kinds;
  readonly pluralKinds = pluralKinds;
  readonly #settings: DockerSettings;
  readonly #api: DockerApi;
  /** Whose container is known: as long as the process lives in its cgroup, it is that very container. */
  readonly #known = new WeakMap<UnixPeer, { readonly path: string; readonly container: Container }>();

  constructor(settings: DockerSettings, api: DockerApi) {
    this.#settings = settings;
    this.#api = api;
  }

  async attest(peer: UnixPeer, wanted: ReadonlySet<SelectorKind>): Promise<Workload> {
    const asked = kinds.filter((kind) => wanted.has(kind));
    if (asked.length === 0) return NOTHING;
    peer.assertSame();
    try {
      const found = await this.#find(peer);
      const workload =
        'unproven' in found
          ? extend(
              NOTHING,
              asked.map((kind) => [kind, found]),
            )
          : await this.#prove(found.container, asked);
      this.confirm(peer, workload);
      return workload;
    } catch (error) {
      throw asIssuerError(error, peer);
    }
  }

  /** That it is still in the container that was proven, if one was. */
  confirm(peer: UnixPeer, { facts }: Pick<Workload, 'facts'>): void {
    peer.assertSame();
    if (facts['docker.container-id'] === undefined) return;
    const place = this.#locate(peer);
    if (!('id' in place) || place.path !== this.#known.get(peer)?.path)
      throw new IssuerError('peer_changed', 'it has left the container that it connected from');
  }

  async close(): Promise<void> {
    this.#api.close();
  }

  #locate({ proc }: UnixPeer): ReturnType<typeof locateContainer> {
    if (proc === undefined) return { unproven: 'no_process' };
    return locateContainer(readCgroup(proc), this.#settings.cgroupParents);
  }

  async #find(peer: UnixPeer): Promise<Found> {
    const place = this.#locate(peer);
    if (!('id' in place)) return place;
    const known = this.#known.get(peer);
    if (known?.path === place.path) return known;
    let found = this.#verify(peer, place, await this.#api.container(place.id));
    // What Docker said some seconds ago may be of the time before a restart.
    if ('unproven' in found) found = this.#verify(peer, place, await this.#api.container(place.id, true));
    if ('container' in found) this.#known.set(peer, { path: place.path, ...found });
    return found;
  }

  /**
   * The name of a cgroup is no proof: whoever was given a part of the tree names
   * what is below it. The container is where its first process is, and whoever is
   * in it was started after that.
   */
  #verify(peer: UnixPeer, place: Place, container: Container | undefined): Found {
    if (container === undefined) return { unproven: 'container_unknown' };
    const first = container.isRunning ? openProcess(container.pid) : undefined;
    if (first === undefined) return { unproven: 'container_not_running' };
    try {
      const around = locateContainer(readCgroup(first.proc), this.#settings.cgroupParents);
      const isThere = 'id' in around && around.path === place.path;
      const isLater = startTimeOf(first.proc) <= startTimeOf(peer.proc ?? '');
      return isThere && isLater ? { container } : { unproven: 'container_elsewhere' };
    } catch (error) {
      if (hasCode(error, 'ESRCH')) return { unproven: 'container_not_running' };
      throw error;
    } finally {
      first.close();
    }
  }

  async #prove(container: Container, wanted: readonly SelectorKind[]): Promise<Workload> {
    const known = proveContainer(container);
    if (!needsImage(wanted)) return known;
    return proveImage(known, container, await this.#api.image(container.imageId), this.#settings.labels);
  }
}

const readCgroup = (proc: string): string => readFileSync(`${proc}/cgroup`, 'latin1');
const startTimeOf = (proc: string): number => parseStartTime(readFileSync(`${proc}/stat`, 'latin1'));

/** Held, so that all that is read of it is of one process. Undefined where there is none that we see. */
function openProcess(pid: number): { readonly proc: string; close(): void } | undefined {
  try {
    const directory = openSync(`/proc/${pid}`, constants.O_RDONLY | constants.O_DIRECTORY);
    return { proc: `/proc/self/fd/${directory}`, close: () => closeSync(directory) };
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM')) return undefined;
    throw error;
  }
}

const hasCode = (error: unknown, ...codes: readonly string[]): boolean =>
  error instanceof Error && 'code' in error && codes.includes(String(error.code));
