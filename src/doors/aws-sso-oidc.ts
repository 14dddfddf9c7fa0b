/**
 * AWS IAM Identity Center's OIDC API (sso-oidc, 2019-06-10) for the AWS CLI and SDKs: each call is
 * translated to the OAuth server of the same process. Only CreateTokenWithIAM is signed.
 */
import type { Context } from 'koa';
import { IssuerError } from '../core/errors.ts';
import type { Issuer } from '../core/issuer.ts';
import { authorize } from './aws-sso-oidc/authorize.ts';
import { startDeviceAuthorization } from './aws-sso-oidc/device.ts';
import { answerException, Exception, shapeError } from './aws-sso-oidc/exceptions.ts';
import { applicationOf, assertCredentials, createTokenWithIam } from './aws-sso-oidc/iam.ts';
import * as operations from './aws-sso-oidc/operations.ts';
import type { Parts } from './aws-sso-oidc/parts.ts';
import { openRegister, registerClient } from './aws-sso-oidc/register.ts';
import type { DoorConfig } from './aws-sso-oidc/settings.ts';
import { createToken } from './aws-sso-oidc/token.ts';
import type { Door, Route } from './door.ts';
import type { OAuthServer } from './oauth-server.ts';

export { config } from './aws-sso-oidc/settings.ts';

export const needs = ['oauth'];

export type AwsSsoOidcContext = {
  readonly issuer: Pick<Issuer, 'identifier'>;
  readonly oauth?: OAuthServer;
} & Pick<Parts, 'tell' | 'refused'>;

/** What it asks of the key ring. */
export function demands({ accessTokenTtl = 0 }: DoorConfig) {
  return { metadata: {}, longestTtlSeconds: accessTokenTtl, algorithms: [] };
}

/** Throws `server_error` without doors.oauth, and where a secret cannot be read. */
export async function open(
  config: DoorConfig,
  { issuer, oauth, tell, refused }: AwsSsoOidcContext,
): Promise<readonly Door[]> {
  if (oauth === undefined)
    throw new IssuerError('server_error', 'doors.aws-sso-oidc: needs doors.oauth beside it');
  if (config.iam !== undefined) await assertCredentials(config.iam);
  const register = openRegister(config, oauth);
  oauth.admit({
    scopes: [...config.scopes, ...(config.iam?.applications.flatMap(({ scopes }) => scopes) ?? [])],
    find: async (id) => applicationOf(config, id) ?? (await register.find(id)),
  });
  const parts = { config, oauth, register, origin: new URL(issuer.identifier).origin, tell, refused };
  const { path } = config;
  const routes: readonly Route[] = [
    post(`${path}/client/register`, operations.registerClient, (context) => registerClient(context, parts)),
    post(`${path}/device_authorization`, operations.startDeviceAuthorization, (context) =>
      startDeviceAuthorization(context, parts),
    ),
    post(`${path}/token`, operations.createToken, (context) => token(context, parts)),
    {
      method: 'GET',
      path: '/authorize',
      operation: operations.authorize,
      handle: (context) => authorize(context, parts),
    },
  ];
  return [{ name: 'aws-sso-oidc', surface: 'public', routes, shapeError }];
}

function post(
  path: string,
  operation: Route['operation'],
  answer: (context: Context) => Promise<void>,
): Route {
  const handle = async (context: Context) => {
    try {
      await answer(context);
    } catch (error) {
      if (!(error instanceof Exception)) throw error;
      answerException(context, error);
    }
  };
  return { method: 'POST', path, operation, handle };
}

/** `?aws_iam=t` is another operation on the same path. */
async function token(context: Context, parts: Parts): Promise<void> {
  const { aws_iam: signed } = context.query;
  if (signed === undefined) return createToken(context, parts);
  if (signed !== 't') throw new Exception('invalid_request', 'aws_iam must be t');
  const { iam } = parts.config;
  if (iam === undefined) throw new Exception('access_denied', 'CreateTokenWithIAM is off');
  return createTokenWithIam(context, parts, iam);
}
