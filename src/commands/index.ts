/** The commands. A new one is one file and one line here; only the one that runs is loaded. */
export const commands = {
  serve: () => import('./serve.ts'),
  check: () => import('./check.ts'),
  token: () => import('./token.ts'),
  keys: () => import('./keys.ts'),
  jwks: () => import('./jwks.ts'),
  'api-keys': () => import('./api-keys.ts'),
  users: () => import('./users.ts'),
  explain: () => import('./explain.ts'),
  ca: () => import('./ca.ts'),
  secret: () => import('./secret.ts'),
  inject: () => import('./inject.ts'),
  health: () => import('./health.ts'),
  version: () => import('./version.ts'),
  completion: () => import('./completion.ts'),
} as const;

export type CommandName = keyof typeof commands;
