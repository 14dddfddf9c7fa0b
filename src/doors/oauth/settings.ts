/** The settings of `doors.oauth`. */
import * as v from 'valibot';
import { ALGORITHMS } from '../../core/ports.ts';
import { GRANTS } from './grants/index.ts';

const UNITS = { s: 1, m: 60, h: 3600, d: 86_400 } as const;
const DURATION = /^([1-9]\d{0,6})([smhd])$/;
const DAY = 86_400;
/** RFC 6749 section 3.3: a scope-token. */
const SCOPE = /^[\x21\x23-\x5B\x5D-\x7E]{1,128}$/;
const VISIBLE = /^[\x21-\x7E]{1,255}$/;
const SECRET_HASH = /^sha256:[A-Za-z0-9_-]{43}$/;

function text(form: RegExp, problem: string, description: string, example: string) {
  return v.pipe(v.string(), v.regex(form, problem), v.description(description), v.examples([example]));
}

function flag(description: string, fallback: boolean) {
  return v.optional(v.pipe(v.boolean(), v.description(description)), fallback);
}

/** A time such as 1h, or whole seconds. */
function life(description: string, example: string, maxSeconds: number) {
  return v.pipe(
    v.union([
      v.pipe(v.number(), v.integer(), v.minValue(1)),
      text(DURATION, `must be a time such as ${example}`, description, example),
    ]),
    v.transform((given) => {
      if (typeof given === 'number') return given;
      const [, count, unit] = DURATION.exec(given) ?? [];
      return Number(count) * UNITS[unit as keyof typeof UNITS];
    }),
    v.check((seconds) => seconds <= maxSeconds, `must be at most ${maxSeconds} seconds`),
    v.description(description),
  );
}

const scope = text(SCOPE, 'must be a scope (RFC 6749 section 3.3)', 'A scope.', 'orders.read');
const scopes = (description: string) => v.pipe(v.array(scope), v.description(description));
const path = (description: string, example: string) =>
  text(/^\/[^\0]{0,4095}$/, 'must be an absolute path', description, example);
const audience = text(
  VISIBLE,
  'must be 1 to 255 visible ASCII characters',
  'Its name in `aud`, `resource` and `audience`.',
  'https://orders.example.com',
);
const url = (description: string, example: string) =>
  v.pipe(
    v.string(),
    v.check((given) => URL.canParse(given), 'is no URL'),
    v.description(description),
    v.examples([example]),
  );

const client = v.pipe(
  v.strictObject({
    id: text(VISIBLE, 'must be 1 to 255 visible ASCII characters', 'Its client_id.', 'shop'),
    name: v.optional(
      v.pipe(v.string(), v.nonEmpty(), v.maxLength(100), v.description('Its name, for people.')),
    ),
    secrets: v.optional(
      v.pipe(
        v.array(
          text(
            SECRET_HASH,
            'must be sha256: and a hash, as `mintmark secret` prints it',
            'The hash of a secret, from `mintmark secret`.',
            'sha256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU',
          ),
        ),
        v.minLength(1),
        v.maxLength(5),
        v.description('Hashes of its secrets, any of which counts: add the new one before the old one goes.'),
      ),
    ),
    secretFile: v.optional(path('A file that holds its secret.', '/etc/mintmark/shop-secret')),
    jwks: v.optional(
      v.pipe(
        v.strictObject({ keys: v.pipe(v.array(v.record(v.string(), v.unknown())), v.minLength(1)) }),
        v.description('Its public keys, for private_key_jwt (RFC 7523 section 2.2).'),
      ),
    ),
    jwksUri: v.optional(
      url('Where its public keys are, for private_key_jwt.', 'https://shop.example.com/jwks'),
    ),
    match: v.optional(
      v.pipe(
        v.array(v.pipe(v.string(), v.includes(':', 'must be a selector'), v.examples(['unix:user:web']))),
        v.minLength(1),
        v.description(
          'Selectors of its process on the local socket, all of which must hold: it needs no secret.',
        ),
      ),
    ),
    federated: v.optional(
      v.pipe(
        v.strictObject({
          issuer: v.pipe(v.string(), v.nonEmpty(), v.description('A name below attestors.jwt.issuers.')),
          subject: v.pipe(v.string(), v.nonEmpty(), v.description('The `sub` of its assertions.')),
        }),
        v.description('A workload identity of another issuer that proves it, in the place of a secret.'),
      ),
    ),
    public: flag('It has no way to keep a secret: a program on a device or in a browser.', false),
    grants: v.pipe(
      v.array(v.picklist(Object.keys(GRANTS))),
      v.minLength(1),
      v.description('The grants that it may use.'),
    ),
    scopes: v.optional(scopes('Every scope that it may have; one that is asked for none gets these.'), []),
    redirectUris: v.optional(
      v.array(url('Where people are sent back to.', 'https://shop.example.com/cb')),
      [],
    ),
    postLogoutRedirectUris: v.optional(
      v.array(url('Where people are sent after they signed out.', 'https://shop.example.com/')),
      [],
    ),
    corsOrigins: v.optional(
      v.array(url('Origins whose pages may call the token endpoint.', 'https://app.example.com')),
      [],
    ),
    consent: flag('People are asked before it is given anything.', true),
    pkce: flag('Its codes are bound to a verifier (RFC 7636), as RFC 9700 section 2.1.1 wants.', true),
    scopeAs: v.optional(
      v.pipe(v.picklist(['array', 'string']), v.description('How `scope` stands in its tokens.')),
      'array',
    ),
    identityProviders: v.optional(
      v.pipe(
        v.array(v.string()),
        v.description('The identity providers that its people may come from; all where absent.'),
      ),
    ),
    dpop: flag('Its tokens must be bound to a key of its own (RFC 9449).', false),
    accessTokenTtl: v.optional(life('Life of its access tokens.', '1h', DAY)),
    refreshTokenTtl: v.optional(life('Life of its refresh tokens.', '30d', 365 * DAY)),
  }),
  v.check(
    ({ secrets, secretFile, jwks, jwksUri, match, federated, public: isPublic }) =>
      [secrets ?? secretFile, jwks, jwksUri, match, federated, isPublic || undefined].filter(
        (way) => way !== undefined,
      ).length === 1,
    'must prove itself by exactly one of secrets (or secretFile), jwks, jwksUri, match and federated, or be public',
  ),
  v.check(
    ({ grants, redirectUris }) => !grants.includes('authorization_code') || redirectUris.length > 0,
    'needs redirectUris for authorization_code',
  ),
  v.check(({ pkce, public: isPublic }) => pkce || !isPublic, 'is public: it needs pkce'),
  v.check(
    ({ grants, public: isPublic }) => !(isPublic && grants.includes('client_credentials')),
    'is public: anybody could use client_credentials in its name',
  ),
);

const resource = v.strictObject({
  audience,
  scopes: v.optional(scopes('The scopes that it knows.'), []),
  ttl: v.optional(life('Longest life of access tokens for it.', '1h', DAY)),
  algorithm: v.optional(v.pipe(v.picklist(ALGORITHMS), v.description('What tokens for it are signed with.'))),
  introspectedBy: v.optional(
    v.pipe(v.array(v.string()), v.description('The clients that may introspect tokens for it (RFC 7662).')),
    [],
  ),
});

const name = text(
  /^[a-z0-9][a-z0-9-]{0,62}$/,
  'must be of a-z, 0-9 and -',
  'Its name, as in idp:corp.',
  'corp',
);
const count = (description: string, max: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(max), v.description(description)));

const people = v.pipe(
  v.strictObject({
    title: v.optional(
      v.pipe(v.string(), v.nonEmpty(), v.maxLength(100), v.description('What the pages call this server.')),
    ),
    identityProviders: v.optional(
      v.pipe(
        v.record(
          name,
          v.strictObject({
            issuer: url('Its issuer: https, or http on loopback.', 'https://login.example.com'),
            clientId: v.pipe(v.string(), v.nonEmpty(), v.description('Our client_id there.')),
            clientSecretFile: v.optional(
              path('A file that holds our secret there.', '/etc/mintmark/corp-secret'),
            ),
            scopes: v.optional(scopes('What is asked for there.')),
            title: v.optional(
              v.pipe(v.string(), v.nonEmpty(), v.maxLength(100), v.description('What its button says.')),
            ),
            claims: v.optional(
              v.pipe(
                v.record(v.string(), v.string()),
                v.description('Our claim, and the claim there that it comes from.'),
              ),
            ),
          }),
        ),
        v.description('Where people may sign in beside the local users.'),
      ),
    ),
    scopes: v.optional(
      v.pipe(
        v.record(v.string(), v.string()),
        v.description('Scopes in words, for the page that asks for consent.'),
      ),
    ),
    logins: v.optional(
      v.pipe(
        v.strictObject({
          perUser: count('Attempts for one user name in each window.', 1_000),
          perAddress: count('Attempts from one address in each window.', 100_000),
          windowSeconds: count('The window, in seconds.', DAY),
        }),
        v.description('How often a password may be tried.'),
      ),
    ),
    passwords: v.optional(
      v.pipe(
        v.strictObject({
          cost: count("scrypt's cost, as a power of two: a hash takes 1 KiB times that.", 20),
          parallel: count('Hashes that are made at once.', 64),
        }),
        v.description('How passwords are kept.'),
      ),
    ),
  }),
  v.description('People who sign in.'),
);

export const config = v.strictObject({
  path: v.optional(
    v.pipe(
      v.picklist(['/connect', '/oauth2']),
      v.description("Where the endpoints are: IdentityServer's names, or the other usual ones."),
    ),
    '/connect',
  ),
  clients: v.optional(
    v.pipe(
      v.array(client),
      v.check((all) => new Set(all.map(({ id }) => id)).size === all.length, 'two have the same id'),
      v.description('Who may ask.'),
    ),
    [],
  ),
  resources: v.optional(
    v.pipe(
      v.array(resource),
      v.check(
        (all) => new Set(all.map((one) => one.audience)).size === all.length,
        'two have the same audience',
      ),
      v.description('What tokens are for.'),
    ),
    [],
  ),
  accessTokenTtl: v.optional(life('Life of access tokens.', '1h', DAY), '1h'),
  refreshTokenTtl: v.optional(life('Life of refresh tokens.', '30d', 365 * DAY), '30d'),
  sessionTtl: v.optional(life('How long people stay signed in.', '14d', 365 * DAY), '14d'),
  deviceCodeTtl: v.optional(life('Life of device codes.', '10m', 3600), '10m'),
  deviceInterval: v.optional(life('How long a device waits between two polls.', '5s', 60), '5s'),
  people: v.optional(people, {}),
  registration: v.optional(
    v.pipe(
      v.strictObject({
        accessTokenFile: path(
          'A file that holds the initial access token.',
          '/etc/mintmark/registration-token',
        ),
        scopes: v.optional(scopes('The scopes that registered clients may have.'), []),
      }),
      v.description('Dynamic registration of clients (RFC 7591); off where absent.'),
    ),
  ),
});

/** Doors that are servers of their own have other paths than a configuration names. */
export type OAuthConfig = Omit<v.InferOutput<typeof config>, 'path'> & { readonly path: string };
export type ClientConfig = OAuthConfig['clients'][number];
