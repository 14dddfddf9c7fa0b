/**
 * The `restricted` Pod Security Standard (with `baseline` in it), field by field, for Linux:
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
type Fields = { readonly [key: string]: unknown };

const VOLUMES = [
  'configMap',
  'csi',
  'downwardAPI',
  'emptyDir',
  'ephemeral',
  'persistentVolumeClaim',
  'projected',
  'secret',
];
const SECCOMP = ['RuntimeDefault', 'Localhost'];
const SELINUX = ['', undefined, 'container_t', 'container_init_t', 'container_kvm_t', 'container_engine_t'];
const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'];

/** What the standard has against the pod; empty where it is restricted. */
export function restrictedViolations(pod: { readonly spec: Fields }): readonly string[] {
  const { spec } = pod;
  const own = (spec.securityContext ?? {}) as Fields;
  const containers = ['initContainers', 'containers', 'ephemeralContainers'].flatMap(
    (list) => (spec[list] ?? []) as readonly Fields[],
  );
  const found = ['hostNetwork', 'hostPID', 'hostIPC'].filter((field) => spec[field] === true);
  for (const volume of (spec.volumes ?? []) as readonly Fields[])
    for (const type of Object.keys(volume))
      if (type !== 'name' && !VOLUMES.includes(type)) found.push(`volume ${volume.name}: ${type}`);
  if (own.sysctls !== undefined) found.push('sysctls');
  found.push(...levelViolations(own).map((what) => `pod: ${what}`));
  for (const container of containers)
    found.push(...containerViolations(container, own).map((what) => `${container.name}: ${what}`));
  return found;
}

/** What may stand at the pod and at a container. */
function levelViolations(context: Fields): readonly string[] {
  const { type, user, role } = (context.seLinuxOptions ?? {}) as Fields;
  const { hostProcess } = (context.windowsOptions ?? {}) as Fields;
  return [
    hostProcess === true && 'hostProcess',
    !SELINUX.includes(type as string | undefined) && 'seLinuxOptions.type',
    (Boolean(user) || Boolean(role)) && 'seLinuxOptions.user or role',
    context.runAsUser === 0 && 'runAsUser 0',
    context.runAsNonRoot === false && 'runAsNonRoot false',
    (context.seccompProfile as Fields | undefined)?.type === 'Unconfined' && 'seccompProfile Unconfined',
    (context.appArmorProfile as Fields | undefined)?.type === 'Unconfined' && 'appArmorProfile Unconfined',
  ].filter((problem) => problem !== false);
}

function containerViolations(container: Fields, pod: Fields): readonly string[] {
  const context = (container.securityContext ?? {}) as Fields;
  const { add = [], drop = [] } = (context.capabilities ?? {}) as { add?: string[]; drop?: string[] };
  const seccomp = ((context.seccompProfile ?? pod.seccompProfile ?? {}) as Fields).type as string;
  const ports = (container.ports ?? []) as readonly Fields[];
  const handlers = PROBES.map((probe) => container[probe] as Fields | undefined);
  const hosts = handlers.map((probe) => ((probe?.httpGet ?? probe?.tcpSocket ?? {}) as Fields).host);
  return [
    ...levelViolations(context),
    context.privileged === true && 'privileged',
    context.allowPrivilegeEscalation !== false && 'allowPrivilegeEscalation',
    (context.runAsNonRoot ?? pod.runAsNonRoot) !== true && 'runAsNonRoot',
    !SECCOMP.includes(seccomp) && 'seccompProfile',
    !drop.includes('ALL') && 'capabilities.drop',
    add.some((capability) => capability !== 'NET_BIND_SERVICE') && 'capabilities.add',
    !['Default', undefined].includes(context.procMount as string | undefined) && 'procMount',
    ports.some(({ hostPort }) => hostPort !== undefined && hostPort !== 0) && 'hostPort',
    hosts.some((host) => host !== undefined && host !== '') && 'probe host',
  ].filter((problem) => problem !== false);
}
