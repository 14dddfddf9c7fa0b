/** How often somebody may try: counted in the store, so that replicas count together. */
import { isIPv6 } from 'node:net';
import { IssuerError } from '../../../core/errors.ts';
import type { Clock } from '../../../core/ports.ts';
import type { RecordStore } from '../../../core/records.ts';
import { hash } from '../adapter.ts';
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
  const key = (kind: string, value: string) => ({ realm, model: 'Attempts', id: `${kind}.${hash(value)}` });
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
      await count('address', networkOf(address), perAddress);
      await count('user', nameOf(username), perUser);
    },
    takeCode: (username) => count('code', nameOf(username), CODES_PER_WINDOW),
    async forgive(username) {
      await records.remove(key('user', nameOf(username)));
    },
  };
}

/** Whoever has one IPv6 address has 2^64 of them; an IPv4 address within IPv6 is that one. */
export function networkOf(address: string): string {
  const [, mapped] = /^::ffff:([0-9.]+)$/i.exec(address) ?? [];
  if (mapped !== undefined || !isIPv6(address)) return mapped ?? address;
  const [head = '', tail = ''] = address.split('%', 1)[0]?.split('::') ?? [];
  const [before, after] = [head, tail].map((part) => part.split(':').filter(Boolean)) as [string[], string[]];
  const gap = Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0');
  const groups = [...before, ...(address.includes('::') ? gap : []), ...after].slice(0, 4);
  return groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':');
}
