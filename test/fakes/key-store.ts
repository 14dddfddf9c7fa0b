/**
 * A key store on a fake network: each operation of a replica takes effect, and is
 * answered, when the test's plan says, or never.
 */
import { IssuerError } from '../../src/core/errors.ts';
import type { KeyStore, StoredBytes } from '../../src/core/key-ports.ts';

/** What happens to one operation; seconds from when it was asked, undefined: never. */
export type Plan = {
  readonly effectAfter: number | undefined;
  readonly answerAfter: number | undefined;
  /** The answer says that it failed, whether it took effect or not. */
  readonly isLost: boolean;
};

export const PROMPT: Plan = { effectAfter: 0, answerAfter: 0, isLost: false };
export const FAIL_BEFORE: Plan = { effectAfter: undefined, answerAfter: 0, isLost: true };
export const LOSE_ANSWER: Plan = { effectAfter: 0, answerAfter: 0, isLost: true };

/** What all replicas share. */
export type Backend = {
  stored: StoredBytes | undefined;
  /** Called with each document as it becomes durable. */
  readonly onCommit: (bytes: Uint8Array) => void;
};

export type StoreView = {
  readonly backend: Backend;
  readonly shared: boolean;
  readonly nextPlan: () => Plan;
  /** Runs the action so many seconds later; at once for 0. */
  readonly later: (seconds: number, action: () => void) => void;
  /** False once the replica's process is dead: it hears no answer any more. */
  readonly isAlive: () => boolean;
  /** A number that grows with each call. */
  readonly moment: () => number;
  /** Called before a good answer, with the moment at which it was true. */
  readonly onAnswer: (moment: number) => void;
};

export function fakeStore(view: StoreView): KeyStore {
  const { backend } = view;

  function perform<T>(effect: () => T): Promise<T> {
    const { answerAfter, isLost, ...plan } = view.nextPlan();
    // Only others can be late: on a store of its own what a process was told, or did not live to see, is over.
    const effectAfter =
      view.shared || answerAfter === undefined || plan.effectAfter === undefined
        ? plan.effectAfter
        : Math.min(plan.effectAfter, answerAfter);
    return new Promise((resolve, reject) => {
      let answer = () => reject(new IssuerError('temporarily_unavailable', 'the fake store failed'));
      if (effectAfter !== undefined)
        view.later(effectAfter, () => {
          if (!view.shared && !view.isAlive()) return;
          try {
            const value = effect();
            const moment = view.moment();
            if (isLost) return;
            answer = () => {
              view.onAnswer(moment);
              resolve(value);
            };
          } catch (error) {
            if (!isLost) answer = () => reject(error);
          }
        });
      if (answerAfter !== undefined) view.later(answerAfter, () => view.isAlive() && answer());
    });
  }

  return {
    shared: view.shared,
    read: () =>
      perform(() => backend.stored && { ...backend.stored, bytes: Buffer.from(backend.stored.bytes) }),
    write(_name, bytes, expected) {
      const copy = Buffer.from(bytes);
      return perform(() => {
        if (backend.stored?.version !== expected)
          throw new IssuerError('conflict', 'another version is stored');
        const version = String(Number(expected ?? 0) + 1);
        backend.stored = { bytes: copy, version };
        backend.onCommit(copy);
        return version;
      });
    },
    remove: () =>
      perform(() => {
        const isThere = backend.stored !== undefined;
        backend.stored = undefined;
        return isThere;
      }),
    close: async () => undefined,
  };
}
