/**
 * STS as far as AssumeRoleWithWebIdentity and GetCallerIdentity go, on loopback. It trusts one
 * OIDC provider as AWS does: by the issuer's URL, its published keys, the client id and the role's
 * condition on `sub`. Its credentials are over at once, so that the SDK asks again, with the token of
 * the moment, before each call.
 */
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose';
import { defer, type Scope } from '../../system/start.ts';

export type Trust = {
  readonly issuer: string;
  readonly clientId: string;
  readonly role: string;
  readonly subject: string;
};

export type Sts = {
  readonly origin: string;
  /** The web identity tokens that it was sent and took, in order. */
  readonly taken: readonly JWTPayload[];
};

const XMLNS = 'https://sts.amazonaws.com/doc/2011-06-15/';

type Answer = { readonly status: number; readonly body: string };
type Session = { readonly token: string; readonly arn: string; readonly id: string };

export async function startSts(scope: Scope, trust: Trust): Promise<Sts> {
  const keys = createRemoteJWKSet(new URL(`${trust.issuer}/.well-known/jwks`), { cooldownDuration: 0 });
  const sessions = new Map<string, Session>();
  const taken: JWTPayload[] = [];

  async function assumeRole(form: URLSearchParams): Promise<Answer> {
    const token = form.get('WebIdentityToken') ?? '';
    const { issuer, clientId: audience } = trust;
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, keys, { issuer, audience, algorithms: ['RS256', 'ES256'] }));
    } catch (error) {
      return refusal('InvalidIdentityToken', (error as Error).message);
    }
    if (payload.sub !== trust.subject || form.get('RoleArn') !== trust.role)
      return refusal('AccessDenied', 'Not authorized to perform sts:AssumeRoleWithWebIdentity', 403);
    taken.push(payload);
    const name = `${form.get('RoleSessionName')}`;
    const keyId = `ASIA${randomBytes(8).toString('hex').toUpperCase()}`;
    const arn = `${trust.role.replace(':iam:', ':sts:').replace(':role/', ':assumed-role/')}/${name}`;
    const session = { token: randomBytes(32).toString('base64'), arn, id: `AROATEST:${name}` };
    sessions.set(keyId, session);
    return result(
      'AssumeRoleWithWebIdentity',
      `<Audience>${audience}</Audience>
      <AssumedRoleUser><Arn>${arn}</Arn><AssumedRoleId>${session.id}</AssumedRoleId></AssumedRoleUser>
      <Provider>${issuer}</Provider><SubjectFromWebIdentityToken>${payload.sub}</SubjectFromWebIdentityToken>
      <Credentials>
        <AccessKeyId>${keyId}</AccessKeyId><SecretAccessKey>${randomBytes(20).toString('hex')}</SecretAccessKey>
        <SessionToken>${session.token}</SessionToken>
        <Expiration>${new Date().toISOString()}</Expiration>
      </Credentials>`,
    );
  }

  /** The signature is AWS's business; whose session it is shows in the key id and the session token. */
  function whoIsIt({ headers }: IncomingMessage): Answer {
    const [, keyId = ''] = /Credential=([A-Z0-9]+)\//.exec(headers.authorization ?? '') ?? [];
    const session = sessions.get(keyId);
    if (session === undefined || headers['x-amz-security-token'] !== session.token)
      return refusal('InvalidClientTokenId', 'The security token included in the request is invalid', 403);
    const account = session.arn.split(':')[4];
    return result(
      'GetCallerIdentity',
      `<Arn>${session.arn}</Arn><UserId>${session.id}</UserId><Account>${account}</Account>`,
    );
  }

  const server = createServer(async (request, response) => {
    const form = new URLSearchParams(await text(request));
    const answer =
      form.get('Action') === 'AssumeRoleWithWebIdentity' ? await assumeRole(form) : whoIsIt(request);
    response.writeHead(answer.status, { 'Content-Type': 'text/xml' }).end(answer.body);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  defer(scope, () => server.close());
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, taken };
}

function result(action: string, inner: string): Answer {
  return {
    status: 200,
    body: `<${action}Response xmlns="${XMLNS}"><${action}Result>${inner}</${action}Result>
      <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></${action}Response>`,
  };
}

function refusal(code: string, message: string, status = 400): Answer {
  const escaped = message.replaceAll(/[<&>]/g, ' ');
  return {
    status,
    body: `<ErrorResponse xmlns="${XMLNS}"><Error><Type>Sender</Type><Code>${code}</Code>
      <Message>${escaped}</Message></Error><RequestId>1</RequestId></ErrorResponse>`,
  };
}
