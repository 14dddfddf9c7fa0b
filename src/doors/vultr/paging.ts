/** Lists in pages, as the API has them: `per_page` and an opaque `cursor`, and links to both sides. */
import type { Context } from 'koa';
import type { Clock } from '../../core/ports.ts';
import type { FoundRecord, RecordStore } from '../../core/records.ts';
import { refuse } from './fields.ts';

const PER_PAGE = { usual: 100, most: 500 };
const READ_AT_ONCE = 500;
/** next__ID or prev__ID in base64. Any 36 characters are an id to begin at. */
export const CURSOR = /^(?:bmV4dF9f|cHJldl9f)[A-Za-z0-9]{48}$/;

export type Page<T> = {
  readonly items: readonly T[];
  readonly meta: {
    readonly total: number;
    readonly links: { readonly next: string; readonly prev: string };
  };
};

/** All of a model, in the order of their ids. */
export async function listAll(
  records: RecordStore,
  place: { readonly realm: string; readonly model: string },
  clock: Clock,
): Promise<readonly FoundRecord[]> {
  const all: FoundRecord[] = [];
  for (let after: string | undefined; ; ) {
    const found: readonly FoundRecord[] = await records.list(
      place,
      { after, limit: READ_AT_ONCE },
      clock.now(),
    );
    all.push(...found);
    after = found.at(-1)?.id;
    if (found.length < READ_AT_ONCE) return all;
  }
}

/** `all` in the order of their ids. Throws `invalid_request`. */
export function pageOf<T extends { readonly id: string }>(context: Context, all: readonly T[]): Page<T> {
  const limit = perPage(context.query.per_page);
  const [, side, id = ''] = parseCursor(context.query.cursor);
  const begin =
    side === undefined
      ? 0
      : side === 'next'
        ? endOf(all, (each) => each.id <= id)
        : Math.max(0, endOf(all, (each) => each.id < id) - limit);
  const items = all.slice(begin, begin + limit);
  const [first, last] = [items[0], items.at(-1)];
  return {
    items,
    meta: {
      total: all.length,
      links: {
        next: last !== undefined && begin + limit < all.length ? cursorOf('next', last.id) : '',
        prev: first !== undefined && begin > 0 ? cursorOf('prev', first.id) : '',
      },
    },
  };
}

function endOf<T>(all: readonly T[], isBefore: (each: T) => boolean): number {
  const index = all.findIndex((each) => !isBefore(each));
  return index < 0 ? all.length : index;
}

function perPage(given: unknown): number {
  if (given === undefined) return PER_PAGE.usual;
  const count = typeof given === 'string' && /^\d{1,3}$/.test(given) ? Number(given) : 0;
  if (count < 1 || count > PER_PAGE.most) throw refuse(`per_page is no number from 1 to ${PER_PAGE.most}`);
  return count;
}

function parseCursor(given: unknown): readonly string[] {
  if (given === undefined || given === '') return [];
  if (typeof given !== 'string' || !CURSOR.test(given)) throw refuse('cursor is none of ours');
  return /^(next|prev)__(.*)$/s.exec(Buffer.from(given, 'base64').toString('latin1')) ?? [];
}

function cursorOf(side: string, id: string): string {
  return Buffer.from(`${side}__${id}`).toString('base64');
}
