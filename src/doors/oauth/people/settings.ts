/** The settings of `doors.oauth.people`. */
import * as v from 'valibot';
import { DAY, path, scopes, text, url } from '../../setting-kinds.ts';

const name = text(
  /^[a-z0-9][a-z0-9-]{0,62}$/,
  'must be of a-z, 0-9 and -',
  'Its name, as in idp:corp.',
  'corp',
);
const count = (description: string, max: number) =>
  v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(max), v.description(description)));

export const people = v.pipe(
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
