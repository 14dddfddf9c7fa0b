/** Collects what would be told to the audit log. */
import type { Issuance, Recorder, Refusal } from '../../src/core/ports.ts';

export type CollectingRecorder = Recorder & { readonly issuances: Issuance[]; readonly refusals: Refusal[] };

export function collectingRecorder(): CollectingRecorder {
  const issuances: Issuance[] = [];
  const refusals: Refusal[] = [];
  return {
    issuances,
    refusals,
    issued: (event) => void issuances.push(event),
    refused: (event) => void refusals.push(event),
  };
}
