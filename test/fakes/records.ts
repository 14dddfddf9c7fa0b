/** Records in memory (core/records.ts), for tests of what is built on them. */
import { isDeepStrictEqual } from 'node:util';
import type { EpochSeconds } from '../../src/core/ports.ts';
import type { FoundRecord, RecordFields, RecordKey, RecordStore } from '../../src/core/records.ts';

type Kept = RecordKey & RecordFields & { readonly consumedAt?: EpochSeconds | undefined };

const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value));
const nameOf = ({ realm, model, id }: RecordKey) => JSON.stringify([realm, model, id]);
const isLive = ({ expiresAt }: RecordFields, now: EpochSeconds) => expiresAt === undefined || expiresAt > now;

export function fakeRecords(): RecordStore {
  const kept = new Map<string, Kept>();
  const live = (key: RecordKey, now: EpochSeconds) => {
    const found = kept.get(nameOf(key));
    return found !== undefined && isLive(found, now) ? found : undefined;
  };
  const shown = ({ realm: _, model: __, ...record }: Kept): FoundRecord => plain(record);
  const all = ({ realm, model }: Omit<RecordKey, 'id'>) =>
    [...kept.values()].filter((each) => each.realm === realm && each.model === model);
  const drop = (isGone: (each: Kept) => boolean) => {
    const gone = [...kept].filter(([, each]) => isGone(each));
    for (const [name] of gone) kept.delete(name);
    return gone.length;
  };
  return {
    async insert(key, fields, now) {
      const rivals = all(key).filter((each) => fields.uid !== undefined && each.uid === fields.uid);
      if (live(key, now) !== undefined || rivals.some((each) => isLive(each, now))) return false;
      kept.set(nameOf(key), plain({ ...key, ...fields }));
      return true;
    },
    async upsert(key, fields) {
      const consumedAt = kept.get(nameOf(key))?.consumedAt;
      kept.set(nameOf(key), plain({ ...key, ...fields, consumedAt }));
    },
    async replace(key, expected, payload, uid) {
      const old = kept.get(nameOf(key));
      if (old === undefined || !isDeepStrictEqual(old.payload, plain(expected))) return false;
      kept.set(nameOf(key), plain({ ...old, payload, uid: uid ?? old.uid }));
      return true;
    },
    async find(key, now) {
      const found = live(key, now);
      return found && shown(found);
    },
    async findBy(place, name, value, now) {
      const found = all(place).find((each) => each[name] === value && isLive(each, now));
      return found && shown(found);
    },
    async consume(key, now) {
      const found = live(key, now);
      if (found === undefined || found.consumedAt !== undefined) return false;
      kept.set(nameOf(key), { ...found, consumedAt: now });
      return true;
    },
    async redeem(key, made, now) {
      if (!(await this.consume(key, now))) return false;
      for (const each of made) kept.set(nameOf(each.key), plain({ ...each.key, ...each.fields }));
      return true;
    },
    remove: async (key) => kept.delete(nameOf(key)),
    removeFamily: async (realm, family) => drop((each) => each.realm === realm && each.family === family),
    removeRealm: async (realm) => drop((each) => each.realm === realm),
    async list(place, { after = '', limit }, now) {
      const found = all(place).filter((each) => isLive(each, now) && each.id > after);
      return found
        .sort((a, b) => (a.id < b.id ? -1 : 1))
        .slice(0, limit)
        .map(shown);
    },
    async count(key, windowSeconds, now) {
      const old = live(key, now);
      const count = Number(old?.payload.count ?? 0) + 1;
      const expiresAt = old?.expiresAt ?? now + windowSeconds;
      kept.set(nameOf(key), { ...key, payload: { count }, expiresAt });
      return count;
    },
    sweep: async (before) => drop((each) => !isLive(each, before)),
    close: async () => undefined,
  };
}
