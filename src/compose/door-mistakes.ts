/** What the doors say of their blocks that no schema can. */
import type { Config } from '../config.ts';
import type { Provable } from '../core/ports.ts';
import { type DoorName, doors } from '../doors/index.ts';

type Mistake = { readonly path: string; readonly message: string };
type Question = { readonly issuer: string; readonly provable: Provable; readonly isWhole: boolean };
type Judging = {
  readonly mistakes?: (block: unknown, question: Question) => Promise<readonly Mistake[]>;
};

/** `isWhole`: also what is found anyway when the doors are opened. */
export async function doorMistakes(
  config: Config,
  question: Omit<Question, 'issuer'>,
): Promise<readonly Mistake[]> {
  const judge = async (name: DoorName, block: unknown, at: string, issuer: string) => {
    const { mistakes } = (await doors[name]()) as Judging;
    const found = (await mistakes?.(block, { ...question, issuer })) ?? [];
    return found.map(({ path, message }) => ({ path: `${at}.${path}`, message }));
  };
  const { doors: own, issuers, issuer } = config;
  const all = [
    ...Object.entries(own).map(([name, block]) => judge(name as DoorName, block, `doors.${name}`, issuer)),
    ...Object.entries(issuers).map(([name, { oauth }]) =>
      judge('oauth', oauth, `issuers.${name}.oauth`, `${issuer}/${name}`),
    ),
  ];
  return (await Promise.all(all)).flat();
}
