/** The attestors. A new one is one file and one line here. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Clock, OwnIssuer } from '../core/ports.ts';

/** What compose.ts hands to an attestor. */
export type AttestorContext = {
  readonly clock: Clock;
  /** The way to the Kubernetes API; throws `server_error` where there is none. */
  readonly kubernetes: () => Promise<KubeConfig>;
  /** One line for the operator. */
  readonly warn: (message: string) => void;
  /** The issuer that this process is, and the keys that it publishes once they are open; undefined in a sidecar. */
  readonly own: OwnIssuer | undefined;
  /** The keys of a trusted issuer were asked for. */
  readonly onKeysFetched: (issuer: string, isFetched: boolean) => void;
};

export const attestors = {
  unix: () => import('./unix.ts'),
  docker: () => import('./docker.ts'),
  kubernetes: () => import('./kubernetes.ts'),
  jwt: () => import('./jwt.ts'),
} as const;

export type AttestorName = keyof typeof attestors;
