/** The signers. A new one is one file and one line here. */
export const signers = {
  local: () => import('./local.ts'),
  authority: () => import('./authority.ts'),
} as const;
