/** People: who they are, how they log in, and the pages for it. contract.ts says how the engine uses it. */
import { createAccounts, newLoginUid } from './accounts.ts';
import { idpsFor, parseAcrValues } from './acr-values.ts';
import { createUserRoutes } from './admin.ts';
import { createAttempts } from './attempts.ts';
import { CLAIMS_BY_SCOPE } from './claims.ts';
import { LOCAL_IDP, type People, type PeopleParts } from './contract.ts';
import { createMiddleware } from './interaction.ts';
import { localLogin, mayHaveTenant } from './login.ts';
import { createPasswords } from './passwords.ts';
import { createPolicy } from './policy.ts';
import { createSources } from './sources.ts';
import { createUpstreams } from './upstream.ts';
import { createUsers } from './users.ts';
import type { Rooms } from './visit.ts';

export function openPeople(parts: PeopleParts): People {
  const { records, realm, clock, config, issuer } = parts;
  const url = new URL(issuer);
  const prefix = url.pathname.replace(/\/$/, '');
  const brand = config.title ?? url.host;
  const users = createUsers({ records, realm, clock, passwords: createPasswords(config.passwords ?? {}) });
  const accounts = createAccounts({ records, realm, clock, users });
  const attempts = createAttempts(records, realm, clock, config.logins);
  const upstreams = createUpstreams(config.identityProviders ?? {}, clock);
  const rooms: Rooms = { ...parts, brand, prefix, users, accounts, attempts, upstreams };
  return {
    middleware: createMiddleware(rooms),
    findAccount: accounts.find,
    rememberLogin: accounts.rememberLogin,
    loginOf: accounts.loginOf,
    passwords: { check: (...question) => checkPassword(rooms, ...question) },
    interactions: {
      url: (_context, { uid }) => `${prefix}/interaction/${uid}`,
      policy: createPolicy(config, accounts),
    },
    claims: CLAIMS_BY_SCOPE,
    ...createSources(brand),
    adminRoutes: createUserRoutes(users, brand),
    close: async () => undefined,
  };
}

/** The password grant (RFC 6749 section 4.3): the same limits, users and second factor as the pages. */
async function checkPassword(
  rooms: Rooms,
  ...[username, password, question]: Parameters<People['passwords']['check']>
): ReturnType<People['passwords']['check']> {
  const { users, attempts, accounts, clock } = rooms;
  const { address, acrValues, otp, client } = question;
  const { idp = LOCAL_IDP, tenant } = parseAcrValues(acrValues);
  await attempts.take(username, address);
  const user = await users.withPassword(username, password);
  if (user === undefined || idp !== LOCAL_IDP || !idpsFor(rooms.config, client).includes(LOCAL_IDP))
    return undefined;
  if (!mayHaveTenant(user, tenant)) return undefined;
  const hasCode = user.totpSecret !== undefined;
  if (hasCode) {
    if (otp === undefined) return undefined;
    await attempts.takeCode(user.username);
    if (!(await users.useCode(user, otp))) return undefined;
  }
  await attempts.forgive(username);
  const { sub, amr, acr } = localLogin(user, hasCode);
  const [authTime, sessionUid] = [clock.now(), newLoginUid()];
  if (tenant !== undefined) await accounts.keepTenant({ accountId: sub, sessionUid, authTime }, tenant);
  return { sub, idp, tenant, amr, acr, authTime, sessionUid, claims: user.claims };
}
