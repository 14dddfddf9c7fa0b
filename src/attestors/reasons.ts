/** Why a fact of a caller could not be proven: the words in `Workload.unproven`, each with a sentence for people. */
export const UNPROVEN_REASONS = {
  no_name: 'The id has no name in /etc/passwd or /etc/group, or more than one.',
  no_process: 'The caller is outside of our pid namespace or hidden by /proc, so only its ids are known.',
  exe_unreadable: 'The kernel does not show us its executable: that takes its uid or CAP_SYS_PTRACE.',
  exe_deleted: 'Its executable was deleted or replaced since it was started, so it has no path.',
  exe_path_not_text: "Its executable's path is not UTF-8.",
  exe_too_large: 'Its executable is larger than executableLimitMiB.',
  exe_changed: 'Its executable was changing while it was read.',
  other_mount_namespace: 'It has a mount namespace of its own, where a path can name any file.',
  unsupported_filesystem:
    'Its executable lies on a file system that can show others than it runs (FUSE, network).',
  cgroup_unreadable: 'Its /proc/<pid>/cgroup could not be understood.',
  cgroup_outside: 'Its cgroup lies outside of the part that we see.',
  no_unit: 'It does not run in a systemd unit.',
  no_container: 'Its cgroup is no container.',
  container_elsewhere: 'Its cgroup has the name of a container and is not where Docker has that container.',
  container_nested: 'Its cgroup could be a container inside of a container, and names inside are not proven.',
  container_unknown: 'Docker does not know the container that its cgroup names.',
  container_not_running: 'Docker says that its container is not running, or we cannot see its first process.',
  image_unknown: 'Docker no longer knows the image of its container.',
  no_label: 'Its container has none of the labels that are looked at, or only those of its image.',
  no_compose: 'Its container was not started by Docker Compose.',
  no_digest: 'Its image was made here and never pulled or pushed, so no registry has a digest of it.',
  several_digests: 'Registries have several digests of its image, and its name says of none which.',
} as const;

export type UnprovenReason = keyof typeof UNPROVEN_REASONS;
