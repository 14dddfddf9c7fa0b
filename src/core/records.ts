/** What OAuth has to keep: one port, implemented by stores/sqlite.ts and stores/postgres-records.ts. */
import type { EpochSeconds } from './ports.ts';

/**
 * Where a record is: the realm (an issuer's name; records of two realms never meet), the model
 * (`RefreshToken`, `User` …) and the id. Bearer values are hashed before they become an id.
 * Each of them, and each of the names below, is 1 to 512 bytes of UTF-8 without NUL.
 */
export type RecordKey = { readonly realm: string; readonly model: string; readonly id: string };

/** Plain data that survives JSON. Two are equal whose members are, in whatever order. */
export type RecordPayload = Readonly<Record<string, unknown>>;

export type RecordFields = {
  readonly payload: RecordPayload;
  /** From then on it is not found; undefined: it stays. */
  readonly expiresAt?: EpochSeconds | undefined;
  /** Everything of one grant, which ends together. */
  readonly family?: string | undefined;
  /** Second names that it is found by, such as a hashed user code; each unique in its realm and model, until it expires. */
  readonly uid?: string | undefined;
  readonly userCode?: string | undefined;
};

export type NewRecord = { readonly key: RecordKey; readonly fields: RecordFields };

export type FoundRecord = RecordFields & {
  readonly id: string;
  readonly consumedAt?: EpochSeconds | undefined;
};

/**
 * Every call is atomic, also against other processes, and a change is durable once it resolves (but
 * for `count` and `sweep`, whose loss in a power cut does no harm). Each throws
 * `temporarily_unavailable` on a fault, after which the change was made wholly or not at all;
 * `server_error` on corruption; `invalid_request` where a key or a name is none (see RecordKey).
 */
export interface RecordStore {
  /**
   * Writes a record that is not there (or has expired); false where there is one, or one that has its
   * second name: that stays as it is.
   */
  insert(key: RecordKey, fields: RecordFields, now: EpochSeconds): Promise<boolean>;
  /**
   * Writes it anew or in the place of the old one, whose `consumedAt` stays. Throws `conflict` where
   * another record has its second name.
   */
  upsert(key: RecordKey, fields: RecordFields): Promise<void>;
  /**
   * Replaces the payload, and `uid` where one is given, where the stored payload still equals `expected`;
   * false where it does not or is not there. Throws `conflict` where another record has that name.
   */
  replace(key: RecordKey, expected: RecordPayload, payload: RecordPayload, uid?: string): Promise<boolean>;
  find(key: RecordKey, now: EpochSeconds): Promise<FoundRecord | undefined>;
  findBy(
    place: Omit<RecordKey, 'id'>,
    name: 'uid' | 'userCode',
    value: string,
    now: EpochSeconds,
  ): Promise<FoundRecord | undefined>;
  /** True for exactly one caller; false where it was consumed before or is not there. */
  consume(key: RecordKey, now: EpochSeconds): Promise<boolean>;
  /** Consumes it and writes what is given for it, which has names of its own, in one change; false as of `consume`. */
  redeem(key: RecordKey, made: readonly NewRecord[], now: EpochSeconds): Promise<boolean>;
  /** True where it was there, expired or not. */
  remove(key: RecordKey): Promise<boolean>;
  /** Removes everything of the family in the realm, also what is being redeemed meanwhile; how many. */
  removeFamily(realm: string, family: string): Promise<number>;
  /** Removes everything of the realm; how many. */
  removeRealm(realm: string): Promise<number>;
  /** In the order of the ids' bytes, those behind `after`, which is a name (never ''); expired ones are left out. */
  list(
    place: Omit<RecordKey, 'id'>,
    page: { readonly after?: string | undefined; readonly limit: number },
    now: EpochSeconds,
  ): Promise<readonly FoundRecord[]>;
  /**
   * Adds one to a counter and returns what it then is. A counter that is not there, or whose
   * window has ended, begins at 1 with a window of so many seconds. Counters have models of their
   * own; `find` shows one as the payload `{ count }`.
   */
  count(key: RecordKey, windowSeconds: number, now: EpochSeconds): Promise<number>;
  /** Removes at most `limit` records that have expired by then, the oldest first; how many. */
  sweep(before: EpochSeconds, limit: number): Promise<number>;
  close(): Promise<void>;
}
