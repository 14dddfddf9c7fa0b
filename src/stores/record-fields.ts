/** Records (core/records.ts) as every SQL store keeps them. */
import { IssuerError } from '../core/errors.ts';
import type { FoundRecord, RecordFields, RecordKey, RecordPayload } from '../core/records.ts';

const MAX_NAME_BYTES = 512;

/** A row; what SQL calls NULL is null. */
export type RecordRow = {
  readonly id: string;
  readonly payload: string;
  readonly expires_at: number | null;
  readonly consumed_at: number | null;
  readonly family: string | null;
  readonly uid: string | null;
  readonly user_code: string | null;
};

/** What a row is read from, and what a record that takes another's place sets anew. */
export const COLUMNS = 'id, payload, expires_at, consumed_at, family, uid, user_code';
export const REPLACED =
  'payload = excluded.payload, expires_at = excluded.expires_at, family = excluded.family, uid = excluded.uid, user_code = excluded.user_code';

/** Throws `invalid_request` unless each is what a key may be made of: the databases would cut or change others. */
export function assertNames(...names: readonly (string | undefined)[]): void {
  for (const name of names) {
    if (name === undefined) continue;
    const bytes = Buffer.byteLength(name);
    if (bytes === 0 || bytes > MAX_NAME_BYTES || name.includes('\0') || !name.isWellFormed())
      throw new IssuerError(
        'invalid_request',
        `a record's name has ${bytes} bytes, or characters that none has`,
      );
  }
}

export function assertKey({ realm, model, id }: RecordKey): void {
  assertNames(realm, model, id);
}

export function assertFields({ family, uid, userCode }: RecordFields): void {
  assertNames(family, uid, userCode);
}

/** JSON with the members of every object in one order, so that equal payloads are equal texts. */
export function encodePayload(payload: RecordPayload): string {
  return JSON.stringify(payload, (_, value: unknown) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}

export function decodeRow(row: RecordRow): FoundRecord {
  return {
    id: row.id,
    payload: decodePayload(row.payload),
    ...(row.expires_at !== null && { expiresAt: row.expires_at }),
    ...(row.consumed_at !== null && { consumedAt: row.consumed_at }),
    ...(row.family !== null && { family: row.family }),
    ...(row.uid !== null && { uid: row.uid }),
    ...(row.user_code !== null && { userCode: row.user_code }),
  };
}

/** The parser's own words may hold a piece of the text: they are not passed on. */
function decodePayload(text: string): RecordPayload {
  try {
    return JSON.parse(text);
  } catch {
    throw new IssuerError('server_error', 'a record that was read is no JSON: the database is damaged');
  }
}
