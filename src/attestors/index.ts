/** The attestors. A new one is one file and one line here. */
import type { Clock } from '../core/ports.ts';

/** What compose.ts hands to an attestor. */
export type AttestorContext = { readonly clock: Pick<Clock, 'elapsed'> };

export const attestors = {
  unix: () => import('./unix.ts'),
  docker: () => import('./docker.ts'),
} as const;

export type AttestorName = keyof typeof attestors;
