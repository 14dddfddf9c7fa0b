/** The signers. A new one is one file and one line here. */
export const SIGNERS = {
  local: () => import('./local.ts'),
} as const;

export type SignerName = keyof typeof SIGNERS;
