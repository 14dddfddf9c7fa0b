/**
 * Whether the authority has answered a sidecar once. Until then the sidecar is not ready, so that the pod does not
 * start in silence without its identity; from then on it stays ready, since the last tokens outlast an outage.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { IssuerError } from '../core/errors.ts';
import type { Authority } from '../core/ports.ts';

export type FirstAnswerParts = {
  readonly authority: Authority;
  /** 0 to 1, so that the sidecars of a node do not ask at the same moment. */
  readonly random: () => number;
  readonly waitMs?: number;
};

export type FirstAnswer = {
  /** The same authority, listened to. */
  readonly authority: Authority;
  readonly notReady: () => readonly string[];
  /** Asks by itself until there is an answer: nobody else does where there is no token file. */
  seek(): void;
  close(): void;
};

const WAIT_MS = 1_000;
const WAIT_MAX_MS = 15_000;
/** What is asked about does not matter: that no rule allows it is an answer too. */
const ANY = { audience: ['mintmark'] };

export function listenForAnswer({ authority, random, waitMs = WAIT_MS }: FirstAnswerParts): FirstAnswer {
  const stop = new AbortController();
  let problem: string | undefined = 'no answer of the authority yet';
  const listen = async <T>(call: Promise<T>): Promise<T> => {
    try {
      const answer = await call;
      problem = undefined;
      return answer;
    } catch (error) {
      if (isAnswer(error)) problem = undefined;
      else if (problem !== undefined) problem = `no answer of the authority yet: ${detailOf(error)}`;
      throw error;
    }
  };
  const seek = async () => {
    for (let wait = waitMs; problem !== undefined && !stop.signal.aborted; wait = longer(wait)) {
      await listen(authority.explain([], ANY)).catch(() => undefined);
      if (problem === undefined) return;
      await sleep(wait * (0.5 + random() / 2), undefined, { signal: stop.signal, ref: false }).catch(
        () => undefined,
      );
    }
  };
  return {
    authority: {
      issueToken: (claimed, request) => listen(authority.issueToken(claimed, request)),
      explain: (claimed, request) => listen(authority.explain(claimed, request)),
      close: () => authority.close(),
    },
    notReady: () => (problem === undefined ? [] : [problem]),
    seek: () => void seek(),
    close: () => stop.abort(),
  };
}

/** A refusal is one, unless it is that the sidecar itself is not known: then there is no identity. */
function isAnswer(error: unknown): boolean {
  const { code } = error as IssuerError;
  return (
    error instanceof IssuerError &&
    !['temporarily_unavailable', 'server_error', 'peer_unproven'].includes(code)
  );
}

function detailOf(error: unknown): string {
  return error instanceof IssuerError ? error.detail : (error as Error).message;
}

function longer(waitMs: number): number {
  return Math.min(waitMs * 2, WAIT_MAX_MS);
}
