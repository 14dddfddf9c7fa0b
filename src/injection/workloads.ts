/** Where the pods are in the objects that make pods. */
import { INJECT_LABEL } from './names.ts';

export type Place = readonly (string | number)[];

export type PodTemplate = {
  /** `Deployment web`, for messages. */
  readonly owner: string;
  /** From the document's root. */
  readonly place: Place;
  readonly pod: unknown;
  /** What its label says: to inject it, not to, or nothing. */
  readonly asks: boolean | undefined;
  /** A label that says neither, such as `true` without quotes, which is no text in YAML. */
  readonly wrongLabel: unknown;
};

const TEMPLATE = ['spec', 'template'];
const PLACES: Readonly<Record<string, Place>> = {
  'v1 Pod': [],
  'v1 ReplicationController': TEMPLATE,
  'apps/v1 Deployment': TEMPLATE,
  'apps/v1 StatefulSet': TEMPLATE,
  'apps/v1 DaemonSet': TEMPLATE,
  'apps/v1 ReplicaSet': TEMPLATE,
  'batch/v1 Job': TEMPLATE,
  'batch/v1 CronJob': ['spec', 'jobTemplate', ...TEMPLATE],
};

/** The pods of an object, or of all objects of a List; none where it is of another kind. */
export function podTemplates(object: unknown, above: Place = []): readonly PodTemplate[] {
  const items = at(object, ['items']);
  if (at(object, ['kind']) === 'List' && Array.isArray(items))
    return items.flatMap((item, index) => podTemplates(item, [...above, 'items', index]));
  const kind = `${at(object, ['apiVersion'])} ${at(object, ['kind'])}`;
  const place = Object.hasOwn(PLACES, kind) ? PLACES[kind] : undefined;
  if (place === undefined) return [];
  const pod = at(object, place);
  const name =
    at(object, ['metadata', 'name']) ?? at(object, ['metadata', 'generateName']) ?? 'without a name';
  const label = at(pod, ['metadata', 'labels', INJECT_LABEL]);
  const asks = label === 'true' ? true : label === 'false' ? false : undefined;
  const wrongLabel = asks === undefined ? (label ?? undefined) : undefined;
  return [{ owner: `${at(object, ['kind'])} ${name}`, place: [...above, ...place], pod, asks, wrongLabel }];
}

function at(value: unknown, place: Place): unknown {
  let found = value;
  for (const key of place) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as Record<string | number, unknown>)[key];
  }
  return found;
}
