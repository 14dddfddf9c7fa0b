/**
 * The grants. Those without a module are oidc-provider's own. An extension grant is one file
 * that exports `grant`, and one line here.
 */
import type { GrantModule } from './grant.ts';

export type GrantEntry = {
  /** `grant_type` on the wire. */
  readonly type: string;
  readonly open?: () => Promise<{ readonly grant: GrantModule }>;
};

const URN = 'urn:ietf:params:oauth:grant-type:';

export const GRANTS: Readonly<Record<string, GrantEntry>> = {
  authorization_code: { type: 'authorization_code' },
  refresh_token: { type: 'refresh_token' },
  device_code: { type: `${URN}device_code` },
  client_credentials: { type: 'client_credentials' },
  password: { type: 'password', open: () => import('./password.ts') },
  token_exchange: { type: `${URN}token-exchange`, open: () => import('./token-exchange.ts') },
  jwt_bearer: { type: `${URN}jwt-bearer`, open: () => import('./jwt-bearer.ts') },
};
