/** Who acts for whom in a token that was exchanged: `act` and `may_act` (RFC 8693 sections 4.1 and 4.4). */
import { IssuerError } from '../../../core/errors.ts';
import type { ClaimSet } from '../../../core/ports.ts';

export type Actor = { readonly sub: string | undefined; readonly iss: string | undefined };

/** As many stand behind each other in `act`, the one who acts now among them. */
const ACTORS_MAX = 8;

/** `act` of the new token: who acts now, before those who did. Throws `invalid_assertion`. */
export function actOf(subject: ClaimSet, actor: Actor | undefined): ClaimSet | undefined {
  const before = subject.act;
  if (before !== undefined && depthOf(before) + (actor === undefined ? 0 : 1) > ACTORS_MAX)
    throw refusal(`more than ${ACTORS_MAX} actors stand behind each other in act`);
  if (actor === undefined) return before as ClaimSet | undefined;
  return before === undefined ? actor : { ...actor, act: before };
}

function depthOf(act: unknown): number {
  let depth = 0;
  for (let each = act; each !== undefined && depth <= ACTORS_MAX; depth++) {
    if (typeof each !== 'object' || each === null || Array.isArray(each)) throw refusal('act is no object');
    each = (each as ClaimSet).act;
  }
  return depth;
}

/**
 * A subject that says who may act for it is believed: nobody else may. `acting` is the actor, or the
 * client where there is none. Without an `iss` it names somebody of the subject's own issuer.
 */
export function assertMayAct(subject: ClaimSet, acting: Actor): void {
  const { may_act: named } = subject;
  if (named === undefined) return;
  const { sub, iss = subject.iss } = Object(named) as ClaimSet;
  if (typeof sub !== 'string' || sub !== acting.sub || iss !== acting.iss)
    throw refusal('may_act of the token that is shown names somebody else');
}

function refusal(reason: string): IssuerError {
  return new IssuerError('invalid_assertion', reason, { shown: { reason } });
}
