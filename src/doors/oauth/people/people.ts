/** People: who they are, how they log in, and the pages for it. contract.ts says how the engine uses it. */
import { createAccounts } from './accounts.ts';
import { createUserRoutes } from './admin.ts';
import { createAttempts } from './attempts.ts';
import { CLAIMS_BY_SCOPE } from './claims.ts';
import type { People, PeopleParts } from './contract.ts';
import { createMiddleware, showFault } from './interaction.ts';
import { checkPassword } from './password-check.ts';
import { createPasswords } from './passwords.ts';
import { createPolicy } from './policy.ts';
import { createSources } from './sources.ts';
import { createUpstreams } from './upstream.ts';
import { createUsers } from './users.ts';
import type { Rooms } from './visit.ts';

export function openPeople(parts: PeopleParts): People {
  const { records, realm, clock, config, issuer, secret, usersOf = realm } = parts;
  const url = new URL(issuer);
  const prefix = url.pathname.replace(/\/$/, '');
  const brand = config.title ?? url.host;
  const passwords = createPasswords(config.passwords ?? {});
  const users = createUsers({
    ...{ records, realm: usersOf, clock, passwords, secret },
    isClient: async (id) => (await parts.provider().Client.find(id)) !== undefined,
  });
  const accounts = createAccounts({ records, realm, clock, users });
  const attempts = createAttempts(records, usersOf, clock, config.logins);
  const upstreams = createUpstreams(config.identityProviders ?? {}, clock);
  const rooms: Rooms = { ...parts, brand, prefix, users, accounts, attempts, upstreams };
  return {
    middleware: createMiddleware(rooms),
    showFault: (context, error) => showFault(rooms, context, error),
    findAccount: accounts.find,
    rememberLogin: accounts.rememberLogin,
    bindLogin: accounts.bindLogin,
    loginOf: accounts.loginOf,
    passwords: { check: (...question) => checkPassword(rooms, ...question) },
    interactions: {
      url: (_context, { uid }) => `${prefix}/interaction/${uid}`,
      policy: createPolicy(config, accounts),
    },
    claims: CLAIMS_BY_SCOPE,
    ...createSources(brand),
    adminRoutes: createUserRoutes(users, accounts, brand),
  };
}
