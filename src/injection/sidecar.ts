/** What is added to a pod: the sidecar, and the volumes that it shares. It is configured by variables alone. */
import { parseQuantity, SIDECAR_LEAST_MEMORY } from '../core/quantity.ts';
import { type Annotations, textOf } from './annotations.ts';
import {
  API_TOKEN_DIRECTORY,
  AUTHORITY_TOKEN_DIRECTORY,
  CONTAINER,
  PREFIX,
  RUN_DIRECTORY,
  SOCKET,
  SOCKET_VOLUME,
  TOKEN_VOLUME,
  UID,
} from './names.ts';
import type { Container, Env, Mount, Named } from './pod.ts';
import { type Provision, variable } from './provision.ts';
import { refuse } from './refuse.ts';
import type { InjectionContext, InjectionSettings, Quantities } from './settings.ts';

const TOKEN_FILE = 'token';
/** The kubelet renews the token after four fifths of its life; this is the shortest that it takes. */
const TOKEN_SECONDS = 600;
/** Tokens and a socket; the rest is room for a day on which somebody asks for many files. */
const VOLUME_SIZE = '8Mi';
/**
 * A pod without its identity must not start: the kubelet starts nothing after the sidecar before it is ready.
 * To start the sidecar itself anew would bring nothing, and the kubelet would wait longer each time.
 */
const STARTUP_ATTEMPTS = 86_400;

export const SOCKET_MOUNT: Mount = { name: SOCKET_VOLUME, mountPath: RUN_DIRECTORY, readOnly: true };

export function volumes({ audience }: InjectionSettings): readonly Named[] {
  const token = { audience, expirationSeconds: TOKEN_SECONDS, path: TOKEN_FILE };
  return [
    { name: SOCKET_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: VOLUME_SIZE } },
    { name: TOKEN_VOLUME, projected: { sources: [{ serviceAccountToken: token }] } },
  ];
}

export type SidecarParts = {
  readonly settings: InjectionSettings;
  readonly context: InjectionContext;
  readonly annotations: Annotations;
  readonly provision: Provision;
  readonly statusPort: number;
};

/** An init container that goes on running beside the others and does not keep a Job from ending (Kubernetes 1.29). */
export function sidecar(parts: SidecarParts): Container {
  const { settings, annotations, statusPort } = parts;
  const { image, imagePullPolicy } = settings;
  return {
    name: CONTAINER,
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    restartPolicy: 'Always',
    args: ['serve'],
    env: environment(parts),
    ports: [{ name: 'mintmark-status', containerPort: statusPort, protocol: 'TCP' }],
    startupProbe: {
      httpGet: { path: '/readyz', port: statusPort },
      periodSeconds: 1,
      timeoutSeconds: 2,
      failureThreshold: STARTUP_ATTEMPTS,
    },
    resources: resources(settings, annotations),
    securityContext: SECURITY,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    volumeMounts: MOUNTS,
  };
}

/** The `restricted` Pod Security Standard, and a root file system that nothing can write to. */
const SECURITY = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsGroup: UID,
  runAsNonRoot: true,
  runAsUser: UID,
  seccompProfile: { type: 'RuntimeDefault' },
} as const;

/** The last one keeps Kubernetes from mounting a token for its own API there. */
const MOUNTS: readonly Mount[] = [
  { name: SOCKET_VOLUME, mountPath: RUN_DIRECTORY },
  { name: TOKEN_VOLUME, mountPath: AUTHORITY_TOKEN_DIRECTORY, readOnly: true },
  { name: TOKEN_VOLUME, mountPath: API_TOKEN_DIRECTORY, readOnly: true },
];

function environment({ settings, context, provision, statusPort }: SidecarParts): readonly Env[] {
  const { tokens, files } = provision;
  return [
    variable('MINTMARK_AUTHORITY_URL', settings.url),
    ...(context.ca === undefined ? [] : [variable('MINTMARK_AUTHORITY_CA', context.ca)]),
    variable('MINTMARK_AUTHORITY_TOKEN_FILE', `${AUTHORITY_TOKEN_DIRECTORY}/${TOKEN_FILE}`),
    ...(settings.reuseFloor === '1m'
      ? []
      : [variable('MINTMARK_AUTHORITY_REUSE_FLOOR', settings.reuseFloor)]),
    ...(settings.singleUse.length === 0
      ? []
      : [variable('MINTMARK_AUTHORITY_SINGLE_USE', JSON.stringify(settings.singleUse))]),
    variable('MINTMARK_SOCKET', SOCKET),
    variable('MINTMARK_STATUS_LISTEN', settings.statusListen.replace(/\d+$/, String(statusPort))),
    ...(tokens.length === 0 ? [] : [variable('MINTMARK_TOKENS', JSON.stringify(tokens))]),
    ...(files.length === 0 ? [] : [variable('MINTMARK_FILES', JSON.stringify(files))]),
  ];
}

const CPU = /^(?=.*[1-9])(?:\d{1,6}m|\d{1,4}(?:\.\d{1,3})?)$/;
const MEMORY = /^(?=.*[1-9])\d{1,12}(?:\.\d{1,3})?(?:[KMG]i?|k)?$/;

/** An annotated quantity is request and limit in one, so that a pod of the class Guaranteed can stay one. */
function resources({ resources: usual }: InjectionSettings, annotations: Annotations) {
  const cpu = textOf(annotations, 'cpu', CPU, '100m');
  const memory = textOf(annotations, 'memory', MEMORY, '64Mi');
  if (memory !== undefined && parseQuantity(memory) < parseQuantity(SIDECAR_LEAST_MEMORY))
    throw refuse(
      `annotation ${PREFIX}memory is ${memory}: ${SIDECAR_LEAST_MEMORY} is the least that a sidecar runs with`,
    );
  const own: Quantities = {
    ...(cpu === undefined ? {} : { cpu }),
    ...(memory === undefined ? {} : { memory }),
  };
  return { requests: { ...usual.requests, ...own }, limits: { ...usual.limits, ...own } };
}
