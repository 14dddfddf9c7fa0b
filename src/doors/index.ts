/** The doors that a configuration can name. A new one is one file and one line here. */
export const doors = {
  fly: () => import('./fly.ts'),
  authority: () => import('./authority.ts'),
  webhook: () => import('./webhook.ts'),
  oauth: () => import('./oauth.ts'),
  vultr: () => import('./vultr.ts'),
} as const;

export type DoorName = keyof typeof doors;
