/** The password grant (RFC 6749 section 4.3): the same limits, users and second factor as the pages. */
import { newLoginUid } from './accounts.ts';
import { assertAcrValues, idpsFor, parseAcrValues } from './acr-values.ts';
import { LOCAL_IDP, type LoginEvent, type People } from './contract.ts';
import { localLogin, mayHaveTenant } from './login.ts';
import type { User } from './users.ts';
import type { Rooms } from './visit.ts';

export async function checkPassword(
  rooms: Rooms,
  ...[username, password, question]: Parameters<People['passwords']['check']>
): ReturnType<People['passwords']['check']> {
  const { users, attempts, accounts, clock } = rooms;
  const { address, acrValues, otp, client } = question;
  assertAcrValues(acrValues);
  const { idp = LOCAL_IDP, tenant } = parseAcrValues(acrValues);
  const tellAs = (outcome: LoginEvent['outcome'], user: User | undefined) =>
    rooms.onLogin?.({ outcome, idp, address, client: client?.clientId, sub: user?.sub });
  const refuse = async (outcome: LoginEvent['outcome']) => {
    tellAs(outcome, await users.find(username));
    return undefined;
  };
  const counted = async (take: Promise<void>) =>
    take.catch(async (error) => {
      await refuse('too_many');
      throw error;
    });
  await counted(attempts.take(username, address));
  const user = await users.withPassword(username, password);
  if (user === undefined || idp !== LOCAL_IDP || !idpsFor(rooms.config, client).includes(LOCAL_IDP))
    return refuse('wrong_password');
  if (!mayHaveTenant(user, tenant)) return refuse('wrong_tenant');
  const hasCode = user.totpSecret !== undefined;
  if (hasCode) {
    if (otp !== undefined) await counted(attempts.takeCode(user.username));
    if (otp === undefined || !(await users.useCode(user, otp))) return refuse('wrong_code');
  }
  await attempts.forgive(username);
  tellAs('signed_in', user);
  const { sub, amr, acr } = localLogin(user, hasCode);
  const [authTime, sessionUid] = [clock.now(), newLoginUid()];
  if (tenant !== undefined) await accounts.keepTenant({ accountId: sub, sessionUid, authTime }, tenant);
  return { sub, idp, tenant, amr, acr, authTime, sessionUid };
}
