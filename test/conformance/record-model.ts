/** What a RecordStore (core/records.ts) must come to, in the simplest way: a list, and no thought of speed. */
import { isDeepStrictEqual } from 'node:util';
import type { EpochSeconds } from '../../src/core/ports.ts';
import type {
  FoundRecord,
  NewRecord,
  RecordFields,
  RecordKey,
  RecordPayload,
} from '../../src/core/records.ts';

type Kept = RecordKey & { readonly fields: RecordFields; readonly consumedAt?: EpochSeconds | undefined };
type Place = Omit<RecordKey, 'id'>;

const plain = <T>(value: T): T => JSON.parse(JSON.stringify(value));
const byBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

export class RecordModel {
  #kept: Kept[] = [];

  insert(key: RecordKey, fields: RecordFields, now: EpochSeconds): boolean {
    // Whoever had its second names and has expired goes, even where it then is not inserted.
    const named = this.#named(key, fields);
    this.#drop((each) => named.includes(each) && !isLive(each, now));
    const old = this.#at(key);
    if ([old, ...named].some((rival) => rival !== undefined && isLive(rival, now))) return false;
    this.#kept = this.#kept.filter((each) => each !== old);
    this.#kept.push({ ...key, fields: plain(fields) });
    return true;
  }

  /** False: a conflict. */
  upsert(key: RecordKey, fields: RecordFields): boolean {
    const old = this.#at(key);
    if (this.#named(key, fields).some((rival) => rival !== old)) return false;
    this.#kept = this.#kept.filter((each) => each !== old);
    this.#kept.push({ ...key, fields: plain(fields), consumedAt: old?.consumedAt });
    return true;
  }

  /** Undefined: a conflict. */
  replace(
    key: RecordKey,
    expected: RecordPayload,
    payload: RecordPayload,
    uid?: string,
  ): boolean | undefined {
    const old = this.#at(key);
    if (old === undefined || !isDeepStrictEqual(old.fields.payload, plain(expected))) return false;
    const name = uid === undefined ? {} : { uid };
    if (this.#named(key, { payload, ...name }).some((rival) => rival !== old)) return undefined;
    this.#put(old, { ...old, fields: { ...old.fields, payload: plain(payload), ...name } });
    return true;
  }

  find(key: RecordKey, now: EpochSeconds): FoundRecord | undefined {
    const kept = this.#at(key);
    return kept && isLive(kept, now) ? found(kept) : undefined;
  }

  findBy(place: Place, name: 'uid' | 'userCode', value: string, now: EpochSeconds): FoundRecord | undefined {
    const kept = this.#in(place).find((each) => each.fields[name] === value && isLive(each, now));
    return kept && found(kept);
  }

  consume(key: RecordKey, now: EpochSeconds): boolean {
    const old = this.#at(key);
    if (old === undefined || !isLive(old, now) || old.consumedAt !== undefined) return false;
    this.#put(old, { ...old, consumedAt: now });
    return true;
  }

  redeem(key: RecordKey, made: readonly NewRecord[], now: EpochSeconds): boolean {
    if (!this.consume(key, now)) return false;
    for (const each of made) this.upsert(each.key, each.fields);
    return true;
  }

  remove(key: RecordKey): boolean {
    return this.#drop((each) => each === this.#at(key)) === 1;
  }

  removeFamily(realm: string, family: string): number {
    return this.#drop((each) => each.realm === realm && each.fields.family === family);
  }

  removeRealm(realm: string): number {
    return this.#drop((each) => each.realm === realm);
  }

  list(place: Place, after: string | undefined, limit: number, now: EpochSeconds): readonly FoundRecord[] {
    return this.#in(place)
      .filter((each) => isLive(each, now) && (after === undefined || byBytes(each.id, after) > 0))
      .sort((a, b) => byBytes(a.id, b.id))
      .slice(0, limit)
      .map(found);
  }

  count(key: RecordKey, windowSeconds: number, now: EpochSeconds): number {
    const old = this.#at(key);
    if (old !== undefined && isLive(old, now)) {
      const count = Number(old.fields.payload.count) + 1;
      this.#put(old, { ...old, fields: { ...old.fields, payload: { count } } });
      return count;
    }
    const fields = { payload: { count: 1 }, expiresAt: now + windowSeconds };
    this.#kept = this.#kept.filter((each) => each !== old);
    this.#kept.push({ ...key, fields });
    return 1;
  }

  /** All of them, so that the order of those that expired at once is left open. */
  sweep(before: EpochSeconds): number {
    return this.#drop((each) => !isLive(each, before));
  }

  #at({ realm, model, id }: RecordKey): Kept | undefined {
    return this.#in({ realm, model }).find((each) => each.id === id);
  }

  #in({ realm, model }: Place): readonly Kept[] {
    return this.#kept.filter((each) => each.realm === realm && each.model === model);
  }

  #named(place: Place, { uid, userCode }: RecordFields): readonly Kept[] {
    return this.#in(place).filter(
      ({ fields }) =>
        (uid !== undefined && fields.uid === uid) || (userCode !== undefined && fields.userCode === userCode),
    );
  }

  #put(old: Kept, kept: Kept): void {
    this.#kept = this.#kept.map((each) => (each === old ? kept : each));
  }

  #drop(isGone: (each: Kept) => boolean): number {
    const left = this.#kept.filter((each) => !isGone(each));
    const dropped = this.#kept.length - left.length;
    this.#kept = left;
    return dropped;
  }
}

const isLive = ({ fields }: Kept, now: EpochSeconds): boolean =>
  fields.expiresAt === undefined || fields.expiresAt > now;

function found({ id, fields, consumedAt }: Kept): FoundRecord {
  return plain({ id, ...fields, consumedAt });
}
