/** The settings of `doors.oauth`. */
import * as v from 'valibot';
import { ALGORITHMS } from '../../core/ports.ts';
import { IDENTITY_SCOPES } from '../../core/scopes.ts';
import {
  audience,
  clientId,
  clientName,
  DAY,
  flag,
  life,
  names,
  path,
  scopes,
  secretHashes,
  url,
  urls,
} from '../setting-kinds.ts';
import { parseNetwork } from './address.ts';
import { GRANTS } from './grants/index.ts';
import { people } from './people/settings.ts';

/** The others are for clients that an operator knows. */
const REGISTERED_GRANTS = [
  'authorization_code',
  'refresh_token',
  'device_code',
  'client_credentials',
] as const;

const client = v.pipe(
  v.strictObject({
    id: clientId,
    name: clientName,
    secrets: secretHashes(
      'Hashes of its secrets, any of which counts: add the new one before the old one goes.',
    ),
    secretFile: v.optional(path('A file that holds its secret.', '/etc/mintmark/shop-secret')),
    jwks: v.optional(
      v.pipe(
        v.strictObject({
          keys: v.pipe(
            v.array(v.record(v.string(), v.unknown())),
            v.minLength(1),
            v.description('JWKs (RFC 7517).'),
          ),
        }),
        v.description('Its public keys, for private_key_jwt (RFC 7523 section 2.2).'),
      ),
    ),
    jwksUri: v.optional(
      url('Where its public keys are, for private_key_jwt.', 'https://shop.example.com/jwks'),
    ),
    match: v.optional(
      v.pipe(
        v.array(
          v.pipe(
            v.string(),
            v.includes(':', 'must be a selector'),
            v.description('A selector.'),
            v.examples(['unix:user:web']),
          ),
        ),
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
      v.array(v.pipe(v.picklist(Object.keys(GRANTS)), v.description('A grant.'))),
      v.minLength(1),
      v.description('The grants that it may use.'),
    ),
    scopes: v.optional(scopes('Every scope that it may have; one that is asked for none gets these.'), []),
    redirectUris: v.optional(
      urls(
        'Where people are sent back to, exactly; but the port of a public client on 127.0.0.1 or [::1] (RFC 8252 section 7.3).',
        'https://shop.example.com/cb',
      ),
      [],
    ),
    postLogoutRedirectUris: v.optional(
      urls('Where people are sent after they signed out.', 'https://shop.example.com/'),
      [],
    ),
    corsOrigins: v.optional(
      urls('Origins whose pages may call the token endpoint.', 'https://app.example.com'),
      [],
    ),
    consent: flag('People are asked before it is given anything.', true),
    scopeAs: v.optional(
      v.pipe(v.picklist(['array', 'string']), v.description('How `scope` stands in its tokens.')),
      'array',
    ),
    identityProviders: v.optional(
      v.pipe(
        names('A name below people.identityProviders, or local.'),
        v.description('The identity providers that its people may come from; all where absent.'),
      ),
    ),
    tokenUrlAudience: flag(
      'Its assertions may name the token endpoint as `aud`, as older libraries do, and not the issuer alone.',
      false,
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
    v.pipe(names('A client_id.'), v.description('The clients that may introspect tokens for it (RFC 7662).')),
    [],
  ),
});

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
  clientAssertionTtl: v.optional(
    life("How far ahead a client's assertion may expire (private_key_jwt).", '5m', 3600),
    '5m',
  ),
  deviceCodeTtl: v.optional(life('Life of device codes.', '10m', 3600), '10m'),
  deviceInterval: v.optional(life('How long a device waits between two polls.', '5s', 60), '5s'),
  trustedProxies: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string(),
          v.check((network) => parseNetwork(network) !== undefined, 'must be a network such as 10.0.0.0/8'),
          v.description('A network.'),
          v.examples(['10.0.0.0/8']),
        ),
      ),
      v.description(
        'Proxies that are believed what X-Forwarded-For says: limits go by the address of people.',
      ),
    ),
    [],
  ),
  people: v.optional(people, {}),
  registration: v.optional(
    v.pipe(
      v.strictObject({
        accessTokenFile: path(
          'A file that holds the initial access token, or its hash from `mintmark secret`.',
          '/etc/mintmark/registration-token',
        ),
        scopes: v.optional(
          scopes('The scopes that registered clients may have; those for signing in where absent.'),
          [...IDENTITY_SCOPES],
        ),
        grants: v.optional(
          v.pipe(
            v.array(v.pipe(v.picklist(REGISTERED_GRANTS), v.description('A grant.'))),
            v.minLength(1),
            v.description('The grants that they may use. client_credentials needs no person who consents.'),
          ),
          ['authorization_code', 'refresh_token', 'device_code'],
        ),
      }),
      v.description(
        'Dynamic registration of clients (RFC 7591); where absent nobody registers, and whoever did is unknown.',
      ),
    ),
  ),
});

type Written = v.InferOutput<typeof config>;

/** Doors that are servers of their own have other paths than a configuration names, and clients without PKCE. */
export type ClientConfig = Written['clients'][number] & { readonly pkce?: boolean };
export type OAuthConfig = Omit<Written, 'path' | 'clients'> & {
  readonly path: string;
  readonly clients: readonly ClientConfig[];
};
