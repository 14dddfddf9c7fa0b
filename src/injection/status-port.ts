/** The port of the sidecar's status pages: all containers of a pod share one network. */
import { type Annotations, textOf } from './annotations.ts';
import { PREFIX } from './names.ts';
import { containersOf, type Pod } from './pod.ts';
import { refuse } from './refuse.ts';

const PORT = /^[1-9]\d{3,4}$/;
const HIGHEST = 65_535;

/** The annotated port, or the usual one, or the next that no container of the pod says it listens on. */
export function statusPort(pod: Pod, annotations: Annotations, usual: number): number {
  const text = textOf(annotations, 'status-port', PORT, '9464 (1024 to 65535)');
  const owners = new Map(
    containersOf(pod).flatMap(({ name, ports }) =>
      (ports ?? [])
        .filter(({ protocol }) => (protocol ?? 'TCP') === 'TCP')
        .map(({ containerPort }) => [containerPort, name] as const),
    ),
  );
  if (text === undefined) {
    let port = usual;
    while (owners.has(port) && port < HIGHEST) port++;
    return port;
  }
  const port = Number(text);
  if (port < 1024 || port > HIGHEST)
    throw refuse(`annotation ${PREFIX}status-port must be 1024 to ${HIGHEST}, not ${text}`);
  const owner = owners.get(port);
  if (owner !== undefined)
    throw refuse(`annotation ${PREFIX}status-port: container ${owner} has port ${port} already`);
  return port;
}
