/**
 * Calls of which only some run at once. The others wait, each address in a line of its own, and the lines take
 * turns: however many calls one address has, another's next call is behind one of each line at most.
 */
import { IssuerError } from '../core/errors.ts';

export type TurnsParts = { readonly inFlightMax: number; readonly waitingMax: number };
export type Turns = <T>(address: string | undefined, task: () => Promise<T>) => Promise<T>;

type Waiting = { readonly go: () => void; readonly refuse: (error: IssuerError) => void };

/** Throws `temporarily_unavailable` where too many wait: the last of the longest line is sent away. */
export function createTurns({ inFlightMax, waitingMax }: TurnsParts): Turns {
  /** Lines with somebody in them, in the order of their turns. */
  const lines = new Map<string | undefined, Waiting[]>();
  let waiting = 0;
  let inFlight = 0;

  const wait = (address: string | undefined) =>
    new Promise<void>((go, refuse) => {
      const line = lines.get(address) ?? [];
      line.push({ go, refuse });
      lines.set(address, line);
      waiting++;
      if (waiting > waitingMax) sendAway();
    });
  const sendAway = () => {
    const longest = [...lines].reduce((most, one) => (one[1].length > most[1].length ? one : most));
    take(...longest, 'last')?.refuse(
      new IssuerError('temporarily_unavailable', 'too many tokens wait for their review', {
        retryAfterSeconds: 1,
      }),
    );
  };
  const take = (address: string | undefined, line: Waiting[], which: 'first' | 'last') => {
    const taken = which === 'first' ? line.shift() : line.pop();
    waiting--;
    if (line.length === 0) lines.delete(address);
    return taken;
  };
  const next = () => {
    const [first] = lines;
    if (first === undefined) return undefined;
    const [address, line] = first;
    lines.delete(address); // to the end of the lines, where it is not empty
    lines.set(address, line);
    return take(address, line, 'first');
  };

  return async (address, task) => {
    if (inFlight >= inFlightMax) await wait(address);
    else inFlight++;
    try {
      return await task();
    } finally {
      const following = next();
      if (following === undefined) inFlight--;
      else following.go(); // which takes this place
    }
  };
}
