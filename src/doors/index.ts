/** The doors that a configuration can name, opened in this order. A new one is one file and one line here. */
export const doors = {
  fly: () => import('./fly.ts'),
  authority: () => import('./authority.ts'),
  webhook: () => import('./webhook.ts'),
  oauth: () => import('./oauth.ts'),
  'aws-sso-oidc': () => import('./aws-sso-oidc.ts'),
  vultr: () => import('./vultr.ts'),
} as const;

export type DoorName = keyof typeof doors;
