/** The settings of `doors.aws-sso-oidc`. */
import * as v from 'valibot';
import { DAY, flag, life, path, scopes, text, urls, VISIBLE } from '../setting-kinds.ts';

/** /connect and /oauth2 are where doors.oauth may be. */
const PATH = /^$|^(?!\/(?:connect|oauth2)$)(?:\/[A-Za-z0-9][A-Za-z0-9._~-]{0,63}){1,4}$/;

const count = (description: string, fallback: number, max: number) =>
  v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(max), v.description(description)),
    fallback,
  );

/** What AWS calls an application: it signs its calls. */
const application = v.pipe(
  v.strictObject({
    id: text(
      VISIBLE,
      'must be 1 to 255 visible ASCII characters',
      'Its clientId; at AWS the ARN of the application.',
      'arn:aws:sso::123456789012:application/ssoins-1111/apl-2222',
    ),
    name: v.optional(
      v.pipe(v.string(), v.nonEmpty(), v.maxLength(100), v.description('Its name, for people.')),
    ),
    grants: v.pipe(
      v.array(
        v.pipe(
          v.picklist(['authorization_code', 'refresh_token', 'jwt_bearer', 'token_exchange']),
          v.description('A grant.'),
        ),
      ),
      v.minLength(1),
      v.description('The grants that it may use.'),
    ),
    audience: v.optional(
      text(
        VISIBLE,
        'must be 1 to 255 visible ASCII characters',
        'The `aud` of what it gets by jwt_bearer and token_exchange, as rules allow it.',
        'https://orders.example.com',
      ),
    ),
    scopes: v.optional(scopes('Every scope that it may have.'), []),
    redirectUris: v.optional(urls('Where people are sent back to.', 'https://app.example.com/callback'), []),
    consent: flag('People are asked before it is given anything.', true),
  }),
  v.check(
    ({ grants, redirectUris }) => !grants.includes('authorization_code') || redirectUris.length > 0,
    'needs redirectUris for authorization_code',
  ),
  v.check(
    ({ grants, audience }) =>
      audience !== undefined || !grants.some((grant) => grant === 'jwt_bearer' || grant === 'token_exchange'),
    'needs an audience for jwt_bearer and token_exchange',
  ),
);

const credential = v.strictObject({
  accessKeyId: text(
    /^[A-Za-z0-9_]{16,128}$/,
    'must be 16 to 128 of A-Z, a-z, 0-9 and _',
    'As in AWS_ACCESS_KEY_ID.',
    'AKIAIOSFODNN7EXAMPLE',
  ),
  secretFile: path(
    'A file that holds what is AWS_SECRET_ACCESS_KEY for its owner.',
    '/etc/mintmark/aws-secret',
  ),
  applications: v.pipe(
    v.array(v.pipe(v.string(), v.description('The id of an application.'))),
    v.minLength(1),
    v.description('The applications that it may speak for.'),
  ),
});

const iam = v.pipe(
  v.strictObject({
    region: v.optional(
      text(
        /^[a-z0-9-]{1,32}$/,
        'must be a region such as eu-central-1',
        'The only region that signatures may be for; any where absent.',
        'eu-central-1',
      ),
    ),
    applications: v.pipe(
      v.array(application),
      v.check((all) => new Set(all.map(({ id }) => id)).size === all.length, 'two have the same id'),
      v.description('Who may call CreateTokenWithIAM.'),
    ),
    credentials: v.pipe(
      v.array(credential),
      v.check(
        (all) => new Set(all.map(({ accessKeyId }) => accessKeyId)).size === all.length,
        'two have the same accessKeyId',
      ),
      v.description('What its calls are signed with; two for one application while they are changed.'),
    ),
  }),
  v.check(
    ({ applications, credentials }) =>
      credentials.every((each) => each.applications.every((id) => applications.some((one) => one.id === id))),
    'has a credential for an application that is not there',
  ),
  v.description('CreateTokenWithIAM, which is signed (SigV4); off where absent.'),
);

export const config = v.strictObject({
  path: v.optional(
    v.pipe(
      text(PATH, 'must be a path that is not /connect or /oauth2, without a final slash', 'A path.', '/sso'),
      v.description('Below which path of the origin the API is, as it stands in AWS_ENDPOINT_URL_SSO_OIDC.'),
    ),
    '',
  ),
  scopes: v.optional(scopes('The scopes that clients may register; one that names none has all of them.'), [
    'openid',
    'profile',
    'email',
    'sso:account:access',
  ]),
  registrationTtl: v.optional(life('How long a registration holds.', '90d', 365 * DAY), '90d'),
  registrations: v.optional(
    v.pipe(
      v.strictObject({
        perAddress: count('Registrations from one address in each window.', 100, 1_000_000),
        windowSeconds: count('The window, in seconds.', 3600, DAY),
      }),
      v.description('How often somebody may register.'),
    ),
    {},
  ),
  accessTokenTtl: v.optional(life('Life of access tokens; that of doors.oauth where absent.', '1h', DAY)),
  consent: flag('People are asked before a client is given anything.', true),
  idToken: flag('Whoever has the scope openid is given an idToken. AWS documents it and gives none.', true),
  scope: v.optional(
    v.pipe(
      v.picklist(['narrows', 'ignored']),
      v.description('What `scope` of CreateToken does: it narrows the access token, or, as at AWS, nothing.'),
    ),
    'narrows',
  ),
  iam: v.optional(iam),
});

export type DoorConfig = v.InferOutput<typeof config>;
export type IamConfig = NonNullable<DoorConfig['iam']>;
export type ApplicationConfig = IamConfig['applications'][number];
