/** How often somebody may try: counted in the store, so that replicas count together. */
import { createHash } from 'node:crypto';
import { IssuerError } from '../../../core/errors.ts';
import type { Clock } from '../../../core/ports.ts';
import type { RecordStore } from '../../../core/records.ts';
import type { PeopleConfig } from './contract.ts';
import { normalizeUsername } from './users.ts';

export type Attempts = {
  /** Counts one attempt. Throws `too_many_requests` where there were too many. */
  take(username: string, address: string): Promise<void>;
  /** The same for one-time codes, which are few. */
  takeCode(username: string): Promise<void>;
  /** The user's own count begins anew; the address's does not, since anyone may have one account. */
  forgive(username: string): Promise<void>;
};

const CODES_PER_WINDOW = 5;

export function createAttempts(
  records: RecordStore,
  realm: string,
  clock: Clock,
  limits: PeopleConfig['logins'] = {},
): Attempts {
  const { perUser = 10, perAddress = 100, windowSeconds = 300 } = limits;
  const key = (kind: string, value: string) => ({ realm, model: 'Attempts', id: `${kind}.${digest(value)}` });
  async function count(kind: string, value: string, most: number): Promise<void> {
    const made = await records.count(key(kind, value), windowSeconds, clock.now());
    if (made > most)
      throw new IssuerError('too_many_requests', `too many logins by ${kind}`, {
        retryAfterSeconds: windowSeconds,
      });
  }
  /** Every spelling of a name is one. */
  const nameOf = (username: string) => normalizeUsername(username) ?? username;
  return {
    async take(username, address) {
      await count('address', address, perAddress);
      await count('user', nameOf(username), perUser);
    },
    takeCode: (username) => count('code', nameOf(username), CODES_PER_WINDOW),
    async forgive(username) {
      await records.remove(key('user', nameOf(username)));
    },
  };
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url');
}
