/** Amazon Web Services: AssumeRoleWithWebIdentity, by the variables that every AWS SDK reads. */
import { type Annotations, audienceOf, requireWith, textOf } from './annotations.ts';
import { TOKENS_DIRECTORY } from './names.ts';
import type { Env } from './pod.ts';
import { NOTHING, type Provision, variable } from './provision.ts';

const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/;
const AUDIENCE = 'sts.amazonaws.com';
/** What STS takes for RoleSessionName. */
const SESSION_NAME_LENGTH = 64;

export function aws(annotations: Annotations, podName: string | undefined): Provision {
  requireWith(annotations, ['aws-audience'], ['aws-role-arn']);
  const role = textOf(annotations, 'aws-role-arn', ROLE_ARN, 'arn:aws:iam::111122223333:role/web');
  if (role === undefined) return NOTHING;
  const path = `${TOKENS_DIRECTORY}/aws`;
  return {
    env: [
      variable('AWS_ROLE_ARN', role),
      variable('AWS_WEB_IDENTITY_TOKEN_FILE', path),
      sessionName(podName),
    ],
    tokens: [{ path, audience: audienceOf(annotations, 'aws-audience') ?? AUDIENCE }],
    files: [],
  };
}

/** The pod's name, so that CloudTrail shows which pod it was. One that Kubernetes makes up is never too long. */
function sessionName(podName: string | undefined): Env {
  const name = 'AWS_ROLE_SESSION_NAME';
  if (podName !== undefined && podName.length > SESSION_NAME_LENGTH)
    return variable(name, podName.slice(0, SESSION_NAME_LENGTH));
  return { name, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } };
}
