/** Sockets that systemd opened for us: sd_listen_fds(3). */
import { IssuerError } from '../core/errors.ts';
import { isUnixListener, processId } from './kernel.ts';

/** The three variables as the environment has them. */
export type ActivationVariables = {
  readonly LISTEN_PID?: string | undefined;
  readonly LISTEN_FDS?: string | undefined;
  readonly LISTEN_FDNAMES?: string | undefined;
};

export type InheritedSocket = {
  readonly fd: number;
  /** FileDescriptorName= of the socket unit; empty where none was given. */
  readonly name: string;
};

const FIRST_FD = 3;
const MAX_FDS = 64;

/**
 * The descriptors passed to the process `pid`; none where the variables are
 * meant for another one. Throws `server_error` where they contradict themselves.
 */
export function parseActivation(variables: ActivationVariables, pid: number): InheritedSocket[] {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES } = variables;
  if (LISTEN_PID !== String(pid)) return [];
  if (LISTEN_FDS === undefined || !/^\d{1,3}$/.test(LISTEN_FDS) || Number(LISTEN_FDS) > MAX_FDS)
    throw new IssuerError('server_error', `LISTEN_FDS must be a number up to ${MAX_FDS}`);
  const count = Number(LISTEN_FDS);
  const names = LISTEN_FDNAMES?.split(':') ?? [];
  if (LISTEN_FDNAMES !== undefined && count > 0 && names.length !== count)
    throw new IssuerError('server_error', `LISTEN_FDNAMES has ${names.length} names for ${count} sockets`);
  return Array.from({ length: count }, (_, index) => ({ fd: FIRST_FD + index, name: names[index] ?? '' }));
}

/** The sockets passed to this process, each a listening UNIX stream; throws `server_error` for any other kind. */
export function inheritedSockets(variables: ActivationVariables): InheritedSocket[] {
  const sockets = parseActivation(variables, processId());
  for (const { fd, name } of sockets) {
    if (!isUnixListener(fd))
      throw new IssuerError(
        'server_error',
        `inherited descriptor ${fd}${name && ` ${name}`} is no listening UNIX stream socket`,
      );
  }
  return sockets;
}
