/** The attestors. A new one is one file and one line here. */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Clock } from '../core/ports.ts';

/** What compose.ts hands to an attestor. */
export type AttestorContext = {
  readonly clock: Pick<Clock, 'elapsed'>;
  /** The way to the Kubernetes API; throws `server_error` where there is none. */
  readonly kubernetes: () => Promise<KubeConfig>;
  /** One line for the operator. */
  readonly warn: (message: string) => void;
};

export const attestors = {
  unix: () => import('./unix.ts'),
  docker: () => import('./docker.ts'),
  kubernetes: () => import('./kubernetes.ts'),
} as const;

export type AttestorName = keyof typeof attestors;
