/** The audit log: one line for every token issued or refused, at every log level, and never a token. */
import type { ErrorCode } from '../core/errors.ts';
import type { Facts, Peer, Recorder, Workload } from '../core/ports.ts';
import type { Log } from './log.ts';

/** Enough of what a refused caller asked for; the rest of a flood is not worth keeping. */
const AUDIENCES = 10;
const TEXT_LENGTH = 512;
const FAULTS: ReadonlySet<ErrorCode> = new Set(['server_error', 'temporarily_unavailable']);

/**
 * Lines "issued" and "refused". A line that cannot be written throws from `issued`,
 * so that the token is withheld; a refusal stands without its line. `onFault` is
 * told of both. Issuers that are not the main one are named.
 */
export function auditRecorder(
  log: Log,
  onFault: (error: unknown) => void = () => undefined,
  isMain: (issuer: string) => boolean = () => true,
): Recorder {
  const audit = log.child({}, { level: 'info' });
  return {
    issued({ door, peer, workload, issued, attestSeconds, totalSeconds }) {
      const { claims, keyId, rule } = issued;
      const fields = {
        door,
        rule,
        iss: isMain(claims.iss) ? undefined : claims.iss,
        sub: claims.sub,
        aud: claims.aud,
        jti: claims.jti,
        exp: claims.exp,
        kid: keyId,
        alg: issued.algorithm,
        peer: describePeer(peer, workload),
        reused: issued.isReused,
        attestMicros: micros(attestSeconds),
        totalMicros: micros(totalSeconds),
      };
      try {
        log.always(fields, 'issued');
      } catch (error) {
        onFault(error);
        throw error;
      }
    },
    refused({ door, peer, code, detail, audience, workload, caller, issuer, cause }) {
      const fields = {
        door,
        iss: issuer,
        code,
        detail: detail.slice(0, TEXT_LENGTH),
        aud: audience.slice(0, AUDIENCES).map((text) => text.slice(0, TEXT_LENGTH)),
        peer: describePeer(peer, workload) ?? caller,
        err: cause,
      };
      try {
        if (FAULTS.has(code)) audit.error(fields, 'refused');
        else audit.info(fields, 'refused');
      } catch (error) {
        onFault(error);
      }
    },
  };
}

function describePeer(peer: Peer | undefined, workload?: Workload) {
  const facts: Facts = workload?.facts ?? {};
  if (facts['jwt.issuer'] !== undefined)
    return {
      issuer: facts['jwt.issuer'],
      sub: facts['jwt.subject'],
      jti: facts['jwt.id'],
      client: facts['oauth.client'],
    };
  if (peer?.kind === 'unix')
    return { pid: peer.pid, uid: peer.uid, gid: peer.gid, container: facts['docker.container-id'] };
  if (facts['k8s.pod-uid'] === undefined) return undefined;
  return { pod: facts['k8s.pod-name'], ns: facts['k8s.ns'], podUid: facts['k8s.pod-uid'] };
}

function micros(seconds: number): number {
  return Math.round(seconds * 1e6);
}

/** Tells each in turn; where one throws, those behind it hear nothing of the event. */
export function combineRecorders(...recorders: readonly Recorder[]): Recorder {
  return {
    issued: (event) => {
      for (const recorder of recorders) recorder.issued(event);
    },
    refused: (event) => {
      for (const recorder of recorders) recorder.refused(event);
    },
  };
}
