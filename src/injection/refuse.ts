import { IssuerError } from '../core/errors.ts';

/** The error of a pod that cannot be injected; whoever wrote the pod is shown the reason. */
export function refuse(reason: string): IssuerError {
  return new IssuerError('invalid_request', reason, { shown: { reason } });
}

const LONGEST = 80;

/** A value of the pod's in a reason: one short line. */
export function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}
