/** What the files of this door hand to each other. */
import type { ErrorCode } from '../../core/errors.ts';
import type { OAuthServer } from '../oauth-server.ts';
import type { Register } from './register.ts';
import type { DoorConfig } from './settings.ts';

export type Parts = {
  readonly config: DoorConfig;
  readonly oauth: OAuthServer;
  readonly register: Register;
  /** Of the issuer: scheme, host and port. */
  readonly origin: string;
  /** For the audit log: never a secret. */
  readonly tell: (event: Readonly<Record<string, unknown>>, message: string) => void;
  readonly refused: (code: ErrorCode, detail: string) => void;
};

/** `grantType` on the wire. */
export const GRANT_TYPES = {
  authorization_code: 'authorization_code',
  refresh_token: 'refresh_token',
  device_code: 'urn:ietf:params:oauth:grant-type:device_code',
  jwt_bearer: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
  token_exchange: 'urn:ietf:params:oauth:grant-type:token-exchange',
} as const;

export type GrantName = keyof typeof GRANT_TYPES;

/** Refresh tokens come with it; whoever may refresh has it without asking. */
export const OFFLINE = 'offline_access';
