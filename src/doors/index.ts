/** The doors that a configuration can name. A new one is one file and one line here. */
export const DOORS = {
  fly: () => import('./fly.ts'),
} as const;

export type DoorName = keyof typeof DOORS;
