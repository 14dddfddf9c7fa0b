/** A pod as far as injection looks at it (core/v1 Pod, or a PodTemplateSpec); everything else is kept as it is. */
import { refuse, show } from './refuse.ts';

export type Fields = Readonly<Record<string, unknown>>;

export type Env = Fields & { readonly name: string };
export type Mount = Fields & { readonly name: string; readonly mountPath: string };
export type Named = Fields & { readonly name: string };

export type Container = Named & {
  readonly env?: readonly Env[] | null;
  readonly volumeMounts?: readonly Mount[] | null;
  readonly ports?: readonly Fields[] | null;
};

export type Metadata = Fields & {
  readonly name?: string | null;
  readonly labels?: Readonly<Record<string, string>> | null;
  readonly annotations?: Readonly<Record<string, string>> | null;
};

export type Pod = Fields & {
  readonly metadata?: Metadata | null;
  readonly spec: Fields & {
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[] | null;
    readonly ephemeralContainers?: readonly Named[] | null;
    readonly volumes?: readonly Named[] | null;
  };
};

/** Every container is given the same again: without a bound a small pod would make a patch of any size. */
const CONTAINERS_MAX = 200;
const CONTAINER_LISTS = ['containers', 'initContainers', 'ephemeralContainers'];
const VOLUMES_MAX = 1000;
/** What Kubernetes takes of annotations, keys and values together. */
const TEXTS_MAX_LENGTH = 256 * 1024;

/** Throws `invalid_request` where it is no pod, or is too large. What only the API server can tell is left to it. */
export function parsePod(value: unknown): Pod {
  const pod = fieldsOf(value, 'the pod');
  if (isGiven(pod.metadata)) {
    const metadata = fieldsOf(pod.metadata, 'metadata');
    for (const key of ['labels', 'annotations']) assertTexts(metadata[key], `metadata.${key}`);
  }
  const spec = fieldsOf(pod.spec, 'spec');
  assertSize(spec);
  if (!Array.isArray(spec.containers) || spec.containers.length === 0)
    throw refuse('spec.containers is no list of containers');
  for (const list of ['containers', 'initContainers'] as const)
    for (const [index, container] of listOf(spec[list], `spec.${list}`).entries())
      assertContainer(container, `spec.${list}[${index}]`);
  for (const list of ['volumes', 'ephemeralContainers'] as const) assertNamed(spec[list], `spec.${list}`);
  return pod as unknown as Pod;
}

/** Before anything is done with one of them. */
function assertSize(spec: Fields): void {
  const count = (list: unknown) => (Array.isArray(list) ? list.length : 0);
  const containers = CONTAINER_LISTS.reduce((sum, list) => sum + count(spec[list]), 0);
  if (containers > CONTAINERS_MAX)
    throw refuse(`it has ${containers} containers: ${CONTAINERS_MAX} are the most`);
  if (count(spec.volumes) > VOLUMES_MAX)
    throw refuse(`it has ${count(spec.volumes)} volumes: ${VOLUMES_MAX} are the most`);
}

function assertContainer(container: Fields, path: string): void {
  if (typeof container.name !== 'string') throw refuse(`${path} has no name`);
  assertNamed(container.env, `${path}.env`);
  listOf(container.ports, `${path}.ports`);
  for (const [index, mount] of assertNamed(container.volumeMounts, `${path}.volumeMounts`).entries())
    if (typeof mount.mountPath !== 'string') throw refuse(`${path}.volumeMounts[${index}] has no mountPath`);
}

function assertNamed(value: unknown, path: string): readonly Fields[] {
  const list = listOf(value, path);
  const at = list.findIndex(({ name }) => typeof name !== 'string');
  if (at >= 0) throw refuse(`${path}[${at}] has no name`);
  return list;
}

function assertTexts(value: unknown, path: string): void {
  if (!isGiven(value)) return;
  let length = 0;
  for (const [key, text] of Object.entries(fieldsOf(value, path))) {
    if (typeof text !== 'string') throw refuse(`${path}: ${show(key)} must be a text in quotes`);
    length += key.length + text.length;
  }
  if (length > TEXTS_MAX_LENGTH) throw refuse(`${path} has more than ${TEXTS_MAX_LENGTH / 1024} KiB`);
}

function listOf(value: unknown, path: string): readonly Fields[] {
  if (!isGiven(value)) return [];
  if (!Array.isArray(value)) throw refuse(`${path} is no list`);
  return value.map((item, index) => fieldsOf(item, `${path}[${index}]`));
}

function fieldsOf(value: unknown, path: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw refuse(`${path} is no map`);
  return value as Fields;
}

/** Absent and null are the same to Kubernetes. */
function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Everything that runs before or beside the workload, and the workload. */
export function containersOf({ spec }: Pod): readonly Container[] {
  return [...(spec.initContainers ?? []), ...spec.containers];
}

export function annotationsOf(pod: Pod): Readonly<Record<string, string>> {
  return pod.metadata?.annotations ?? {};
}
