/** The settings of `doors.vultr`. */
import * as v from 'valibot';
import {
  audience,
  clientId,
  clientName,
  DAY,
  flag,
  life,
  scopes,
  secretHashes,
  urls,
} from '../setting-kinds.ts';

const client = v.pipe(
  v.strictObject({
    id: clientId,
    name: clientName,
    secrets: secretHashes(
      'Hashes of its secrets, any of which counts. Without one: by an API key, or public.',
    ),
    public: flag('It has no way to keep a secret: PKCE is asked of it, and it exchanges no tokens.', false),
    redirectUris: v.pipe(
      urls('Where people may be sent back to.', 'https://shop.example.com/callback'),
      v.minLength(1),
    ),
    scopes: v.optional(scopes('Every scope that it may have; one that asks for none gets these.'), [
      'openid',
      'profile',
      'email',
      'offline_access',
    ]),
    consent: flag('People are asked before it is given anything.', true),
    providers: v.optional(
      v.pipe(
        v.array(v.pipe(v.string(), v.nonEmpty(), v.description('The name or id of a provider.'))),
        v.minLength(1),
        v.description(
          'The providers whose client it is, by name or id; all where absent. By a name it is a client of every provider that is given it.',
        ),
      ),
    ),
  }),
  v.check(
    ({ secrets, public: isPublic }) => !(isPublic && secrets !== undefined),
    'is public, with a secret',
  ),
);

const resource = v.strictObject({
  audience,
  scopes: v.optional(scopes('The scopes that it knows.'), []),
});

export const config = v.strictObject({
  clients: v.optional(
    v.pipe(
      v.array(client),
      v.check((all) => new Set(all.map(({ id }) => id)).size === all.length, 'two have the same id'),
      v.description('Who may send people to a provider and redeem what comes back.'),
    ),
    [],
  ),
  resources: v.optional(v.pipe(v.array(resource), v.description('What access tokens are for.')), []),
  users: v.optional(
    v.pipe(
      v.picklist(['own', 'shared']),
      v.description(
        'own: each provider has local users of its own (`mintmark users --issuer ID`). shared: those of the main issuer sign in everywhere.',
      ),
    ),
    'own',
  ),
  accessTokenTtl: v.optional(life('Life of access tokens.', '1h', DAY), '1h'),
  refreshTokenTtl: v.optional(life('Life of refresh tokens.', '30d', 365 * DAY), '30d'),
  sessionTtl: v.optional(life('How long people stay signed in.', '14d', 365 * DAY), '14d'),
  allowPrivateIssuers: flag(
    'The keys of external issuers may be fetched from loopback and private networks.',
    false,
  ),
  wrongKeysPerMinute: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(1),
      v.maxValue(10_000),
      v.description('Wrong API keys that one network may show in a minute.'),
    ),
    20,
  ),
  spareKeys: v.optional(
    v.pipe(
      v.number(),
      v.integer(),
      v.minValue(0),
      v.maxValue(100),
      v.description('RSA keys made beforehand; a new provider takes two.'),
    ),
    8,
  ),
});

export type VultrConfig = v.InferOutput<typeof config>;
export type ClientSettings = VultrConfig['clients'][number];
